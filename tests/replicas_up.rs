//! What two replicas tell of each other.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Gateway, Nats, eventually};

const SOON: Duration = Duration::from_secs(30);
/// A replica that says nothing is missed after 15 s.
const GOODBYE: Duration = Duration::from_secs(8);

fn config(nats: &Nats) -> String {
    let vms = ["one", "two", "three"].map(|vm| format!("[[vm]]\nname = \"{vm}\"\ntransport = \"simulated\"\n"));
    let servers = nats.urls();
    format!("[journal]\nkind = \"jetstream\"\nfleet = \"up\"\nreplicas = 1\nservers = {servers:?}\n{}", vms.concat())
}

/// Its rows, with what differs from one look to the next taken out.
async fn rows(gateway: &Gateway) -> Vec<Value> {
    let mut told = gateway.json("/api/replicas").await;
    let rows = told["replicas"].as_array_mut().expect("rows");
    for row in rows.iter_mut() {
        let row = row.as_object_mut().expect("a row");
        let (heard, started) = (row.remove("heard_at"), row.remove("started_at"));
        assert!(heard.and_then(|at| at.as_f64()) >= started.and_then(|at| at.as_f64()), "{row:?}");
    }
    std::mem::take(rows)
}

fn polled(rows: &[Value]) -> Vec<&str> {
    let each = rows.iter().flat_map(|row| row["polls"].as_array().expect("VMs"));
    let mut vms: Vec<&str> = each.map(|vm| vm.as_str().expect("a name")).collect();
    vms.sort_unstable();
    vms
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_two_replicas_tells_of_both_and_each_vm_is_polled_by_one_of_them() {
    let Some(nats) = Nats::start(1) else { return };
    let config = config(&nats);
    let (one, other) = tokio::join!(Gateway::start(&config), Gateway::start(&config));
    let all = ["one", "three", "two"];
    let same = async || {
        let (mut here, mut there) = (rows(&one).await, rows(&other).await);
        let own = |rows: &[Value]| rows.iter().filter(|row| row["self"] == true).count();
        let owns = (own(&here), own(&there)) == (1, 1);
        here.iter_mut().chain(&mut there).for_each(|row| row["self"] = Value::Null);
        owns && here.len() == 2 && here == there && polled(&here) == all
    };
    eventually(SOON, same).await;
    let stream = one.stream("").await;
    eventually(SOON, || async { rows(&other).await.iter().any(|row| row["self"] == false && row["streams"] == 1) })
        .await;
    drop(stream);

    assert_eq!(other.stop().await, "");
    // Sooner than it would be missed: it says goodbye.
    eventually(GOODBYE, || async { rows(&one).await.len() == 1 }).await;
    eventually(SOON, || async { polled(&rows(&one).await) == all }).await;
    assert_eq!(one.stop().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_nats_a_replica_says_that_it_polls_nothing_once_its_leases_are_over() {
    let Some(mut nats) = Nats::start(1) else { return };
    let gateway = Gateway::start(&config(&nats)).await;
    eventually(SOON, || async { gateway.metric("gatewatch_leases_held").await == 3.0 }).await;
    nats.signal(0, Signal::KILL);
    eventually(SOON, || async { gateway.metric("gatewatch_nats_connected").await == 0.0 }).await;
    eventually(SOON, || async { gateway.metric("gatewatch_leases_held").await == 0.0 }).await;
    eventually(SOON, || async { polled(&rows(&gateway).await).is_empty() }).await;
    assert_eq!(gateway.metric("gatewatch_replicas_up").await, 1.0);
    nats.restart(0);
    eventually(SOON, || async { gateway.metric("gatewatch_leases_held").await == 3.0 }).await;
    assert_eq!(gateway.stop().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_alone_lists_itself_as_it_is() {
    let gateway = Gateway::start("[[vm]]\nname = \"one\"\ntransport = \"simulated\"\n").await;
    let _stream = gateway.stream("").await;
    let rows = rows(&gateway).await;
    assert_eq!((rows.len(), polled(&rows)), (1, vec!["one"]));
    assert_eq!((&rows[0]["self"], &rows[0]["streams"]), (&Value::Bool(true), &Value::from(1)));
    assert_eq!(gateway.stop().await, "");
}
