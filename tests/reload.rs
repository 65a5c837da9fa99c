//! SIGHUP, or a changed file: VMs, keys and certificates are read anew, streams stay; what is bad is refused whole.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::{Served, eventually, gatewatch, id_of, new_key, replace, trusting};

const REFUSED: &str = "gatewatch_reloads_total{outcome=\"refused\"}";
const RELOADED: &str = "gatewatch_reloads_total{outcome=\"ok\"}";
const LAST_OK: &str = "gatewatch_config_last_reload_successful";

/// How long a change may take to come in force on a busy machine. On an idle one it is within half a second.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn g63_a_new_list_of_vms_is_watched_without_dropping_a_stream_and_a_bad_one_is_refused_whole() {
    let served = Served::start().await;
    let mut stream = served.stream().await;

    served.write_config(&["two", "three"]);
    served.reload();
    let mut seen =
        stream.until(SOON, |f| f.event == "status" && f.text("vm") == "one" && f.text("stage") == "removed").await;
    assert!(seen.pop().expect("the removal").id.is_some(), "a removal is durable");
    stream.until(SOON, |f| f.event == "status" && f.text("vm") == "three").await;
    assert_eq!(served.names().await, ["three", "two"]);

    served.write_rubbish();
    served.reload();
    eventually(SOON, || async { served.metric(REFUSED).await >= 1.0 }).await;
    assert_eq!(served.names().await, ["three", "two"], "the old list stays");
    stream.until(SOON, |f| f.event == "status").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_vm_keeps_its_identity_and_nobody_is_told_of_a_removal() {
    let served = Served::start().await;
    let id_of_vm = async |name: &str| {
        let vms: serde_json::Value = served.get("/api/vms").await?.json().await.ok()?;
        vms.as_array()?.iter().find(|vm| vm["name"] == name).map(|vm| vm["vm_id"].clone())
    };
    let before = id_of_vm("one").await.expect("it is there from the first answer on");
    let mut stream = served.stream().await;

    let config = std::fs::read_to_string(served.file("gatewatch.toml")).expect("the configuration");
    let renamed = config.replace("name = \"one\"", "name = \"uno\"\nrenamed_from = \"one\"");
    replace(&served.file("gatewatch.toml"), &renamed);
    served.reload();
    let seen = stream.until(SOON, |f| f.event == "status" && f.text("vm") == "uno").await;
    assert!(seen.iter().any(|f| f.event == "reset" && f.text("reason") == "grants_changed"), "{seen:?}");
    assert!(!seen.iter().any(|f| f.text("stage") == "removed"), "{seen:?}");
    assert_eq!(id_of_vm("uno").await, Some(before));
    assert_eq!(served.names().await, ["two", "uno"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn g63_a_change_is_taken_without_a_signal_and_a_refused_one_is_counted_once() {
    let served = Served::start().await;
    let mut stream = served.stream().await;
    assert_eq!(served.metric(LAST_OK).await, 1.0);

    served.write_rubbish();
    eventually(SOON, || async { served.metric(LAST_OK).await == 0.0 }).await;
    assert_eq!(served.names().await, ["one", "two"], "the old list stays");

    served.write_config(&["three"]);
    eventually(SOON, || async { served.names().await == ["three"] }).await;
    eventually(SOON, || async { served.metric(LAST_OK).await == 1.0 }).await;
    assert_eq!((served.metric(REFUSED).await, served.metric(RELOADED).await), (1.0, 1.0), "once for each change");
    stream.until(SOON, |f| f.event == "status" && f.text("vm") == "three").await;
    let log = served.log();
    let audit =
        |event: &str| log.lines().filter(|line| line.contains("gatewatch::audit") && line.contains(event)).count();
    assert_eq!((audit("event=\"reload_refused\""), audit("event=\"reload\"")), (1, 1), "{log}");
}

/// Writes a certificate for `localhost` and its key; gives the certificate.
fn pair(dir: &Path) -> Vec<u8> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    replace(&dir.join("cert.pem"), &made.cert.pem());
    replace(&dir.join("key.pem"), &made.signing_key.serialize_pem());
    made.cert.pem().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn g63_if_one_part_is_bad_the_good_parts_do_not_come_in_force_either() {
    let dir = tempfile::tempdir().expect("a folder");
    let client = trusting(&pair(dir.path()));
    let tls = format!(
        "cert = {:?}\nkey = {:?}",
        dir.path().join("cert.pem").display().to_string(),
        dir.path().join("key.pem").display().to_string()
    );
    let served = Served::start_in(dir, &tls, client).await;
    let mut stream = served.stream().await;

    // A key of another pair: readable, private and wrong, so that only what uses it can tell.
    let right = fs::read(served.file("key.pem")).expect("the key");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    replace(&served.file("key.pem"), &other.signing_key.serialize_pem());
    eventually(SOON, || async { served.metric(LAST_OK).await == 0.0 }).await;
    let refused = served.metric(REFUSED).await;
    served.write_config(&["three"]);
    eventually(SOON, || async { served.metric(REFUSED).await > refused }).await;
    assert_eq!(served.names().await, ["one", "two"]);
    // Keys stand by themselves: whoever revokes one must not have to mend a certificate first.
    let late = new_key(&served.keys_file());
    let opens = async || served.get_as("/api/vms", &late).await.is_some_and(|answer| answer.status() == 200);
    eventually(SOON, opens).await;
    let mut doomed = served.stream_as(&late).await;
    let file = served.keys_file().display().to_string();
    assert!(gatewatch(&["key", "revoke", id_of(&late), "--keys-file", &file]).status.success());
    doomed.until(SOON, |f| f.event == "error" && f.text("code") == "revoked").await;
    assert_eq!(served.metric(LAST_OK).await, 0.0, "the certificate is still wrong");

    replace(&served.file("key.pem"), &String::from_utf8(right).expect("PEM"));
    eventually(SOON, || async { served.names().await == ["three"] }).await;
    eventually(SOON, || async { served.metric(LAST_OK).await == 1.0 }).await;
    stream.until(SOON, |f| f.event == "status" && f.text("vm") == "three").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g49_a_key_that_went_with_its_file_ends_its_streams_with_a_word() {
    let served = Served::start().await;
    let mut stream = served.stream().await;
    fs::remove_file(served.keys_file()).expect("removed");
    let other = new_key(&served.keys_file());
    served.reload();
    let frames = stream.until(SOON, |f| f.event == "error").await;
    assert_eq!(frames.last().map(|f| f.text("code")), Some("revoked"));
    assert_eq!(stream.next().await, None, "and it is over");
    let log = served.log();
    let told = format!("event=\"keys\" added=\"{}\" removed=\"{}\"", id_of(&other), id_of(&served.key));
    assert!(log.contains(&told), "{told} is not in:\n{log}");
}
