//! Sessions, with a client that is not ours.

use std::process::Stdio;

use tokio::process::Command;

use super::issued::Ca;
use super::*;
use crate::telemetry::HandshakeOutcome;

/// Speaks to `addr` with `openssl s_client` and `flags` until the server hangs up; gives all that it printed.
async fn openssl(addr: SocketAddr, flags: &[&str]) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &addr.to_string(), "-servername", "localhost"])
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("openssl");
    let mut ask = child.stdin.take().unwrap();
    // An error says that it has ended already, and its output says why.
    let _ = ask.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("the server hangs up").unwrap();
    drop(ask);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn count(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

/// A server with and without client certificates, and the flags of a client that shows one.
fn servers(ca: &Ca) -> (TlsConfig, TlsConfig, Vec<String>) {
    let open = ca.config(&ca.issue("server", &["localhost"], 90));
    let own = ca.issue("client", &["client.test"], 90);
    let flags =
        vec!["-cert".to_owned(), own.cert.display().to_string(), "-key".to_owned(), own.key.display().to_string()];
    (open.clone(), TlsConfig { client_ca: Some(ca.cert.clone()), ..open }, flags)
}

#[tokio::test]
async fn g18_with_client_certificates_no_session_is_ever_resumed() {
    let ca = Ca::new();
    let (open, closed, own) = servers(&ca);
    for (config, resumes) in [(open, true), (closed, false)] {
        let server = start(Some(load(&config, &Metrics::new().server).unwrap()), ConnectionLimits::default());
        let session = ca.dir.path().join(format!("session-{resumes}"));
        let session = session.to_str().unwrap();
        let flags = |more: &[&'static str]| [more, &["-ign_eof"]].concat();
        let own: Vec<&str> = if resumes { Vec::new() } else { own.iter().map(String::as_str).collect() };

        let first = openssl(server.addr, &[&flags(&["-tls1_3"])[..], &own, &["-sess_out", session]].concat()).await;
        assert_eq!(count(&first, "hello"), 1, "{first}");
        assert_eq!(count(&first, "New Session Ticket arrived") > 0, resumes, "{first}");
        assert_eq!(count(&first, "New, TLSv1.3"), 1, "{first}");
        if resumes {
            let again = openssl(server.addr, &[&flags(&["-tls1_3"])[..], &["-sess_in", session]].concat()).await;
            assert_eq!(count(&again, "Reused, TLSv1.3"), 1, "the test can tell: {again}");
        }

        // It connects six times, each time with the session of the one before.
        let old = openssl(server.addr, &[&flags(&["-tls1_2", "-reconnect"])[..], &own].concat()).await;
        assert_eq!(count(&old, "Reused, TLSv1.2"), if resumes { 5 } else { 0 }, "{old}");
        assert_eq!(count(&old, "New, TLSv1.2"), if resumes { 1 } else { 6 }, "{old}");
    }
}

#[tokio::test]
async fn g19_a_session_from_before_a_reload_is_not_resumed_after_it() {
    let ca = Ca::new();
    let (open, _, _) = servers(&ca);
    let settings = load(&open, &Metrics::new().server).unwrap();
    let server = start(Some(settings.clone()), ConnectionLimits::default());
    let session = ca.dir.path().join("session");
    let session = session.to_str().unwrap();
    openssl(server.addr, &["-ign_eof", "-tls1_3", "-sess_out", session]).await;
    settings.reload(&open, Path::new("/nonexistent")).unwrap();
    let again = openssl(server.addr, &["-ign_eof", "-tls1_3", "-sess_in", session]).await;
    assert_eq!((count(&again, "Reused, TLSv1.3"), count(&again, "New, TLSv1.3")), (0, 1), "{again}");
    assert_eq!(count(&again, "hello"), 1, "{again}");
}

#[tokio::test]
async fn g21_a_client_of_an_older_tls_is_refused() {
    let ca = Ca::new();
    let (open, _, _) = servers(&ca);
    let server = start(Some(load(&open, &Metrics::new().server).unwrap()), ConnectionLimits::default());
    // Debian's openssl speaks them at no higher security level.
    for (n, version) in ["-tls1", "-tls1_1"].into_iter().enumerate() {
        let said = openssl(server.addr, &[version, "-cipher", "ALL:@SECLEVEL=0"]).await;
        assert!(said.contains("SSL alert number") && said.contains("Cipher is (NONE)"), "{said}");
        let refused = || server.metrics.server.handshakes.of(HandshakeOutcome::Incompatible).get();
        eventually("it is counted", || refused() == n as u64 + 1).await;
    }
}
