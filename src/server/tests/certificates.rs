//! Which certificates are taken, and which one is shown.

use super::by_hand::{Way, ask};
use super::issued::{Ca, der};
use super::*;
use crate::telemetry::ReloadOutcome;

#[test]
fn a_certificate_that_cannot_be_used_is_refused_with_its_file_named() {
    let (_one, one) = dev();
    let (_two, two) = dev();
    let refused = |cert: &Path, key: &Path| {
        let config = TlsConfig { mode: TlsMode::Files(pair(cert, key)), ..with_files(&one) };
        let why = TlsSettings::check(&config).unwrap_err().to_string();
        assert_eq!(load(&config, &Metrics::new().server).unwrap_err().to_string(), why);
        why
    };
    assert!(refused(&one.cert, &two.key).contains("dev-key.pem"));
    assert!(refused(Path::new("/nonexistent/cert.pem"), &one.key).contains("certificate /nonexistent/cert.pem"));
    assert!(refused(&one.key, &one.key).contains("no certificate"));
    assert!(refused(&one.cert, &one.cert).contains("key "));
}

#[test]
fn g20_a_certificate_that_ended_is_refused_also_as_one_of_several() {
    let ca = Ca::new();
    let (good, ended) = (ca.issue("good", &["a.test"], 90), ca.issue("ended", &["b.test"], -1));
    let why = TlsSettings::check(&ca.config(&ended)).unwrap_err().to_string();
    assert!(why.contains("ended.pem: it ended 20"), "{why}");
    let several = TlsConfig { certificates: vec![ended], ..ca.config(&good) };
    assert!(TlsSettings::check(&several).unwrap_err().to_string().contains("ended.pem"));
}

#[test]
fn g15_a_client_ca_that_is_missing_empty_or_no_ca_refuses_start_and_reload() {
    let ca = Ca::new();
    let files = ca.issue("server", &["localhost"], 90);
    let metrics = Metrics::new().server;
    let good = TlsConfig { client_ca: Some(ca.cert.clone()), ..ca.config(&files) };
    let settings = load(&good, &metrics).unwrap();
    let path = |name: &str| ca.dir.path().join(name);
    fs::write(path("empty.pem"), "").unwrap();
    fs::write(path("text.pem"), "no certificate").unwrap();
    fs::write(path("cut.pem"), &fs::read(&ca.cert).unwrap()[..100]).unwrap();
    let bad = ["missing.pem", "empty.pem", "text.pem", "cut.pem", "server.key", "."];
    for (n, name) in bad.into_iter().enumerate() {
        let config = TlsConfig { client_ca: Some(path(name)), ..good.clone() };
        let why = TlsSettings::check(&config).unwrap_err().to_string();
        assert!(why.starts_with("client CA "), "{name}: {why}");
        assert!(load(&config, &Metrics::new().server).is_err(), "{name}");
        settings.reload(&config, Path::new("/nonexistent")).unwrap_err();
        assert_eq!(metrics.certificate_reloads.of(ReloadOutcome::Refused).get(), n as u64 + 1);
        assert!(settings.files().contains(&ca.cert), "the old one is in use");
    }
    assert_eq!(metrics.certificate_reloads.of(ReloadOutcome::Ok).get(), 0);
}

#[tokio::test]
async fn a_client_is_shown_the_certificate_of_the_name_that_it_asks_for() {
    let ca = Ca::new();
    let first = ca.issue("first", &["first.test", "shared.test"], 90);
    let exact = ca.issue("exact", &["Exact.Test", "one.wild.test", "shared.test"], 80);
    let wild = ca.issue("wild", &["*.wild.test"], 70);
    let config = TlsConfig { certificates: vec![exact.clone(), wild.clone()], ..ca.config(&first) };
    let metrics = Metrics::new().server;
    let settings = load(&config, &metrics).unwrap();
    assert_eq!(settings.files().len(), 6);
    let ends = std::time::SystemTime::now() + Duration::from_secs(70 * 86_400);
    let left = ends.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!((left - metrics.certificate_end.get()).abs() < 3600, "the gauge tells the first that ends");

    let server = start(Some(settings), ConnectionLimits::default());
    for (name, shown) in [
        ("first.test", &first),
        ("exact.test", &exact),
        ("one.wild.test", &exact),
        ("two.wild.test", &wild),
        ("shared.test", &first),
    ] {
        let spoken = ask(server.addr, ca.client(None), name, "/", Way::default()).await.unwrap();
        assert_eq!(spoken.shown[0], der(shown), "{name}");
    }
    // These are shown the first, which is for none of them.
    for name in ["unknown.test", "wild.test", "a.b.wild.test", "127.0.0.1"] {
        let why = ask(server.addr, ca.client(None), name, "/", Way::default()).await.err().unwrap();
        assert!(why.contains("first.test"), "{name}: {why}");
    }
}
