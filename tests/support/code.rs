//! The project's own code and pages, for tests that hold one against the other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// Every source file of the project, tests included.
pub fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(Path::new("src"), &mut found);
    walk(Path::new("tests"), &mut found);
    assert!(found.len() > 100, "the walk found only {} files", found.len());
    found
}

/// Every source file below `dir`.
pub fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

/// The functions of `code`, each with whether it is a test that runs.
pub fn functions(code: &str) -> Vec<(String, bool)> {
    let function = Regex::new(r"^\s*(?:pub )?(?:async )?fn (\w+)").expect("a regex");
    let test = Regex::new(r"^#\[(?:tokio::)?test\b").expect("a regex");
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function.captures(line) else { continue };
        let above = lines[..at].iter().rev().map(|line| line.trim());
        let attributes: Vec<&str> = above.take_while(|line| line.starts_with("#[") || line.starts_with("//")).collect();
        let runs = attributes.iter().any(|line| test.is_match(line))
            && !attributes.iter().any(|line| line.starts_with("#[ignore") || line.starts_with("#[cfg("));
        found.push((name[1].to_owned(), runs));
    }
    found
}

/// The tests of the file at `path` that run; none if it is not there.
pub fn tests_of(path: &str) -> BTreeSet<String> {
    let code = fs::read_to_string(path).unwrap_or_default();
    functions(&code).into_iter().filter_map(|(name, runs)| runs.then_some(name)).collect()
}

/// What stands between backticks in `page`.
pub fn quoted(page: &str) -> Vec<String> {
    let word = Regex::new(r"`([^`\n]+)`").expect("a regex");
    word.captures_iter(page).map(|found| found[1].to_owned()).collect()
}

/// Every code that a problem document can carry, out of the places that make them.
pub fn problem_codes() -> BTreeSet<String> {
    let made = Regex::new(r#"StatusCode::[A-Z_]+,\s*"([a-z_]+)","#).expect("a regex");
    let told = Regex::new(r#"=> \("([a-z_]+)", ""#).expect("a regex");
    let passed = Regex::new(r#"\(\*status, "([a-z_]+)", ""#).expect("a regex");
    let mut codes = BTreeSet::new();
    for file in [
        "src/edge/problem.rs",
        "src/edge/layers.rs",
        "src/edge/auth/judge.rs",
        "src/edge/auth/require.rs",
        "src/edge/auth/routes.rs",
        "src/edge/clean.rs",
        "src/edge/client/mod.rs",
        "src/edge/limits/told.rs",
        "src/api/problem.rs",
    ] {
        let code = fs::read_to_string(file).expect("a source file");
        let found = [&made, &told, &passed].into_iter().flat_map(|kind| kind.captures_iter(&code));
        codes.extend(found.map(|found| found[1].to_owned()));
    }
    assert!(codes.len() > 20, "{codes:?}");
    codes
}

#[test]
fn functions_and_quoted_words_are_read_as_they_are_written() {
    let code = "#[tokio::test(start_paused = true)]\nasync fn one() {\n#[test]\n    // why\n    fn two() {\n\
                fn three() {\n#[test]\n#[ignore]\nfn four() {\n#[test]\nfn other() {\n#[test]\n#[cfg(no)]\nfn off() {";
    let found = functions(code);
    let found: Vec<_> = found.iter().map(|(name, runs)| (name.as_str(), *runs)).collect();
    let expected = [("one", true), ("two", true), ("three", false), ("four", false), ("other", true), ("off", false)];
    assert_eq!(found, expected);
    assert_eq!(quoted("a `b` and `c d`"), ["b", "c d"]);
    assert!(tests_of("tests/support/nowhere.rs").is_empty());
}
