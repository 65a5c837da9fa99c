//! Rules that look at files on this machine, warnings, registrations.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::model::RegisteredVm;

const OPEN: &str = "auth.none = true\n";

/// A file of `mode` with something in it.
fn file(dir: &TempDir, name: &str, mode: u32) -> PathBuf {
    let path = dir.path().join(name);
    // One of an earlier mode may not be writable.
    let _ = fs::remove_file(&path);
    fs::write(&path, "something\n").expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    path
}

fn lines(text: &str, home: &TempDir) -> Vec<String> {
    let env: MapEnv = [("HOME", home.path())].into_iter().collect();
    match Config::parse(text, "f.toml", &env) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.to_string().lines().map(str::to_owned).collect(),
    }
}

fn warnings(text: &str) -> Vec<String> {
    let config = Config::parse(text, "f.toml", &MapEnv::default()).expect("a configuration");
    config.warnings().iter().map(ToString::to_string).collect()
}

#[test]
fn g60_an_open_administration_listener_must_be_asked_for_and_is_warned_of() {
    let vm = "[[vm]]\nname = \"a\"\ntransport = \"local\"\n";
    for address in ["0.0.0.0:9765", "[::]:9765", "192.0.2.1:9765"] {
        let text = format!("{OPEN}admin.listen = \"{address}\"\nadmin.open = true\n{vm}");
        let said = warnings(&text).into_iter().find(|warning| warning.contains("admin.open")).expect(address);
        assert!(said.contains(address) && said.contains("without a key"), "{said}");
    }
    let said = warnings(&format!("{OPEN}admin.open = true\n{vm}"));
    assert!(!said.iter().any(|warning| warning.contains("admin")), "on loopback it opens nothing: {said:?}");
}

#[test]
fn a_key_for_a_collector_that_goes_out_in_clear_text_is_warned_of_and_never_shown() {
    let trace = |endpoint: &str| {
        let vm = "[[vm]]\nname = \"a\"\ntransport = \"local\"\n";
        format!("{OPEN}trace = {{ endpoint = \"{endpoint}\", headers = [\"x-api-key=topsecret\"] }}\n{vm}")
    };
    for (endpoint, url, warned) in [
        ("http://192.0.2.1:4318", "http://192.0.2.1:4318/v1/traces", true),
        ("http://collector.example/otlp/", "http://collector.example/otlp/v1/traces", true),
        ("https://collector.example/", "https://collector.example/v1/traces", false),
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces", false),
        ("http://localhost:4318", "http://localhost:4318/v1/traces", false),
        ("http://[::1]:4318", "http://[::1]:4318/v1/traces", false),
    ] {
        let config = Config::parse(&trace(endpoint), "f.toml", &MapEnv::default()).expect("a configuration");
        assert_eq!(config.trace.url().as_deref(), Some(url));
        let said = warnings(&trace(endpoint));
        assert_eq!(said.iter().any(|warning| warning.contains("trace.headers")), warned, "{endpoint}: {said:?}");
        assert!(!format!("{config:?} {said:?}").contains("topsecret"));
        assert_eq!(config.trace.headers[0].value.expose(), "topsecret");
    }
}

#[test]
fn an_identity_that_ssh_would_refuse_is_refused() {
    let dir = TempDir::new().expect("a directory");
    for (mode, refused) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true), (0o660, true)] {
        file(&dir, "key", mode);
        for text in
            ["[[vm]]\nname = \"a\"\nhost = \"a\"\nidentity_file = \"~/key\"", "[register]\nidentity_file = \"~/key\""]
        {
            let said = lines(&format!("{OPEN}{text}"), &dir);
            assert_eq!(said.len(), usize::from(refused), "{mode:o} {said:?}");
            if refused {
                assert!(
                    said[0].contains(&format!("identity_file: has mode {mode:04o}, so others can read it: chmod 600"))
                );
            }
        }
    }
    fs::write(dir.path().join("key"), "").expect("a file");
    let said = lines(&format!("{OPEN}register.identity_file = \"~/key\""), &dir);
    assert!(said[0].ends_with("is empty"), "{said:?}");
}

#[test]
fn a_home_directory_that_is_not_known_is_a_mistake() {
    let errors =
        Config::parse(&format!("{OPEN}data.dir = \"~/d\""), "f.toml", &MapEnv::default()).expect_err("no HOME");
    assert!(errors.to_string().contains("data.dir: \"~/d\": HOME is not set"), "{errors}");
}

