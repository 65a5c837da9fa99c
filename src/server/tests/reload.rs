//! Certificates that are replaced while the listener serves.

use std::os::unix::fs::symlink;

use super::by_hand::{Way, ask};
use super::issued::{Ca, der};
use super::*;
use crate::telemetry::ReloadOutcome;

#[tokio::test]
async fn g20_a_pair_that_is_renamed_or_linked_in_is_shown_next_and_a_bad_one_never() {
    let ca = Ca::new();
    let versions = [90, 60, 30].map(|days| (days, ca.issue(&format!("v{days}"), &["localhost"], days)));
    let [(_, one), (_, two), (_, three)] = &versions;
    let live = ca.dir.path().join("live");
    // As Kubernetes does it: a link to the folder of the version.
    let folder = |name: &str, files: &CertificateFiles| {
        let folder = ca.dir.path().join(name);
        fs::create_dir(&folder).unwrap();
        fs::copy(&files.cert, folder.join("tls.crt")).unwrap();
        fs::copy(&files.key, folder.join("tls.key")).unwrap();
        folder
    };
    let link = |to: &Path| {
        let new = ca.dir.path().join("new");
        symlink(to, &new).unwrap();
        fs::rename(&new, &live).unwrap();
    };
    link(&folder("one", one));
    let config = ca.config(&pair(&live.join("tls.crt"), &live.join("tls.key")));
    let metrics = Metrics::new().server;
    let settings = load(&config, &metrics).unwrap();
    let server = start(Some(settings.clone()), ConnectionLimits::default());
    let shown = || async {
        let spoken = ask(server.addr, ca.client(None), "localhost", "/", Way::default()).await;
        spoken.unwrap().shown[0].clone()
    };
    assert_eq!(shown().await, der(one));

    let ca_pem = reqwest::Certificate::from_pem(&fs::read(&ca.cert).unwrap()).unwrap();
    install_crypto();
    let client = reqwest::Client::builder().tls_certs_only([ca_pem]).no_proxy().build().unwrap();
    let ticks = client.get(format!("https://localhost:{}/ticks", server.addr.port())).send().await.unwrap();
    let mut ticks = ticks.bytes_stream();
    ticks.next().await.unwrap().unwrap();

    let reload = || settings.reload(&config, Path::new("/nonexistent"));
    let first_end = metrics.certificate_end.get();
    link(&folder("two", two));
    reload().unwrap();
    assert_eq!(shown().await, der(two));
    assert!(metrics.certificate_end.get() < first_end - 86_400);

    // A key of another certificate, a file cut short, one that ended, a link to nothing.
    let in_use = metrics.certificate_end.get();
    let mixed = folder("mixed", three);
    fs::copy(&one.key, mixed.join("tls.key")).unwrap();
    let short = folder("short", three);
    fs::write(short.join("tls.crt"), "-----BEGIN CERTIFICATE-----\nMIIB").unwrap();
    let ended = folder("ended", &ca.issue("ended", &["localhost"], -1));
    for (n, bad) in [mixed, short, ended, ca.dir.path().join("nothing")].iter().enumerate() {
        link(bad);
        reload().unwrap_err();
        assert_eq!(metrics.certificate_reloads.of(ReloadOutcome::Refused).get(), n as u64 + 1, "{bad:?}");
        assert_eq!(shown().await, der(two), "{bad:?}");
        assert_eq!(metrics.certificate_end.get(), in_use);
    }

    let renamed = folder("three", one);
    link(&renamed);
    fs::rename(&three.cert, renamed.join("tls.crt")).unwrap();
    fs::rename(&three.key, renamed.join("tls.key")).unwrap();
    reload().unwrap();
    let now_shown = shown().await;
    assert!(now_shown != der(one) && now_shown != der(two));
    assert_eq!(metrics.certificate_reloads.of(ReloadOutcome::Ok).get(), 2);
    reload().unwrap();
    assert_eq!(metrics.certificate_reloads.of(ReloadOutcome::Ok).get(), 2, "a reload of something else");
    for _ in 0..3 {
        ticks.next().await.expect("the stream that was open goes on").unwrap();
    }
}

#[tokio::test]
async fn g15_clients_are_asked_for_a_certificate_from_the_reload_on_and_never_less_after_a_bad_one() {
    let ca = Ca::new();
    let files = ca.issue("server", &["localhost"], 90);
    let own = ca.issue("client", &["client.test"], 90);
    let open = ca.config(&files);
    let settings = load(&open, &Metrics::new().server).unwrap();
    let server = start(Some(settings.clone()), ConnectionLimits::default());
    let stranger = Ca::new();
    let stranger = (stranger.issue("stranger", &["client.test"], 90), stranger);
    let [nobody, known, unknown] = [None, Some(&own), Some(&stranger.0)].map(|own| ca.client(own));
    let let_in = |client: &rustls::ClientConfig| {
        let client = client.clone();
        async {
            let asked = ask(server.addr, client, "localhost", "/", Way::default()).await;
            asked.is_ok_and(|spoken| spoken.answer.contains("200 OK"))
        }
    };
    assert!(let_in(&nobody).await);
    let closed = TlsConfig { client_ca: Some(ca.cert.clone()), ..open.clone() };
    settings.reload(&closed, Path::new("/nonexistent")).unwrap();
    assert!(!let_in(&nobody).await && !let_in(&unknown).await);
    assert!(let_in(&known).await);

    fs::write(&ca.cert, "").unwrap();
    settings.reload(&closed, Path::new("/nonexistent")).unwrap_err();
    settings.reload(&TlsConfig { mode: TlsMode::Off, ..open }, Path::new("/nonexistent")).unwrap_err();
    assert!(!let_in(&nobody).await && !let_in(&unknown).await);
    assert!(let_in(&known).await);
}
