//! A process that has no file descriptor left.

use std::os::fd::OwnedFd;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::*;

/// Says that a process was started to try this; the limit is the whole process's.
const CHILD: &str = "GATEWATCH_TEST_WITHOUT_DESCRIPTORS";
/// How long axum-server waits after a failed accept.
const WAIT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn g57_without_file_descriptors_the_listener_waits_and_goes_on() {
    let child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "server::tests::accept_errors::without_file_descriptors", "--ignored", "--nocapture"])
        .env(CHILD, "1")
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE * 2, child).await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
#[ignore = "lowers a limit of the whole process; the test above starts it in one of its own"]
async fn without_file_descriptors() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(128), maximum: Some(128) }).unwrap();
    let server = start(None, ConnectionLimits::default());
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    let mut taken: Vec<OwnedFd> = Vec::new();
    while let Ok(file) = fs::File::open("/dev/null") {
        taken.push(file.into());
    }
    let began = Instant::now();
    // The kernel accepts for us; it is we who cannot.
    let mut stream = socket.connect(server.addr).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let errors = || server.metrics.server.accept_errors.get();
    eventually("accept fails again and again", || errors() >= 5).await;
    let most = began.elapsed().as_millis() / WAIT.as_millis() + 2;
    assert!(u128::from(errors()) <= most, "{} errors in {:?}", errors(), began.elapsed());
    taken.clear();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("it is served after all").unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
}
