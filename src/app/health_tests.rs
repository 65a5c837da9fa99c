//! What health and metrics say when a part of the process fails, or all of it is busy.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{App, Settings, fed_signals, healthcheck};
use crate::config::{Config, MapEnv};

/// The five seconds of a silence that counts, and what a busy machine adds.
const HUNG_IS_TOLD_WITHIN: Duration = Duration::from_secs(10);

/// A gateway without VMs whose tasks are about to run, on free ports.
async fn built(dir: &tempfile::TempDir) -> App {
    let text = format!(
        "server.listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"\ntls.mode = \"off\"\nauth.none = true\ndata.dir = {:?}\n",
        dir.path().display().to_string(),
    );
    let config = Config::parse(&text, "test", &MapEnv::default()).expect("a configuration");
    let settings =
        Settings { signals: Some(fed_signals().1), drain_delay: Duration::ZERO, ..Settings::new(config, None) };
    App::build(settings).await.expect("it starts")
}

/// The answer to a GET at `base`, head and body; asked from this very thread, so that no runtime is needed.
fn ask(base: &str, path: &str) -> String {
    let address = base.trim_start_matches("http://");
    let mut socket = TcpStream::connect(address).expect("a connection");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    write!(socket, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    answer
}

/// Asks until the answer begins with `head`, and gives it.
fn wait_until(limit: Duration, ask: impl Fn() -> String, head: &str) -> String {
    let began = Instant::now();
    loop {
        let answer = ask();
        if answer.starts_with(head) {
            return answer;
        }
        assert!(began.elapsed() < limit, "{answer}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// Waits until every part has said that it is ready.
async fn ready(app: &App) {
    let mut told = app.readiness.watch();
    let all = told.wait_for(Vec::is_empty);
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("it is ready in time").expect("it lives");
}

/// The same on a thread where it may wait.
async fn asked(base: &str, path: &'static str) -> String {
    let base = base.to_owned();
    tokio::task::spawn_blocking(move || ask(&base, path)).await.expect("asked")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_panics_makes_both_listeners_say_not_ready_and_which_while_they_go_on_answering() {
    let dir = tempfile::tempdir().expect("a folder");
    let app = built(&dir).await;
    app.readiness.started();
    let listeners = [app.url(), app.admin_url().expect("a listener")];
    ready(&app).await;
    for base in &listeners {
        assert!(asked(base, "/readyz").await.starts_with("HTTP/1.1 200"), "{base}");
    }
    healthcheck(app.address).await.expect("the public listener answers where there is no other");
    let mut told = app.readiness.watch();
    app.tasks.spawn_essential("of this test", async { panic!("expected by this test") });
    told.wait_for(|parts| !parts.is_empty()).await.expect("it lives");
    for base in &listeners {
        let answer = asked(base, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{base}: {answer}");
        let part = r#"{"what":"task of this test","why":"panicked: expected by this test"}"#;
        assert!(answer.contains(part), "{base}: {answer}");
        assert!(asked(base, "/healthz").await.starts_with("HTTP/1.1 200"), "{base}");
    }
    assert!(asked(&listeners[1], "/metrics").await.contains("\ngatewatch_ready 0\n"));
}

#[test]
fn the_administration_listener_tells_while_every_thread_of_the_runtime_is_blocked() {
    let threads = 2;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().expect("a runtime");
    let dir = tempfile::tempdir().expect("a folder");
    let app = runtime.block_on(async {
        let app = built(&dir).await;
        app.readiness.started();
        ready(&app).await;
        app
    });
    let admin = app.admin_url().expect("a listener");
    assert!(ask(&admin, "/readyz").starts_with("HTTP/1.1 200"));
    let _inside = runtime.enter();
    let (blocked, blocks) = mpsc::channel();
    let mut release = Vec::new();
    for _ in 0..threads {
        let (free, wait) = mpsc::channel::<()>();
        let blocked = blocked.clone();
        release.push(free);
        app.tasks.spawn("blocks its thread", async move {
            blocked.send(()).expect("the test waits");
            // Ends when the test drops its end.
            let _ = wait.recv();
        });
    }
    for _ in 0..threads {
        blocks.recv_timeout(Duration::from_secs(20)).expect("each on a thread of its own");
    }
    let ill = wait_until(HUNG_IS_TOLD_WITHIN, || ask(&admin, "/healthz"), "HTTP/1.1 503");
    assert!(ill.contains("hung: no task has run for "), "{ill}");
    let readiness = ask(&admin, "/readyz");
    assert!(readiness.starts_with("HTTP/1.1 503"), "{readiness}");
    assert!(readiness.contains(r#"{"what":"runtime","why":"hung: no task has run for "#), "{readiness}");
    let page = ask(&admin, "/metrics");
    assert!(page.contains("\ngatewatch_ready 0\n") && page.contains("\nprocess_threads "), "{page}");
    let check = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let address = admin.trim_start_matches("http://").parse().expect("an address");
    let refused = check.block_on(healthcheck(address)).expect_err("it hangs");
    assert!(refused.contains("503"), "{refused}");

    drop(release);
    wait_until(Duration::from_secs(20), || ask(&admin, "/healthz"), "HTTP/1.1 200");
    let readiness = ask(&admin, "/readyz");
    assert!(readiness.starts_with("HTTP/1.1 200"), "{readiness}");
    assert!(ask(&admin, "/metrics").contains("\ngatewatch_ready 1\n"));
    check.block_on(healthcheck(address)).expect("it lives");
    drop(app);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administration_listener_that_ends_makes_the_public_one_say_not_ready() {
    let dir = tempfile::tempdir().expect("a folder");
    let app = built(&dir).await;
    app.readiness.started();
    ready(&app).await;
    assert!(asked(&app.url(), "/readyz").await.starts_with("HTTP/1.1 200"));
    let mut told = app.readiness.watch();
    // As its thread ends after a failure: nobody said stop.
    app.admin_stop.cancel();
    told.wait_for(|parts| !parts.is_empty()).await.expect("it lives");
    let answer = asked(&app.url(), "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let part = r#"{"what":"task administration listener","why":"returned unexpectedly"}"#;
    assert!(answer.contains(part), "{answer}");
}
