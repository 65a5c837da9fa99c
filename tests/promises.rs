//! Every promise of `docs/PROMISES.md` names tests, and each of them is there and runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::support::{quoted, tests_of};

const PAGE: &str = "docs/PROMISES.md";
/// Sections of the specification that this version keeps.
const SECTIONS: std::ops::RangeInclusive<u32> = 1..=8;
/// Fewer promises than this in all: the page lost some.
const LEAST: usize = 60;
/// A promise shorter than this, in characters, is none.
const SHORTEST: usize = 20;

/// One row of the page.
#[derive(Debug, PartialEq)]
struct Promise {
    section: u32,
    text: String,
    /// Path and name of each test, as written.
    tests: Vec<String>,
}

/// The rows under numbered headings.
fn promises(page: &str) -> Vec<Promise> {
    let heading = Regex::new(r"^## ([0-9]+)\. ").expect("a regex");
    let row = Regex::new(r"^\| (.+) \| (.+) \|$").expect("a regex");
    let (mut section, mut found) = (None, Vec::new());
    for line in page.lines() {
        if line.starts_with("## ") {
            section = heading.captures(line).map(|number| number[1].parse().expect("digits"));
        }
        let (Some(section), Some(cells)) = (section, row.captures(line)) else { continue };
        if &cells[1] != "promise" {
            found.push(Promise { section, text: cells[1].to_owned(), tests: quoted(&cells[2]) });
        }
    }
    found
}

/// The file that must declare the module in `path`, and the module's name; `None` for a root.
fn parent(path: &Path) -> Option<(PathBuf, String)> {
    let of = |dir: &Path| match dir.to_str() {
        Some("src") => dir.join("lib.rs"),
        Some("tests") => dir.join("main.rs"),
        _ => dir.join("mod.rs"),
    };
    let (stem, dir) = (path.file_stem()?.to_str()?, path.parent()?);
    match stem {
        "lib" | "main" => None,
        "mod" => Some((of(dir.parent()?), dir.file_name()?.to_str()?.to_owned())),
        name => Some((of(dir), name.to_owned())),
    }
}

/// Whether the module in `path` is part of a test binary.
fn is_built(path: &Path) -> bool {
    let Some((file, name)) = parent(path) else { return true };
    let code = fs::read_to_string(&file).unwrap_or_default();
    let declared = Regex::new(&format!(r"(?m)^(?:pub(?:\(\w+\))? )?mod {name};")).expect("a regex");
    declared.is_match(&code) && is_built(&file)
}

/// What is wrong with `test`, a path and a name.
fn fault(test: &str) -> Option<&'static str> {
    let Some((path, name)) = test.split_once(".rs::") else { return Some("names no test") };
    let path = format!("{path}.rs");
    if !tests_of(&path).contains(name) {
        Some("is no test that runs")
    } else if !is_built(Path::new(&path)) {
        Some("is in a file that is not built")
    } else {
        None
    }
}

#[test]
fn every_promise_is_shown_by_tests_that_are_there_and_run() {
    let page = fs::read_to_string(PAGE).expect(PAGE);
    let mut faults = Vec::new();
    for Promise { text, tests, .. } in promises(&page) {
        if text.chars().count() < SHORTEST || tests.is_empty() {
            faults.push(format!("{text:?} promises nothing, or names no test"));
        }
        for (at, test) in tests.iter().enumerate() {
            faults.extend(fault(test).map(|fault| format!("{test} {fault}")));
            if tests[..at].contains(test) {
                faults.push(format!("{test} stands twice in one row"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_section_of_the_specification_has_its_promises() {
    let page = fs::read_to_string(PAGE).expect(PAGE);
    let mut rows: BTreeMap<u32, usize> = BTreeMap::new();
    for promise in promises(&page) {
        *rows.entry(promise.section).or_default() += 1;
    }
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), SECTIONS.collect::<Vec<_>>());
    assert!(rows.values().sum::<usize>() >= LEAST, "{rows:?}");
    for linking in ["docs/SEMANTICS.md", "docs/ARCHITECTURE.md"] {
        let text = fs::read_to_string(linking).expect(linking);
        assert!(text.contains("(PROMISES.md)"), "{linking} does not lead to the page");
    }
}

#[test]
fn rows_and_tests_are_read_as_they_are_written() {
    let page = "| a | `x` |\n## 2. The log\n\n| promise | shown by |\n|---|---|\n| it is so | `src/a.rs::b`, `c` |\n\
                ## Else\n| no promise | `d` |\n";
    let tests = ["src/a.rs::b", "c"].map(str::to_owned).into();
    assert_eq!(promises(page), [Promise { section: 2, text: "it is so".to_owned(), tests }]);
    let own = "tests/promises.rs::rows_and_tests_are_read_as_they_are_written";
    assert_eq!(fault(own), None);
    assert_eq!(fault("src/journal/embedded/tests/cut.rs::whole_commits"), Some("is no test that runs"));
    for absent in ["tests/promises.rs::nothing", "tests/nowhere.rs::nothing", "src/lib.rs::main"] {
        assert_eq!(fault(absent), Some("is no test that runs"), "{absent}");
    }
    assert_eq!(fault("nothing"), Some("names no test"));
    let parent = |path| parent(Path::new(path)).map(|(file, name)| format!("{} {name}", file.display()));
    assert_eq!(parent("src/hub/tests/life.rs").as_deref(), Some("src/hub/tests/mod.rs life"));
    assert_eq!(parent("src/hub/tests/mod.rs").as_deref(), Some("src/hub/mod.rs tests"));
    assert_eq!(parent("src/hub/mod.rs").as_deref(), Some("src/lib.rs hub"));
    assert_eq!(parent("tests/keys.rs").as_deref(), Some("tests/main.rs keys"));
    assert!(is_built(Path::new("src/hub/tests/life.rs")) && !is_built(Path::new("tests/support/nowhere.rs")));
}
