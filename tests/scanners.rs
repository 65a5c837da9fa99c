//! What scanners for TLS find: Debian's sslscan and testssl, over a certificate that is good for more than a month.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::support::{Process, SIMULATED, Scheme};

/// Runs `program` and gives what it wrote to standard output.
async fn run(program: &'static str, args: Vec<String>) -> String {
    let output = tokio::task::spawn_blocking(move || {
        Command::new("timeout").arg("120").arg(program).args(args).env("TERM", "dumb").output()
    });
    let output = output.await.expect("no panic").expect("coreutils");
    assert!(output.status.code() != Some(124) && output.status.code() != Some(127), "{program}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn g21_sslscan_finds_tls_1_2_and_1_3_with_ephemeral_keys_and_authenticated_ciphers_alone() {
    let served = Process::start(Scheme::Https, SIMULATED).await;
    let report = run("sslscan", vec!["--no-colour".to_owned(), format!("127.0.0.1:{}", served.port)]).await;
    for protocol in ["SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"] {
        let line = report.lines().find(|line| line.starts_with(protocol));
        assert!(line.is_some_and(|line| line.ends_with("disabled")), "{protocol}: {line:?}\n{report}");
    }
    let offered: Vec<Vec<&str>> = report
        .lines()
        .filter(|line| line.starts_with("Accepted") || line.starts_with("Preferred"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    let versions: BTreeSet<&str> = offered.iter().map(|words| words[1]).collect();
    assert_eq!(versions, BTreeSet::from(["TLSv1.2", "TLSv1.3"]), "{report}");
    for words in &offered {
        let (version, cipher) = (words[1], words[4]);
        assert!(cipher.contains("GCM") || cipher.contains("CHACHA20"), "{words:?}");
        assert!(version == "TLSv1.3" || cipher.starts_with("ECDHE-"), "{words:?}");
    }
    assert_eq!(report.matches("not vulnerable to heartbleed").count(), 2, "{report}");
}

/// What testssl says at MEDIUM or above of every server with a CA of its own, or of the machine that it runs on.
const ALLOWED: [&str; 2] = ["cert_revocation", "engine_problem"];

#[tokio::test(flavor = "multi_thread")]
async fn g21_testssl_finds_nothing_of_medium_severity_or_above() {
    let served = Process::start(Scheme::Https, SIMULATED).await;
    let dir = tempfile::tempdir().expect("a folder");
    let json = dir.path().join("found.json");
    let mut args: Vec<String> =
        ["-p", "-s", "-P", "-S", "-h", "--warnings=off", "--color=0", "--ip=127.0.0.1", "--add-ca"]
            .map(str::to_owned)
            .into();
    args.extend([served.tls.ca.display().to_string(), "--jsonfile".to_owned(), json.display().to_string()]);
    args.push(format!("https://localhost:{}/", served.port));
    let said = run("testssl", args).await;
    let text = std::fs::read_to_string(&json).unwrap_or_default();
    let findings: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}\n{said}"));
    let field = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let bad: Vec<&Value> = findings
        .iter()
        .filter(|found| ["MEDIUM", "HIGH", "CRITICAL", "FATAL"].contains(&field(found, "severity").as_str()))
        .filter(|found| !ALLOWED.contains(&field(found, "id").as_str()))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    // It has looked: at protocols, ciphers, the certificate and the headers.
    let found = |id: &str| findings.iter().find(|found| field(found, "id") == id).map(|found| field(found, "finding"));
    assert!(found("TLS1_3").is_some_and(|text| text.starts_with("offered")), "{said}");
    assert!(found("TLS1_2").is_some_and(|text| text.starts_with("offered")), "{said}");
    assert!(found("TLS1").is_some_and(|text| text.starts_with("not offered")), "{said}");
    assert!(found("cipherlist_STRONG_FS").or_else(|| found("cipherlist_STRONG")).is_some(), "{said}");
    assert_eq!(found("cert_chain_of_trust").as_deref(), Some("passed."), "{said}");
    assert!(found("HSTS_time").is_some(), "{said}");
}
