//! An export is whole or seen not to be, is read as fast as its client takes it, and holds its place no longer than that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::{Request, Response};
use gatewatch::edge::AuthMode;
use gatewatch::edge::auth::{KeySet, new_key};
use gatewatch::hub::Cut;
use gatewatch::model::{Basis, Principal, PrincipalKind, Scope, Timestamp, VmGrant};
use gatewatch::telemetry::ExportOutcome;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::support::{Archive, Reading, plain};

/// Rows of the large archive.
const MILLION: u64 = 1_000_000;
/// Rows that sockets of this machine and the HTTP library may hold between the two ends: their buffers have a few MB,
/// a row has about 180 bytes.
const ON_THE_WAY: u64 = 150_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_million_rows_come_whole_and_are_read_only_as_fast_as_they_are_taken() {
    let mut reading = Reading::of(Archive::new(100, MILLION / 100), AuthMode::Open, KeySet::none());
    let url = format!("{}/api/runs?format=csv&rows=tasks", reading.serve());
    let mut answer = plain().get(url).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    // While the client takes nothing, the reading comes to rest when the buffers between the two are full. A look that
    // comes too early sees it rest too soon, and then this shows less; it never fails for that.
    let mut before = None;
    while before != Some(reading.archive.read()) {
        before = Some(reading.archive.read());
        assert!(before < Some(ON_THE_WAY), "{before:?} rows were read for a client that takes none");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let (mut taken, mut ahead, mut last) = (0, 0, Vec::new());
    while let Some(part) = answer.chunk().await.expect("it does not break off") {
        taken += part.iter().filter(|byte| **byte == b'\n').count() as u64;
        ahead = ahead.max(reading.archive.read().saturating_sub(taken));
        last = part.to_vec();
    }
    assert_eq!(taken, MILLION + 1, "with the names of the columns");
    assert_eq!(reading.archive.read(), MILLION, "each is read once");
    assert!(ahead < ON_THE_WAY, "{ahead} rows were read ahead of the client");
    assert!(String::from_utf8_lossy(&last).ends_with(",archive-1.10000\r\n"), "the oldest run's last task is the last");
}

/// The answer to a GET of `path`, without edge and sockets.
async fn bare(reading: &Reading, path: &str, principal: Principal, cut: Option<Cut>) -> Response<Body> {
    let mut request = Request::get(path).body(Body::empty()).expect("a request");
    request.extensions_mut().insert(Arc::new(principal));
    if let Some(cut) = cut {
        request.extensions_mut().insert(cut);
    }
    reading.bare.clone().oneshot(request).await.expect("a router does not fail")
}

fn reader() -> Principal {
    Principal {
        kind: PrincipalKind::ApiKey,
        name: "reader".into(),
        issuer: None,
        scopes: [Scope::EventsRead].into_iter().collect(),
        vms: VmGrant::all(),
        basis: Basis::default(),
        expires_at: None,
    }
}

const EXPORT: &str = "/api/runs?format=jsonl&rows=tasks";

fn open_archive() -> Reading {
    Reading::of(Archive::new(10, 100_000), AuthMode::Open, KeySet::none())
}

/// Lets everything else go as far as it can.
async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn no_more_than_a_part_is_read_ahead_of_the_client() {
    let reading = open_archive();
    let mut body = bare(&reading, EXPORT, reader(), None).await.into_body();
    let mut taken = 0;
    for _ in 0..50 {
        let frame = body.frame().await.expect("more").expect("whole").into_data().expect("rows");
        taken += frame.iter().filter(|byte| **byte == b'\n').count() as u64;
        settle().await;
        let ahead = reading.archive.read() - taken;
        assert!(ahead <= 256, "{ahead}: more than the one page that waits to be taken");
    }
}

#[tokio::test]
async fn an_export_that_cannot_begin_is_503_and_one_that_breaks_off_never_looks_whole() {
    let mut reading = open_archive();
    let url = format!("{}{EXPORT}", reading.serve());
    reading.archive.fail_after(50_000);
    let mut answer = plain().get(&url).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let mut broken = None;
    while broken.is_none() {
        match answer.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it looks whole"),
            Err(error) => broken = Some(error),
        }
    }
    reading.archive.fail_after(0);
    for path in [EXPORT, "/api/runs?format=csv", "/api/runs", "/api/runs/000000000001"] {
        let answer = plain().get(url.replace(EXPORT, path)).send().await.expect("an answer");
        assert_eq!(answer.status(), 503, "{path}");
        assert!(answer.headers().contains_key("retry-after"));
        let problem: Value = answer.json().await.expect("JSON");
        assert_eq!(problem["code"], "unavailable", "{path}");
        assert!(!problem.to_string().contains("disk"), "why is for the log: {problem}");
    }
}

