//! Every code that a problem document can carry is in `docs/API.md`.

use std::collections::BTreeSet;

use regex::Regex;

#[test]
fn every_problem_code_in_the_code_is_documented() {
    let made = Regex::new(r#"StatusCode::[A-Z_]+,\s*"([a-z_]+)",\s*""#).expect("a regex");
    let told = Regex::new(r#"=> \("([a-z_]+)", ""#).expect("a regex");
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
        let code = std::fs::read_to_string(file).expect("a source file");
        codes.extend(made.captures_iter(&code).chain(told.captures_iter(&code)).map(|c| c[1].to_owned()));
    }
    assert!(codes.len() > 20, "{codes:?}");
    let page = std::fs::read_to_string("docs/API.md").expect("docs/API.md");
    let missing: Vec<&String> = codes.iter().filter(|code| !page.contains(&format!("| `{code}` |"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
