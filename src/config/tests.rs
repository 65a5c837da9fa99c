//! Text, table, environment.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::environment::variable;
use super::issue::MAX_ISSUES;
use super::keys::{Default, Key, Kind};
use super::listed::CONFIG;
use super::reader::Reader;
use super::*;

/// A configuration that needs nothing but this.
const OPEN: &str = "auth.none = true\n";

fn variables(variables: &[(&str, &str)]) -> MapEnv {
    variables.iter().copied().collect()
}

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, "f.toml", &MapEnv::default())
}

fn mistakes(text: &str, env: &MapEnv) -> Vec<String> {
    match Config::parse(text, "f.toml", env) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.to_string().lines().map(str::to_owned).collect(),
    }
}

#[test]
fn what_is_not_written_is_at_its_default() {
    let config = parse(OPEN).expect("a configuration");
    assert_eq!(config.server.listen, SocketAddr::from(([127, 0, 0, 1], 8765)));
    assert_eq!(config.admin.listen, Some(SocketAddr::from(([127, 0, 0, 1], 9765))));
    assert_eq!((config.tls.mode, config.tls.min_version), (TlsMode::Dev, TlsVersion::V1_2));
    assert_eq!(config.poll.interval, Duration::from_secs(5));
    assert_eq!(config.poll.idle_interval, Duration::from_secs(30));
    assert_eq!(config.poll.timeout, Duration::from_secs(10));
    assert_eq!((config.journal.kind, config.log.level), (JournalKind::Embedded, LogLevel::Info));
    assert_eq!(config.journal.path, Path::new("data/journal.db"));
    assert!(config.register.enabled && config.vms.is_empty() && config.files == FilesConfig::default());
    assert_eq!(config.register.user.as_str(), "azureuser");

    let with_vm = format!("{OPEN}[[vm]]\nname = \"a\"\nhost = \"h\"\n");
    let config = parse(&with_vm).expect("a configuration");
    let vm = &config.vms[0];
    let Transport::Ssh(ssh) = &vm.transport else { panic!("{vm:?}") };
    assert_eq!((ssh.host.as_str(), ssh.user.as_str(), ssh.port), ("h", "azureuser", 22));
    assert_eq!(ssh.host_key, HostKeyPolicy::Strict);
    assert_eq!(vm.container.as_deref(), Some("winarena"));
    assert_eq!(vm.benchmark_log, ["/tmp/waa_benchmark.log"]);
    assert_eq!((vm.process.as_str(), vm.log_dialect, vm.total_tasks), ("python.*run.py", LogDialect::Auto, None));
    let facts = vm.facts();
    assert_eq!((facts.internal_ip.as_str(), facts.waa_port, facts.vnc_url), ("172.30.0.2", 5000, None));
}

#[test]
fn an_empty_text_takes_a_default_away() {
    let vm = "[[vm]]\nname = \"a\"\nhost = \"h\"\ncontainer = \"\"\nprobe_url = \"\"\n";
    let config = parse(&format!("{OPEN}admin.listen = \"\"\n{vm}")).expect("a configuration");
    assert_eq!(config.admin.listen, None);
    assert_eq!((config.vms[0].container.as_ref(), config.vms[0].probe_url.as_ref()), (None, None));
    assert_eq!(mistakes(&format!("{OPEN}server.listen = \"\""), &MapEnv::default()).len(), 1);
    assert_eq!(mistakes(&format!("{OPEN}data.dir = \"\""), &MapEnv::default()).len(), 1);
}

#[test]
fn a_mistake_names_place_key_value_and_what_is_allowed() {
    let text = format!("{OPEN}\n[poll]\ninterval = \"90s\"\n");
    assert_eq!(mistakes(&text, &MapEnv::default()), ["f.toml:4:12: poll.interval: 90s is not between 1s and 60s"]);
    // Columns count characters, not bytes.
    let text = "auth = { none = true, \"ärger\" = 1, nona = 2 }";
    let said = mistakes(text, &MapEnv::default());
    assert!(said[0].starts_with("f.toml:1:23: auth.ärger: no such key; known here: "), "{said:?}");
    assert_eq!(said[1], "f.toml:1:36: auth.nona: no such key; did you mean none?");
}

#[test]
fn a_message_stays_on_its_line_whatever_the_text_holds() {
    let long = "x".repeat(10_000);
    for text in [
        "\"a\\nb\" = 1".to_owned(),
        "vm = [{ name = \"\\u001b[31m\\n\", host = \"h\" }]".to_owned(),
        format!("log.level = \"{long}\""),
        format!("{long} = 1"),
    ] {
        let said = mistakes(&format!("{OPEN}{text}"), &MapEnv::default());
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].len() < 600 && !said[0].chars().any(char::is_control), "{said:?}");
    }
}

