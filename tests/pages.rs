//! Commands that pages show people are commands.

use std::fs;

use regex::Regex;

use crate::support::{gatewatch, quoted};

const PAGES: [&str; 4] = ["README.md", "docs/OPERATIONS.md", "docs/API.md", "docs/SECURITY-MODEL.md"];

/// Each call of `gatewatch` that `page` shows, in an indented line or between backticks, as its words.
fn calls(page: &str) -> Vec<Vec<String>> {
    let indented = page.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned);
    let call = Regex::new("(?:^|gatewatch )gatewatch ([a-z].*)").expect("a regex");
    let end = Regex::new(" [#>|] .*").expect("a regex");
    let mut found = Vec::new();
    for line in indented.chain(quoted(page)) {
        for part in line.split("&&") {
            let Some(words) = call.captures(part.trim_start()) else { continue };
            let words = end.replace(&words[1], "");
            found.push(words.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect());
        }
    }
    found
}

#[test]
fn every_call_of_gatewatch_that_a_page_shows_is_one_that_it_takes() {
    let mut shown = 0;
    for page in PAGES {
        for words in calls(&fs::read_to_string(page).expect("a page")) {
            // What stands before `--help` is read first, and must be known.
            let words: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
            let output = gatewatch(&words);
            assert!(output.status.success(), "{page}: {words:?}\n{}", String::from_utf8_lossy(&output.stderr));
            shown += 1;
        }
    }
    assert!(shown > 20, "{shown}");
    for wrong in [["chek", "--help"], ["check", "--no-such-option"]] {
        assert!(!gatewatch(&wrong).status.success(), "{wrong:?}");
    }
}

#[test]
fn calls_are_found_as_they_are_written() {
    let page = "gatewatch no\n    gatewatch check && gatewatch probe VM   # why\nthe `gatewatch key list` and `gatewatch`\n    \
                sudo -u gatewatch gatewatch runs > x\n    echo gatewatch x\n";
    let found: Vec<String> = calls(page).iter().map(|words| words.join(" ")).collect();
    assert_eq!(found, ["check", "probe VM", "runs", "key list"]);
}
