//! Every file in `config/` and every fixture.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::keys::Default;
use super::listed::CONFIG;
use super::reference::toml_default;
use super::{Config, MapEnv, reference};

/// The `.toml` files of `folder`, with paths as they were given; there must be at least `least`.
fn tomls(folder: &str, least: usize) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut found: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|it| it == "toml")).collect();
    found.sort();
    assert!(found.len() >= least, "{folder} has {found:?}");
    found
}

fn load(path: &Path) -> Result<Config, String> {
    Config::load(Some(path), &MapEnv::default()).map_err(|errors| errors.to_string())
}

#[test]
fn every_shipped_file_and_valid_fixture_loads() {
    for path in tomls("config", 3).into_iter().chain(tomls("tests/fixtures/config/valid", 3)) {
        if let Err(errors) = load(&path) {
            panic!("{}:\n{errors}", path.display());
        }
    }
}

/// Every `.toml` below `folder` but what is built, fetched or made to be wrong.
fn all_tomls(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && !["target", "fixtures", "data"].contains(&name.as_str()) {
            all_tomls(&path, found);
        } else if name.ends_with(".toml") {
            found.push(path);
        }
    }
}

#[test]
fn a_shipped_file_is_in_config_or_is_that_of_the_containers() {
    let mut found = Vec::new();
    all_tomls(Path::new("."), &mut found);
    let of_tools = ["./Cargo.toml", "./clippy.toml", "./deny.toml", "./rustfmt.toml"].map(Path::new);
    found.retain(|path| !of_tools.contains(&path.as_path()) && !path.starts_with("./config"));
    assert_eq!(found, [Path::new("./docker/gatewatch.toml")], "what no test here loads");
}

#[test]
fn the_file_of_the_containers_loads_where_what_it_names_is_there() {
    let shared = tempfile::tempdir().expect("a folder");
    let servers = "nats://gatewatch:pw@nats-a:4222,nats://gatewatch:pw@nats-b:4222";
    for (file, text) in [
        ("keys.toml", "empty = true\n"),
        ("identity", "x\n"),
        ("known_hosts", "x\n"),
        ("session.secret", "0123456789abcdef0123456789abcdef"),
        ("nats.servers", servers),
    ] {
        let path = shared.path().join(file);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    }
    let text = fs::read_to_string("docker/gatewatch.toml").expect("the shipped file");
    assert!(text.contains("\"/shared/"), "it names what the containers share");
    let text = text.replace("/shared", &shared.path().to_string_lossy());
    // As compose.yml sets it.
    let env = MapEnv::from_iter([("GATEWATCH__JOURNAL__SERVERS_FILE", shared.path().join("nats.servers"))]);
    let config = Config::parse(&text, "docker/gatewatch.toml", &env).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.vms.iter().map(|vm| vm.name.as_str()).collect::<Vec<_>>(), ["lab", "demo"]);
    assert_eq!(config.journal.nats.map(|nats| nats.servers.len()), Some(2));
}

#[test]
fn the_keys_that_pages_for_people_name_are_keys() {
    let word = regex::Regex::new(r"`([a-z_]+)\.([a-z_]+)(?: = [^`]*)?`").expect("a regex");
    let sections: Vec<&str> = CONFIG.keys.iter().map(|key| key.section()).collect();
    let mut named = 0;
    for page in ["README.md", "docs/API.md", "docs/OPERATIONS.md", "docs/SECURITY-MODEL.md", "docs/PERFORMANCE.md"] {
        let text = fs::read_to_string(page).expect("a page");
        for found in word.captures_iter(&text).filter(|found| sections.contains(&&found[1]) && &found[2] != "db") {
            let path = format!("{}.{}", &found[1], &found[2]);
            let is_section = sections.iter().any(|section| section.trim_end_matches("[]") == path);
            assert!(is_section || CONFIG.keys.iter().any(|key| key.path == path), "{page}: there is no key {path}");
            named += 1;
        }
    }
    assert!(named > 20, "{named}");
}

#[test]
fn every_invalid_fixture_has_the_mistakes_it_names_and_no_others() {
    let mut wrong = String::new();
    for path in tomls("tests/fixtures/config/invalid", 15) {
        let text = fs::read_to_string(&path).expect("a text");
        let expected: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# expect: ")).collect();
        assert!(!expected.is_empty(), "{} expects nothing", path.display());
        let said = load(&path).expect_err("an invalid file");
        let missing: Vec<_> = expected.iter().filter(|line| !said.lines().any(|said| said.contains(**line))).collect();
        if !missing.is_empty() || said.lines().count() != expected.len() {
            wrong.push_str(&format!("{}\nmissing: {missing:#?}\nsaid:\n{said}\n\n", path.display()));
        }
        assert!(!said.contains("topsecret"), "{said}");
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_shipped_file_has_every_key_with_its_default() {
    let text = fs::read_to_string("config/gatewatch.toml").expect("the shipped file");
    let mut section = String::new();
    let mut seen = Vec::new();
    for line in text.lines() {
        let bare = line.trim_start_matches('#').trim();
        if let Some(header) = bare.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let list = header.starts_with('[');
            let path = header.trim_start_matches('[').replace("vm.", "vm[].");
            section = if list { format!("{path}[]") } else { path };
        } else if let Some((key, value)) = bare.split_once(" = ")
            && let Some(key) = CONFIG.keys.iter().find(|known| known.path == format!("{section}.{key}"))
        {
            seen.push(key.path);
            let example =
                matches!(key.default, Default::Required) || !line.starts_with("# ") || line.starts_with("#   ");
            assert!(example || value == toml_default(key), "{}: {value} is not {}", key.path, toml_default(key));
        }
    }
    for key in CONFIG.keys.iter().filter(|key| key.section() != "auth.jwt[]" && key.path != "vm[].power.name") {
        assert!(seen.contains(&key.path), "{} is not in config/gatewatch.toml", key.path);
    }
}

#[test]
fn the_reference_page_is_made_from_the_table() {
    let made = reference();
    let path = "docs/CONFIG.md";
    if std::env::var_os("UPDATE_DOCS").is_some_and(|it| it == "1") {
        fs::write(path, &made).expect("docs can be written");
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    assert!(kept == made, "{path} is not what the table says: UPDATE_DOCS=1 cargo test --lib config:: writes it anew");
    for key in CONFIG.keys {
        assert!(made.contains(&format!("| `{}` |", key.leaf())), "{} is not in the reference", key.path);
    }
}