#[test]
fn every_key_in_the_table_is_read_and_every_key_read_is_in_the_table() {
    let entries = "[[auth.jwt]]\n[[tls.certificate]]\n\
                   [[vm]]\nname = \"a\"\nhost = \"h\"\nlog_dialect = \"custom\"\n[vm.dialect]\n[vm.power]\npreset = ";
    let mut asked = BTreeSet::new();
    for preset in ["azure", "aws", "gcloud", "command"] {
        let text = format!("{entries}\"{preset}\"\n");
        let env = MapEnv::default();
        let reader = Reader::new(&text, "f.toml", &env, CONFIG);
        let document = reader.document(true).expect("TOML");
        sections::read(&document, &reader);
        asked.extend(reader.asked());
    }
    let env = MapEnv::default();
    let text = "[[vm]]\nname = \"a\"\ntransport = \"simulated\"\n[vm.simulated]\n";
    let reader = Reader::new(text, "f.toml", &env, CONFIG);
    let document = reader.document(true).expect("TOML");
    sections::read(&document, &reader);
    asked.extend(reader.asked());
    let listed: BTreeSet<&str> = CONFIG.keys.iter().map(|key| key.path).collect();
    assert_eq!(asked, listed);
    assert_eq!(listed.len(), CONFIG.keys.len(), "a key is listed twice");
}

#[test]
fn the_table_is_sound() {
    for key in CONFIG.keys {
        assert!(CONFIG.has_section(key.section()), "{} has no section", key.path);
        assert!(key.meaning.ends_with('.') && !key.meaning.contains("  "), "{}: {:?}", key.path, key.meaning);
        match (key.kind, key.default) {
            (Kind::OneOf(words), Default::Text(word)) => assert!(words.contains(&word), "{}", key.path),
            (Kind::Integer { min, max }, Default::Integer(number)) => {
                assert!((min..=max).contains(&number), "{}", key.path)
            }
            (Kind::Duration { min, max }, Default::Text(text)) => {
                let seconds = humantime::parse_duration(text).expect("a duration").as_secs();
                assert!((min..=max).contains(&seconds), "{}", key.path);
            }
            (Kind::Bool, Default::Bool(_)) | (Kind::List { .. }, Default::List(_)) => {}
            (Kind::Text(_) | Kind::Path, Default::Text(_)) | (_, Default::None | Default::Required) => {}
            (kind, default) => panic!("{}: {kind:?} {default:?}", key.path),
        }
    }
    for (section, _) in CONFIG.sections {
        assert!(CONFIG.keys.iter().any(|key| key.section() == *section), "{section} has no key");
    }
}

#[test]
fn a_variable_wins_over_the_file() {
    let env = variables(&[
        ("GATEWATCH__POLL__INTERVAL", "2s"),
        ("GATEWATCH__AUTH__NONE", "true"),
        ("GATEWATCH__LIMITS__BURST", "200"),
        ("GATEWATCH__TLS__MIN_VERSION", "1.3"),
        ("GATEWATCH__CORS__ORIGINS", ""),
        ("GATEWATCH_OTHER", "not ours"),
        ("HOME", "/root"),
    ]);
    let config = Config::parse("poll.interval = \"90s\"", "f.toml", &env).expect("a configuration");
    assert_eq!(config.poll.interval, Duration::from_secs(2));
    assert_eq!(
        (config.auth.access, config.limits.burst, config.tls.min_version),
        (Access::Open, 200, TlsVersion::V1_3)
    );
    assert!(Config::load(None, &env).is_ok());
}

#[test]
fn every_key_outside_lists_has_a_variable_that_works() {
    let named = CONFIG.keys.iter().filter_map(|key| variable(key).map(|name| (key, name)));
    for (key, name) in named {
        let said = mistakes(OPEN, &variables(&[(&name, "\n\n")]));
        // Line ends are a mistake wherever they are not an empty list.
        assert_eq!(said.is_empty(), matches!(key.kind, Kind::List { .. }), "{name}: {said:?}");
        let named = said.iter().any(|line| line.starts_with(&format!("{name}: {}", key.path)));
        assert!(named || said.is_empty(), "{name}: {said:?}");
    }
    assert!(CONFIG.keys.iter().filter(|key| variable(key).is_none()).all(|key: &&Key| key.path.contains("[]")));
}