#[test]
fn known_hosts_must_be_there_only_if_they_alone_are_believed() {
    let dir = TempDir::new().expect("a directory");
    let vm = "[[vm]]\nname = \"a\"\nhost = \"a\"\nknown_hosts = \"~/known_hosts\"\n";
    assert_eq!(lines(&format!("{OPEN}{vm}"), &dir).len(), 1);
    assert!(lines(&format!("{OPEN}{vm}host_key = \"accept-new\""), &dir).is_empty());
    // An empty one is an honest one: no host is believed.
    fs::write(dir.path().join("known_hosts"), "").expect("a file");
    assert!(lines(&format!("{OPEN}{vm}"), &dir).is_empty());
}

#[test]
fn tls_files_must_be_there_and_the_mode_follows_from_them() {
    let dir = TempDir::new().expect("a directory");
    let (cert, key) = (file(&dir, "cert.pem", 0o644), file(&dir, "key.pem", 0o600));
    let keys = file(&dir, "keys.toml", 0o600);
    let entry = format!(
        "[[key]]\nid=\"a\"\nsha256=\"{}\"\nname=\"n\"\nscopes=\"admin\"\nvms=\"*\"\nexpires=\"never\"",
        "ab".repeat(32)
    );
    fs::write(&keys, entry).expect("a file");
    let text = "server.listen = \"0.0.0.0:8765\"\nauth.keys_file = \"~/keys.toml\"\n\
                tls = { cert = \"~/cert.pem\", key = \"~/key.pem\" }";
    let env: MapEnv = [("HOME", dir.path())].into_iter().collect();
    let config = Config::parse(text, "f.toml", &env).expect("a configuration");
    assert_eq!(config.tls.mode, TlsMode::Files(CertificateFiles { cert, key: key.clone() }));
    assert_eq!((config.auth.access.clone(), config.warnings()), (Access::Keys(keys), Vec::new()));

    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("a mode");
    let warned = Config::parse(text, "f.toml", &env).expect("a configuration").warnings();
    assert!(warned.len() == 1 && warned[0].to_string().contains("tls.key: has mode 0644"), "{warned:?}");

    fs::write(&key, "").expect("a file");
    let said = lines(text, &dir);
    assert!(said.len() == 1 && said[0].contains("tls.key:") && said[0].ends_with("is empty"), "{said:?}");
}

#[test]
fn clear_text_and_a_dev_certificate_on_the_network_must_be_written_out() {
    let dir = TempDir::new().expect("a directory");
    let keys = "auth.keys_file = \"keys.toml\"\n";
    for (listen, mode, mistakes) in [
        ("127.0.0.1:0", "", 0),
        ("[::1]:0", "", 0),
        ("[::ffff:127.0.0.1]:0", "", 0),
        ("0.0.0.0:0", "", 1),
        ("[::]:0", "", 1),
        ("192.0.2.1:0", "", 1),
        ("0.0.0.0:0", "tls.mode = \"off\"\n", 0),
        ("0.0.0.0:0", "tls.mode = \"dev\"\n", 0),
    ] {
        // One mistake more is that there is no such file of keys.
        let said = lines(&format!("{keys}server.listen = \"{listen}\"\n{mode}"), &dir);
        assert_eq!(said.len(), mistakes + 1, "{listen} {mode} {said:?}");
    }
}

#[test]
fn insecure_choices_are_warned_of() {
    let text = "tls.mode = \"off\"\nauth.none = true\nregister = { enabled = false, host_key = \"accept-new\" }\n";
    assert_eq!(
        warnings(text),
        [
            "f.toml:1:12: tls.mode: keys and events can be read on this machine in clear text",
            "f.toml:2:13: auth.none: everybody on this machine may watch and register VMs",
            "f.toml:3:24: register.enabled: there is no [[vm]], and none can be registered: nothing is watched",
            "f.toml:3:42: register.host_key: whoever answers at the first contact is believed to be the VM",
        ]
    );
    let vm = "[[vm]]\nname = \"a\"\nhost = \"a\"\nhost_key = \"accept-new\"\n";
    assert!(warnings(&format!("{OPEN}{vm}")).iter().any(|line| line.starts_with("f.toml:5:12: vm[0].host_key: ")));
}

