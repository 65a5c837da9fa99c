//! Every metric that the process exposes is documented, and nothing is documented that it does not expose.

use std::collections::BTreeSet;

use crate::support::{Gateway, SIMULATED};

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_page_names_exactly_what_is_exposed() {
    let gateway = Gateway::start(SIMULATED).await;
    gateway.wait_for_stage("demo-a", "running").await;
    let mut stream = gateway.stream("interval=1").await;
    stream.next().await.expect("connected");
    drop(stream);
    drop(gateway.resume("interval=1", "garbage").await);
    let (status, text) = gateway.admin("/metrics").await;
    assert_eq!(status, 200);
    let help = |text: &str| -> BTreeSet<String> {
        text.lines()
            .filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '))
            .map(|(n, _)| n.to_owned())
            .collect()
    };
    let exposed = help(&text);
    let page = std::fs::read_to_string("docs/METRICS.md").expect("docs/METRICS.md");
    let documented: BTreeSet<String> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(n, _)| n.to_owned()).collect();
    assert_eq!(exposed, documented);
    for line in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
        let (name, help) = line.split_once(' ').expect("a help text");
        assert!(page.contains(help), "{name}: the page does not say: {help}");
    }
    assert!(gateway.metric("gatewatch_log_bytes_total").await > 0.0, "it is fed");
    assert!(gateway.metric("gatewatch_polls_total").await >= 1.0);
    assert_eq!(gateway.metric("gatewatch_ready").await, 1.0);
    gateway.stop().await;
}