#[test]
fn mistakes_in_variables_name_the_variable() {
    for (name, value, message) in [
        ("GATEWATCH__POLL__INTERVAL", "90s", "poll.interval: 90s is not between 1s and 60s"),
        ("GATEWATCH__POLL__INTERVAL", "5", "poll.interval: \"5\" is not a duration"),
        ("GATEWATCH__LIMITS__BURST", "many", "limits.burst: \"many\" is not a number between"),
        ("GATEWATCH__REGISTER__ENABLED", "1", "register.enabled: \"1\" is not true or false"),
        ("GATEWATCH__PROXY__TRUSTED", "10.0.0.0/8, 0.0.0.0/0", "proxy.trusted[1]: \"0.0.0.0/0\": trusts everybody"),
        ("GATEWATCH__POLL__INTERVALL", "2s", "no such variable; did you mean GATEWATCH__POLL__INTERVAL?"),
        ("GATEWATCH__poll__interval", "2s", "no such variable"),
        ("GATEWATCH__XYZZY", "2s", "no such variable; variables are named GATEWATCH__SECTION__KEY"),
        ("GATEWATCH__", "2s", "no such variable"),
        ("GATEWATCH__VM__0__NAME", "a", "[[vm]] entries cannot be given by the environment; write them in the file"),
        ("GATEWATCH__VM", "a", "[[vm]] entries cannot be given by the environment"),
        ("GATEWATCH__AUTH__JWT__ISSUER", "a", "[[auth.jwt]] entries cannot be given by the environment"),
        ("GATEWATCH__POLL__INTERVAL_FILE", "/etc/passwd", "no such variable; did you mean GATEWATCH__POLL__INTERVAL?"),
        ("GATEWATCH__JOURNAL__SERVERS_FILE", "no/such/file", "journal.servers: cannot read no/such/file"),
        ("GATEWATCH__JOURNAL__SERVERS_FILE", "/dev/null", "journal.servers: /dev/null is empty"),
    ] {
        let said = mistakes(OPEN, &variables(&[(name, value)]));
        assert!(said.len() == 1 && said[0].starts_with(&format!("{name}: {message}")), "{name}={value}: {said:?}");
    }
    let binary: MapEnv = [("GATEWATCH__LOG__LEVEL", OsString::from_vec(vec![0xff]))].into_iter().collect();
    assert_eq!(mistakes(OPEN, &binary), ["GATEWATCH__LOG__LEVEL: its value is not UTF-8"]);
}

#[test]
fn a_secret_is_read_from_a_file_and_never_printed() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("servers");
    std::fs::write(&file, "nats://u:topsecret@a:4222,nats://b:4222\n").expect("a file");
    let file = file.to_str().expect("UTF-8");
    let from_file = variables(&[("GATEWATCH__JOURNAL__SERVERS_FILE", file)]);
    let text = format!("{OPEN}journal.kind = \"jetstream\"\njournal.fleet = \"no fleet\"");
    let said = mistakes(&text, &from_file).join("\n");
    assert!(said.contains("journal.fleet: ") && !said.contains("topsecret"), "{said}");
    let both = variables(&[("GATEWATCH__JOURNAL__SERVERS_FILE", file), ("GATEWATCH__JOURNAL__SERVERS", "nats://c")]);
    assert!(mistakes(OPEN, &both).iter().any(|line| line.contains("GATEWATCH__JOURNAL__SERVERS is set too")));
    for bad in
        ["journal.servers = [\"topsecret\\n\"]", "journal.servers = { a = \"topsecret\" }", "journal.servers = [7]"]
    {
        let said = mistakes(&format!("{OPEN}{bad}"), &MapEnv::default()).join("\n");
        assert!(said.contains("[secret]") && !said.contains("topsecret"), "{said}");
    }
}

#[test]
fn a_variable_of_a_section_that_is_no_section_leaves_that_mistake_alone() {
    let said = mistakes("auth.none = true\npoll = 3", &variables(&[("GATEWATCH__POLL__INTERVAL", "2s")]));
    assert_eq!(said, ["f.toml:2:8: poll: is a number, but this is a section: write [poll]"]);
}

