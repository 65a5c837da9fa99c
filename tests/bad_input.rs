//! Whatever stands in a log, the completions around it arrive and somebody is told.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::support::Gateway;

fn append(log: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).create(true).open(log).and_then(|mut file| file.write_all(bytes)).expect("written");
}

fn vm(log: &Path) -> String {
    format!(
        "[[vm]]\nname = \"here\"\ntransport = \"local\"\ncontainer = \"\"\nprobe_url = \"\"\nprocess = \"no-such-process-{}\"\nbenchmark_log = \"{}\"\n",
        std::process::id(),
        log.display()
    )
}

fn task(n: u32) -> String {
    format!(
        "Task {n}/30: t\nRunning task: task_{n:03}\nTask task_{n:03} completed successfully\nResult: PASS\nScore: 1.0\n"
    )
}

/// Garbage of every kind, one between each two tasks.
fn garbage() -> Vec<Vec<u8>> {
    let mut binary: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    binary.push(b'\n');
    vec![
        binary,
        b"Task 99999999999/0\n".to_vec(),
        b"\xff\xfe\xc3\x28 invalid \xf0\x9f UTF-8\n".to_vec(),
        b"\0\0\0Tas\0ks 7 of 30\0\n\0\0".to_vec(),
        vec![0; 300_000],
        b"--00000000000000000000000000000000 end\n\n--00000000000000000000000000000000 clock\n12".to_vec(),
        b"\nScore: NaN\nScore: 1e999\nStep 99999999999999999999999: CLICK\n".to_vec(),
        b"\x1b[31m\x1b]0;title\x07\r\r\r\n".to_vec(),
        "\u{202e}Task\u{2028}5/30: <img onerror=alert(1)>\n".as_bytes().to_vec(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_between_garbage_all_arrive_and_the_garbage_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = dir.path().join("bench.log");
    append(&log, b"");
    let gateway = Gateway::start(&vm(&log)).await;
    let mut stream = gateway.stream("interval=1").await;
    let mut n = 0;
    for garbage in garbage() {
        n += 1;
        append(&log, task(n).as_bytes());
        append(&log, &garbage);
    }
    append(&log, b"\n");
    append(&log, task(n + 1).as_bytes());
    let last = format!("task_{:03}", n + 1);
    let mut frames =
        stream.until(Duration::from_secs(20), |f| f.event == "task_complete" && f.text("task_id") == last).await;
    let ids: Vec<String> =
        frames.iter().filter(|f| f.event == "task_complete").map(|f| f.text("task_id").to_owned()).collect();
    assert_eq!(ids, (1..=n + 1).map(|n| format!("task_{n:03}")).collect::<Vec<_>>());
    if !frames.iter().any(|f| f.event == "error") {
        frames = stream.until(Duration::from_secs(5), |f| f.event == "error").await;
    }
    let error = frames.iter().find(|f| f.event == "error").expect("an error event");
    assert_eq!(error.text("code"), "log_format");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_without_a_line_break_hide_nothing_behind_them_and_cost_bounded_memory() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = dir.path().join("bench.log");
    append(&log, task(1).as_bytes());
    let megabyte = vec![b'x'; 1 << 20];
    for _ in 0..100 {
        append(&log, &megabyte);
    }
    append(&log, b"\n");
    append(&log, task(2).as_bytes());
    let gateway = Gateway::start(&vm(&log)).await;
    let before = resident_kib();
    let mut stream = gateway.stream("interval=1").await;
    stream.until(Duration::from_secs(120), |f| f.event == "task_complete" && f.text("task_id") == "task_002").await;
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB more");
    gateway.stop().await;
}

/// This process' resident memory; the gateway under test runs in it.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_rotated_or_truncated_between_polls_is_followed() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = dir.path().join("bench.log");
    append(&log, task(1).as_bytes());
    let gateway = Gateway::start(&vm(&log)).await;
    let mut stream = gateway.stream("interval=1").await;
    let completed =
        |id: &'static str| move |f: &crate::support::Frame| f.event == "task_complete" && f.text("task_id") == id;
    stream.until(Duration::from_secs(10), completed("task_001")).await;
    // Renamed with an unread end, and a new file in its place: both are read.
    append(&log, task(2).as_bytes());
    std::fs::rename(&log, dir.path().join("bench.log.1")).expect("renamed");
    append(&log, task(1).replace("task_001", "task_101").as_bytes());
    let frames = stream.until(Duration::from_secs(10), completed("task_101")).await;
    assert!(frames.iter().any(|f| completed("task_002")(f)), "{frames:#?}");
    std::fs::write(&log, "").expect("truncated");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    append(&log, task(1).replace("task_001", "task_201").as_bytes());
    stream.until(Duration::from_secs(10), completed("task_201")).await;
    gateway.stop().await;
}
