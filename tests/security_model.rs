//! Every requirement of the security model has a test that carries its number, or a reason why it does not apply; and
//! every test and file that the model names is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::support::{functions, quoted, sources};

/// Requirements are numbered from 1 to this.
const LAST: u32 = 69;
/// A reason shorter than this, in characters, is none.
const SHORTEST_REASON: usize = 20;

const MODEL: &str = "docs/SECURITY-MODEL.md";

/// The numbers that a name begins with: `g51_g46_a_reader` has 51 and 46.
fn numbers(name: &str) -> Vec<u32> {
    let number = |part: &str| part.strip_prefix('g').filter(|n| n.starts_with(|c: char| c != '0'))?.parse().ok();
    name.split('_').map_while(number).collect()
}

/// Every numbered function of the project: name, file, whether it is a test that runs.
fn all_numbered() -> Vec<(String, PathBuf, bool)> {
    let mut all = Vec::new();
    for file in sources() {
        let code = fs::read_to_string(&file).expect("a source file");
        let numbered = functions(&code).into_iter().filter(|(name, _)| !numbers(name).is_empty());
        all.extend(numbered.map(|(name, runs)| (name, file.clone(), runs)));
    }
    all
}

/// The reasons under "Does not apply", by number.
fn not_applicable(model: &str) -> BTreeMap<u32, String> {
    let row = Regex::new(r"^\| G([1-9][0-9]*) \|(.*)\|\s*$").expect("a regex");
    let section = model.split_once("## Does not apply").map_or("", |(_, rest)| rest);
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut reasons = BTreeMap::new();
    for row in section.lines().filter_map(|line| row.captures(line)) {
        let number = row[1].parse().expect("digits");
        assert!(reasons.insert(number, row[2].trim().to_owned()).is_none(), "G{number} stands twice");
    }
    reasons
}

/// The test that `word` names, if it names one: `g7_name`, or `src/room/tests.rs::name`.
fn named_test(word: &str) -> Option<&str> {
    let name = match word.split_once(".rs::") {
        Some((_, name)) => name.rsplit("::").next().unwrap_or(name),
        None => word,
    };
    (name != word || !numbers(word).is_empty()).then_some(name)
}

#[test]
fn every_requirement_has_a_test_with_its_number_or_a_reason_why_it_does_not_apply() {
    let model = fs::read_to_string(MODEL).expect(MODEL);
    let all = all_numbered();
    let idle: Vec<_> = all.iter().filter(|(_, _, runs)| !runs).collect();
    assert!(idle.is_empty(), "these carry a number and are no tests that run: {idle:#?}");
    let shown: BTreeSet<u32> = all.iter().flat_map(|(name, _, _)| numbers(name)).collect();
    let reasons = not_applicable(&model);
    for (number, reason) in &reasons {
        assert!(reason.chars().count() >= SHORTEST_REASON, "G{number}: {reason:?} is no reason");
    }
    let unknown: Vec<_> = shown.iter().chain(reasons.keys()).filter(|number| !(1..=LAST).contains(*number)).collect();
    assert!(unknown.is_empty(), "there are no requirements {unknown:?}");
    let missing: Vec<String> =
        (1..=LAST).filter(|n| !shown.contains(n) && !reasons.contains_key(n)).map(|n| format!("G{n}")).collect();
    assert!(missing.is_empty(), "neither a test nor a row under \"Does not apply\": {}", missing.join(", "));
}

#[test]
fn numbered_tests_have_names_of_their_own() {
    let mut seen = BTreeMap::new();
    for (name, file, _) in all_numbered() {
        if let Some(other) = seen.insert(name.clone(), file.clone()) {
            panic!("{name} is in {} and in {}", other.display(), file.display());
        }
    }
    assert!(!seen.is_empty());
}

#[test]
fn every_test_and_file_that_the_model_names_is_there() {
    let model = fs::read_to_string(MODEL).expect(MODEL);
    let mut known = BTreeSet::new();
    for file in sources() {
        let code = fs::read_to_string(file).expect("a source file");
        known.extend(functions(&code).into_iter().map(|(name, _)| name));
    }
    let mut absent = Vec::new();
    for word in quoted(&model) {
        let path = word.split("::").next().unwrap_or_default();
        let is_path = path.starts_with("src/") || path.starts_with("tests/");
        let no_file = is_path && !Path::new(path).exists();
        if no_file || named_test(&word).is_some_and(|name| !known.contains(name)) {
            absent.push(word.clone());
        }
    }
    assert!(absent.is_empty(), "the model names what is not there: {absent:#?}");
}

#[test]
fn numbers_tests_and_reasons_are_read_as_they_are_written() {
    assert_eq!(numbers("g51_g46_a_reader"), [51, 46]);
    assert_eq!(numbers("g7_10_times"), [7]);
    for none in ["grow_g7", "g_7", "g07_x", "gg7", "a_g7"] {
        assert_eq!(numbers(none), [0_u32; 0], "{none}");
    }
    let model =
        "| G1 | of another table |\n## Does not apply\n\n| G | why |\n|---|---|\n| G8 | because |\n## More\n| G9 | x |";
    assert_eq!(not_applicable(model), BTreeMap::from([(8, "because".to_owned())]));
    assert_eq!(named_test("g7_name"), Some("g7_name"));
    assert_eq!(named_test("src/hub/tests/life.rs::any_name"), Some("any_name"));
    assert_eq!(named_test("tls.mode"), None);
}
