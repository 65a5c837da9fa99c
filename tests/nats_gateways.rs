//! Two gateways of one fleet, as processes: tickets, sessions, keys and registered VMs of one are those of the other.

use std::time::{Duration, Instant};

use gatewatch::app;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Nats, Process, Scheme, Sse, eventually, id_of};

/// How long something that happens by itself may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// The configuration of a replica of a fleet on `nats`, with one simulated VM.
fn sections(nats: &Nats) -> String {
    format!(
        "[journal]\nkind = \"jetstream\"\nservers = {:?}\nfleet = \"f\"\nreplicas = 1\n\
         [limits]\nauth_failures_per_minute = 600\n[[vm]]\nname = \"one\"\ntransport = \"simulated\"\n",
        nats.urls()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn g48_streams_of_a_principal_at_one_replica_count_at_the_other() {
    let Some(nats) = Nats::start(1) else { return };
    let sections = sections(&nats).replace("[limits]", "[limits]\nstreams_per_principal = 3");
    let one = Process::start(Scheme::Http, &sections).await;
    let other = one.twin().await;
    let (first, _second) = (one.stream().await, one.stream().await);
    let bearer = format!("Bearer {}", other.key());
    let opens = || async { stream_as(&other, ("authorization", &bearer), "vm=one").await };
    // Until the other was told it takes what it may have alone.
    eventually(SOON, || async {
        let (held, also) = (opens().await, opens().await);
        (held.0, also.0) == (200, 429)
    })
    .await;
    drop(first);
    eventually(SOON, || async {
        let (held, also) = (opens().await, opens().await);
        (held.0, also.0) == (200, 200)
    })
    .await;
}

/// A stream with the header and a further word of the query.
async fn stream_as(process: &Process, (name, value): (&str, &str), query: &str) -> (u16, Sse) {
    let request = process.client().get(process.url(&format!("/api/benchmark-sse?interval=1&{query}")));
    let answer = request.header(name, value).send().await.expect("an answer");
    (answer.status().as_u16(), Sse::new(answer))
}

async fn status_as(process: &Process, key: &str) -> u16 {
    let answer = process.client().get(process.url("/api/vms")).bearer_auth(key).send().await;
    answer.map_or(0, |answer| answer.status().as_u16())
}

async fn ticket(process: &Process, key: &str) -> reqwest::Response {
    process.client().post(process.url("/auth/ticket")).bearer_auth(key).send().await.expect("an answer")
}

async fn vms(process: &Process) -> Vec<String> {
    let answer = process.client().get(process.url("/api/vms")).bearer_auth(process.key()).send().await;
    let rows: Value = answer.expect("an answer").json().await.expect("JSON");
    rows.as_array().expect("a list").iter().map(|vm| vm["name"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_count_tickets_logouts_revocations_and_vms_as_one() {
    let Some(mut nats) = Nats::start(1) else { return };
    let known_hosts = tempfile::NamedTempFile::new().expect("a file");
    let register = format!("[register]\nknown_hosts = {:?}\n", known_hosts.path().display().to_string());
    let one = Process::start(Scheme::Http, &format!("{}{register}", sections(&nats))).await;
    let keys = one.file("keys.toml");
    let made = app::new_key(&keys, "other", &["events:read".to_owned()], &["*".to_owned()], "never").expect("a key");
    let key = made.expose();
    eventually(SOON, || async { status_as(&one, key).await == 200 }).await;
    let mut other = one.twin().await;
    let other_keys = std::fs::read_to_string(other.file("keys.toml")).expect("the file");

    // A ticket of one is used at the other, once.
    let answer: Value = ticket(&one, key).await.json().await.expect("JSON");
    let shown = format!("ticket={}", answer["ticket"].as_str().expect("a ticket"));
    let (status, mut of_ticket) = stream_as(&other, ("x-nothing", ""), &shown).await;
    assert_eq!(status, 200, "{}", other.log());
    for process in [&one, &other] {
        assert_eq!(stream_as(process, ("x-nothing", ""), &shown).await.0, 401, "it was used");
    }

    // A session of one is one at the other, until it is logged out at either.
    let login = one.client().post(one.url("/auth/session")).bearer_auth(key).send().await.expect("an answer");
    let cookie = login.headers()["set-cookie"].to_str().expect("text").split(';').next().expect("a cookie").to_owned();
    let (status, mut of_session) = stream_as(&other, ("cookie", &cookie), "vm=one").await;
    assert_eq!(status, 200);
    of_session.until(SOON, |frame| frame.event == "connected").await;
    let leave = one.client().delete(one.url("/auth/session")).header("cookie", &cookie);
    assert_eq!(leave.header("sec-fetch-site", "same-origin").send().await.expect("an answer").status(), 204);
    of_session.until(SOON, |frame| frame.event == "error" && frame.text("code") == "revoked").await;
    assert!(!one.file("data/session-secret").exists() && !other.file("data/session-secret").exists());

    // A key that is revoked at one ends at the other, whose file still has it.
    let id = id_of(key);
    app::revoke_key(&keys, id, false).expect("revoked");
    of_ticket.until(SOON, |frame| frame.event == "error" && frame.text("code") == "revoked").await;
    assert_eq!(status_as(&other, key).await, 401);
    assert_eq!(std::fs::read_to_string(other.file("keys.toml")).expect("the file"), other_keys);
    other.restart().await;
    assert_eq!(status_as(&other, key).await, 401, "a start makes no difference");
    assert!(other.log().contains("revoked at another replica"), "{}", other.log());
    // Copying keeps the mode.
    std::fs::copy(other.file("keys.toml"), one.file("back")).expect("copied");
    std::fs::rename(one.file("back"), &keys).expect("renamed");
    for process in [&one, &other] {
        let began = Instant::now();
        while status_as(process, key).await != 200 {
            assert!(began.elapsed() < SOON, "{}", process.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    // A VM that is registered at one is watched by the other.
    let body = json!({"name": "added", "ssh_host": "127.0.0.1", "ssh_user": "nobody"});
    let post = other.client().post(other.url("/api/vms/register")).bearer_auth(other.key()).json(&body);
    assert_eq!(post.send().await.expect("an answer").status(), 200);
    for process in [&one, &other] {
        let mut last = Vec::new();
        let began = Instant::now();
        while last != ["added", "one"] {
            last = vms(process).await;
            assert!(began.elapsed() < SOON, "{last:?}: {}", process.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let post = one.client().post(one.url("/api/vms/register")).bearer_auth(one.key()).json(&body);
    assert_eq!(post.send().await.expect("an answer").status(), 409);
    other.restart().await;
    eventually(SOON, || async { vms(&other).await == ["added", "one"] }).await;

    // Without the engine nobody says that a ticket was good.
    let answer: Value = ticket(&one, key).await.json().await.expect("JSON");
    let shown = format!("ticket={}", answer["ticket"].as_str().expect("a ticket"));
    nats.signal(0, Signal::KILL);
    let refused = ticket(&one, key).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    assert_eq!(stream_as(&other, ("x-nothing", ""), &shown).await.0, 503);
}
