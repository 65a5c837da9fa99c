//! Every code that a problem document can carry is in `docs/API.md`.

use crate::support::problem_codes;

#[test]
fn every_problem_code_in_the_code_is_documented() {
    let codes = problem_codes();
    let page = std::fs::read_to_string("docs/API.md").expect("docs/API.md");
    let missing: Vec<&String> = codes.iter().filter(|code| !page.contains(&format!("| `{code}` |"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