#[tokio::test]
async fn there_is_room_for_four_exports_and_each_gives_its_place_back() {
    let reading = open_archive();
    let mut held = Vec::new();
    for _ in 0..4 {
        let answer = bare(&reading, EXPORT, reader(), None).await;
        assert_eq!(answer.status(), 200);
        held.push(answer.into_body());
    }
    settle().await;
    assert_eq!(reading.exports.running.get(), 4);
    let fifth = bare(&reading, EXPORT, reader(), None).await;
    assert_eq!(fifth.status(), 503);
    assert!(fifth.headers().contains_key("retry-after"));
    let problem = fifth.into_body().collect().await.expect("a body").to_bytes();
    assert!(String::from_utf8_lossy(&problem).contains("\"too_many_exports\""));
    assert_eq!(bare(&reading, "/api/runs", reader(), None).await.status(), 200, "pages need no place");

    held.pop();
    settle().await;
    let before = reading.exports.rows.get();
    let whole = bare(&reading, "/api/runs?format=csv", reader(), None).await;
    assert_eq!(whole.status(), 200, "a client that left holds none");
    let text = whole.into_body().collect().await.expect("whole").to_bytes();
    settle().await;
    let (rows, ended) = (&reading.exports.rows, &reading.exports.ended);
    assert_eq!(rows.get() - before, text.iter().filter(|byte| **byte == b'\n').count() as u64 - 1, "but the head");
    assert_eq!([ExportOutcome::Ok, ExportOutcome::Left].map(|how| ended.of(how).get()), [1, 1]);
    assert_eq!(reading.exports.running.get(), 3);
    assert_eq!(bare(&reading, EXPORT, reader(), None).await.status(), 200, "nor does one that has it all");
}

#[tokio::test(start_paused = true)]
async fn g51_a_client_that_takes_nothing_of_an_export_loses_its_place_and_its_connection() {
    let reading = open_archive();
    let ended = Arc::new(AtomicBool::new(false));
    let cut = {
        let ended = Arc::clone(&ended);
        Cut::new(move || ended.store(true, Ordering::Relaxed))
    };
    let mut untaken = bare(&reading, EXPORT, reader(), Some(cut)).await.into_body();
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(bare(&reading, EXPORT, reader(), None).await.into_body());
    }
    // One that takes a part now and then is kept.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(25)).await;
        for other in &mut others {
            other.frame().await.expect("more").expect("whole");
        }
    }
    assert!(ended.load(Ordering::Relaxed), "its connection is cut");
    assert_eq!(bare(&reading, EXPORT, reader(), None).await.status(), 200, "its place is free");
    let mut last = untaken.frame().await;
    while let Some(Ok(_)) = last {
        last = untaken.frame().await;
    }
    assert!(matches!(last, Some(Err(_))), "whoever reads on after that sees that it is not whole");
}

#[tokio::test(start_paused = true)]
async fn an_export_lasts_an_hour_at_most_however_steadily_it_is_taken() {
    let reading = open_archive();
    let began = tokio::time::Instant::now();
    let mut body = bare(&reading, EXPORT, reader(), None).await.into_body();
    while let Some(Ok(_)) = body.frame().await {
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    let lasted = began.elapsed().as_secs();
    assert!((3600..=3660).contains(&lasted), "{lasted}");
    assert!(reading.archive.read() < MILLION, "it broke off");
}

#[tokio::test]
async fn a_stop_breaks_exports_off_and_begins_none() {
    let reading = open_archive();
    let mut body = bare(&reading, EXPORT, reader(), None).await.into_body();
    body.frame().await.expect("more").expect("whole");
    reading.stop.cancel();
    let mut last = body.frame().await;
    while let Some(Ok(_)) = last {
        last = body.frame().await;
    }
    assert!(matches!(last, Some(Err(_))), "{last:?}");
    let next = bare(&reading, EXPORT, reader(), None).await;
    assert_eq!(next.status(), 503);
    let problem = next.into_body().collect().await.expect("a body").to_bytes();
    assert!(String::from_utf8_lossy(&problem).contains("\"stopping\""));
}

#[tokio::test]
async fn g49_an_export_ends_when_its_credential_does() {
    let (_, entry) = new_key("reader", [Scope::EventsRead], VmGrant::all(), None);
    let id = entry.id.clone();
    let set = KeySet::new([entry]).expect("keys");
    let reading = Reading::of(Archive::new(10, 100_000), AuthMode::Keys, set);
    let now = Timestamp::from(SystemTime::now());
    let principal = reading.keys.principal(&id, now).expect("the key is in force");
    let mut body = bare(&reading, EXPORT, (*principal).clone(), None).await.into_body();
    body.frame().await.expect("more").expect("whole");
    reading.keys.replace(KeySet::none());
    let mut parts = 0;
    let last = loop {
        match body.frame().await {
            Some(Ok(_)) => parts += 1,
            last => break last,
        }
    };
    assert!(matches!(last, Some(Err(_))) && parts < 5, "{parts} more parts, then {last:?}");
}