#[test]
fn power_takes_the_name_of_the_vm_unless_it_has_its_own() {
    let vm = |power: &str| format!("{OPEN}[[vm]]\nname = \"a\"\nhost = \"a\"\npower = {{ {power} }}");
    let power = |text: &str| {
        Config::parse(&vm(text), "f.toml", &MapEnv::default()).expect("a configuration").vms[0].power.clone()
    };
    let azure = |name: &str| Some(PowerConfig::Azure { name: name.to_owned(), resource_group: "g".to_owned() });
    assert_eq!(power("preset = \"azure\", resource_group = \"g\""), azure("a"));
    assert_eq!(power("preset = \"azure\", resource_group = \"g\", name = \"B_1\""), azure("B_1"));
    let argv = ["a", "b c", "", "--d"].map(str::to_owned).to_vec();
    assert_eq!(
        power("preset = \"command\", command = [\"a\", \"b c\", \"\", \"--d\"]"),
        Some(PowerConfig::Command { argv })
    );
}

fn request(json: &str) -> RegisteredVm {
    serde_json::from_str(json).expect("a registration")
}

fn register() -> Register {
    let text =
        format!("{OPEN}register = {{ user = \"svc\", host_key = \"accept-new\", known_hosts = \"data/known_hosts\" }}");
    Config::parse(&text, "f.toml", &MapEnv::default()).expect("a configuration").register
}

#[test]
fn a_registered_vm_is_what_a_written_one_would_be() {
    let registered = VmConfig::from_registered(&request(r#"{"name":"a","ssh_host":"2001:db8::7"}"#), &register());
    let text = format!(
        "{OPEN}[[vm]]\nname = \"a\"\nhost = \"2001:db8::7\"\nuser = \"svc\"\nhost_key = \"accept-new\"\n\
         known_hosts = \"data/known_hosts\"\nvnc_url = \"http://[2001:db8::7]:8006/\""
    );
    let written = Config::parse(&text, "f.toml", &MapEnv::default()).expect("a configuration").vms.remove(0);
    assert_eq!(registered, Ok(written));
}

#[test]
fn every_mistake_of_a_registration_is_named() {
    let bad = r#"{"name":"a","ssh_host":"-oProxyCommand=id","ssh_user":"a b","vnc_port":0,"waa_port":0,
                  "docker_container":"a'b","internal_ip":"a/b"}"#;
    let issues = VmConfig::from_registered(&request(bad), &register()).expect_err("mistakes");
    let keys: Vec<&str> = issues.iter().map(|issue| issue.key.as_str()).collect();
    assert_eq!(keys, ["ssh_host", "ssh_user", "internal_ip", "docker_container", "waa_port", "vnc_port"]);
    assert!(issues[0].to_string().starts_with("request: ssh_host: \"-oProxyCommand=id\": a host is"), "{}", issues[0]);
    let own = request(r#"{"name":"a","ssh_host":"h","ssh_user":"me","docker_container":""}"#);
    let vm = VmConfig::from_registered(&own, &register()).expect("a VM");
    assert_eq!((vm.facts().user.as_str(), vm.container), ("me", None));
}

#[test]
fn g7_nobody_is_believed_by_default_and_everybody_cannot_be() {
    let proxy = |text: &str| Config::parse(&format!("{OPEN}{text}"), "f.toml", &MapEnv::default()).map(|c| c.proxy);
    assert_eq!(proxy("").expect("a configuration").trusted, []);
    for everybody in ["0.0.0.0/0", "::/0"] {
        let errors = proxy(&format!("proxy.trusted = [\"10.0.0.0/8\", \"{everybody}\"]")).expect_err("a mistake");
        assert!(errors.to_string().contains("trusts everybody"), "{errors}");
    }
    // Two halves are everybody again.
    for most in ["0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/7", "::/1", "8000::/1", "2000::/15", "::ffff:0.0.0.0/97"] {
        let errors = proxy(&format!("proxy.trusted = [\"{most}\"]")).expect_err("a mistake");
        assert!(errors.to_string().contains("trusts nearly everybody"), "{errors}");
    }
    assert!(proxy("proxy.trusted = [\"10.0.0.0/8\", \"2001::/16\", \"fc00::/7\", \"fd00::/8\"]").is_ok());
    assert!(proxy("proxy = { trusted = \"10.0.0.0/8\", protocol = \"required\" }").is_ok());
    assert!(proxy("proxy.protocol = \"required\"").is_err(), "nobody could connect");
}
