//! What docker/kubernetes.yml gives its two kinds of servers is what they take.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use gatewatch::app;
use gatewatch::config::{Config, JournalKind, MapEnv};

use crate::lab::skip;
use crate::support::nats_program;

const EXAMPLE: &str = "docker/kubernetes.yml";
const PERMISSIONS: &str = "docker/nats-permissions.conf";

/// The text that stands, indented, behind the key `name: |`.
fn text_of(name: &str) -> String {
    let example = fs::read_to_string(EXAMPLE).expect(EXAMPLE);
    let from = example.split(&format!("  {name}: |\n")).nth(1).unwrap_or_else(|| panic!("no {name}"));
    let lines = from.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    lines.map(|line| format!("{}\n", line.get(4..).unwrap_or_default())).collect()
}

#[test]
fn a_gatewatch_takes_the_configuration_and_the_secrets_that_are_made_beforehand() {
    let dir = tempfile::tempdir().expect("a folder");
    let text = text_of("gatewatch.toml");
    let servers = "nats://gatewatch:pw@nats-0.nats:4222,nats://gatewatch:pw@nats-1.nats:4222";
    let made = fs::read_to_string(EXAMPLE).expect(EXAMPLE);
    for file in ["keys.toml", "session.secret", "nats.servers", "identity", "known_hosts", "tls.crt", "tls.key"] {
        let path = dir.path().join(file);
        match file {
            "keys.toml" => drop(app::new_key(&path, "me", &["admin".into()], &["*".into()], "never").expect("a key")),
            "nats.servers" => fs::write(&path, servers).expect("written"),
            _ => fs::write(&path, "c".repeat(44)).expect("written"),
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("for its owner");
        assert!(file.starts_with("tls.") || made.contains(&format!("--from-file={file}")), "{file} is not made");
    }
    let here = |text: &str| text.replace("/secrets/", &format!("{}/", dir.path().display()));
    let env = MapEnv::from_iter([("GATEWATCH__JOURNAL__SERVERS_FILE", here("/secrets/nats.servers"))]);
    let config = Config::parse(&here(&text), "gatewatch.toml", &env).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(config.journal.kind, JournalKind::Jetstream);
    assert_eq!(config.journal.nats.map(|nats| (nats.servers.len(), nats.replicas)), Some((2, 3)));
    assert!(made.contains("name: GATEWATCH__JOURNAL__SERVERS_FILE, value: /secrets/nats.servers"));
}

#[test]
fn nats_takes_the_configurations_that_are_shipped_for_it() {
    let Some(program) = nats_program() else { return skip("no nats-server: run docker/install-nats-server") };
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("etc/nats");
    fs::create_dir_all(&folder).expect("a folder");
    fs::create_dir_all(dir.path().join("shared")).expect("a folder");
    fs::write(dir.path().join("shared/nats-password.conf"), "GATEWATCH_PASSWORD: \"12e4\"").expect("written");
    fs::copy(PERMISSIONS, folder.join("permissions.conf")).expect("copied");
    for text in [text_of("nats.conf"), fs::read_to_string("docker/nats.conf").expect("docker/nats.conf")] {
        let file = folder.join("nats.conf");
        fs::write(&file, text).expect("written");
        let mut test = Command::new(&program);
        test.args(["-t", "-c"]).arg(&file).envs([("POD_NAME", "nats-0"), ("NATS_NAME", "nats-a")]);
        let said = test.env("GATEWATCH_PASSWORD", "pw-0a").output().expect("it runs");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }
}