#[test]
fn what_cannot_be_a_configuration_is_one_mistake() {
    let dir = tempfile::tempdir().expect("a directory");
    let load =
        |name: &str| Config::load(Some(&dir.path().join(name)), &MapEnv::default()).expect_err("no configuration");
    std::fs::write(dir.path().join("large"), vec![b'#'; 1024 * 1024 + 1]).expect("a file");
    std::fs::write(dir.path().join("binary"), b"auth.none = true\n# \xff\n").expect("a file");
    std::fs::create_dir(dir.path().join("dir")).expect("a directory");
    for (name, message) in [
        ("missing", "cannot be read: No such file"),
        ("dir", "cannot be read: Is a directory"),
        ("large", "is larger than 1048576 bytes"),
        ("binary", "is not UTF-8 text (line 2)"),
    ] {
        let errors = load(name);
        assert!(errors.count() == 1 && errors.to_string().contains(message), "{name}: {errors}");
    }
    assert_eq!(parse(&"#".repeat(1024 * 1024 + 1)).expect_err("too large").count(), 1);
}

#[test]
fn mistakes_past_the_cap_are_counted() {
    let text: String = (0..2000).map(|i| format!("k{i} = 1\n")).collect();
    let errors = parse(&text).expect_err("mistakes");
    assert_eq!((errors.issues().len(), errors.count()), (MAX_ISSUES, 2001));
    assert!(errors.to_string().ends_with("\nand 1501 more"));
}

#[test]
fn deep_and_wide_texts_end() {
    let deep_key = format!("{}a = 1", "a.".repeat(300_000));
    let deep_header = format!("[{}a]", "a.".repeat(300_000));
    let deep_list = format!("a = {}", "[".repeat(500_000));
    let deep_table = format!("a = {}", "{a=".repeat(200_000));
    let deep_known = format!("[[vm]]\n[vm.power{}]", ".power".repeat(70));
    let binary = "\0\u{1}\n".repeat(300_000);
    let rubbish = "=\u{7f}".repeat(400_000);
    for text in [deep_key, deep_header, deep_list, deep_table, deep_known, binary, rubbish] {
        assert!(parse(&text).is_err());
    }
}

#[test]
fn at_most_ten_thousand_vms() {
    let vms = |count: usize| -> String {
        (0..count).map(|i| format!("[[vm]]\nname=\"v{i}\"\ntransport=\"simulated\"\n")).collect()
    };
    assert_eq!(parse(&format!("{OPEN}{}", vms(10_000))).expect("a configuration").vms.len(), 10_000);
    let said = mistakes(&format!("{OPEN}{}", vms(10_001)), &MapEnv::default());
    assert_eq!(said, ["f.toml:30002:1: vm[10000]: there are 10001 VMs, at most 10000 are allowed"]);
}

/// A known key, an almost known one or none, with a value of any type.
fn line() -> impl Strategy<Value = String> {
    let paths: Vec<String> = CONFIG.keys.iter().map(|key| key.path.replace("[]", "")).collect();
    let value = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:e}")),
        any::<bool>().prop_map(|is| is.to_string()),
        any::<String>().prop_map(|text| format!("{text:?}")),
        "[a-z0-9./:*-]{0,12}".prop_map(|text| format!("\"{text}\"")),
        "[0-9]{1,4}(ms|s|m|h|d)".prop_map(|text| format!("\"{text}\"")),
        Just("[]".to_owned()),
        Just("[1, \"a\", [true], {b = 1}]".to_owned()),
        Just("[\"/a\", \"/b\"]".to_owned()),
        Just("{ a = 1 }".to_owned()),
        Just("1979-05-27T07:32:00Z".to_owned()),
    ];
    let header =
        prop::sample::select(vec!["[[vm]]", "[vm]", "[poll]", "[[auth.jwt]]", "[vm.power]", "[vm.dialect]", "[xyzzy]"]);
    prop_oneof![
        4 => (prop::sample::select(paths), value).prop_map(|(path, value)| {
            let leaf = path.rsplit('.').next().unwrap_or_default().to_owned();
            format!("{} = {value}", if value.len() % 2 == 0 { path } else { leaf })
        }),
        2 => header.prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_mistakes_on_one_line_each(text in any::<String>()) {
        if let Err(errors) = parse(&text) {
            prop_assert_eq!(errors.to_string().lines().count(), errors.count());
        }
    }

    #[test]
    fn any_lines_are_a_configuration_or_mistakes_on_one_line_each(lines in prop::collection::vec(line(), 0..12)) {
        if let Err(errors) = parse(&lines.join("\n")) {
            prop_assert!(errors.count() > 0);
            prop_assert_eq!(errors.to_string().lines().count(), errors.count(), "{}", errors);
        }
    }

    #[test]
    fn any_variables_are_a_configuration_or_mistakes(name in "(POLL|VM|AUTH|JOURNAL|X|_)?(__)?[A-Z_]{0,12}", value in any::<String>()) {
        let _ = Config::parse(OPEN, "f.toml", &variables(&[(&format!("GATEWATCH__{name}"), &value)]));
    }
}
