//! The document in itself, and against the code and `docs/API.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use gatewatch::event::{self, EventKind, ResetReason};
use gatewatch::model::{ErrorCode, Scope, Stage, Timestamp, VmName};
use regex::Regex;
use serde_json::{Value, json};

use super::document::{Document, Operation, walk, words};
use crate::support::{problem_codes, sources};

const API: &str = "docs/API.md";

fn api() -> String {
    fs::read_to_string(API).expect(API)
}

#[test]
fn every_route_of_the_code_is_in_the_document_and_no_other() {
    let route = Regex::new(r#"\.route\(\s*"([^"]+)""#).expect("a regex");
    let mut routes = BTreeSet::new();
    let no_test = |path: &str| path.starts_with("src/") && !path.contains("tests");
    for file in sources().iter().filter(|file| no_test(&file.to_string_lossy())) {
        let code = fs::read_to_string(file).expect("a source file");
        routes.extend(route.captures_iter(&code).map(|found| found[1].to_owned()));
    }
    let document = Document::read();
    let described = document.operations().into_iter().map(|operation| operation.path).collect();
    assert!(routes.len() > 20, "{routes:?}");
    assert_eq!(routes, described);
}

#[test]
fn the_document_is_sound() {
    let document = Document::read();
    assert_eq!(document.0["openapi"], "3.1.0");
    assert_eq!(document.0["info"]["version"], env!("CARGO_PKG_VERSION"));
    let components = document.0["components"].as_object().expect("components");
    let mut unused: BTreeSet<String> = (components.iter().filter(|(kind, _)| *kind != "securitySchemes"))
        .flat_map(|(kind, all)| all.as_object().expect("components").keys().map(move |name| format!("{kind}/{name}")))
        .collect();
    let mut schemas = 0;
    walk(&document.0, "", &mut |path, map| {
        if let Some(pointer) = map.get("$ref").and_then(Value::as_str) {
            assert!(document.0.pointer(pointer.trim_start_matches('#')).is_some(), "{path}: {pointer} leads nowhere");
            unused.remove(pointer.trim_start_matches("#/components/"));
        }
        if path.ends_with("/schema") || path.starts_with("/components/schemas/") && path.matches('/').count() == 3 {
            let schema = Value::Object(map.clone());
            jsonschema::draft202012::meta::validate(&schema).unwrap_or_else(|error| panic!("{path}: {error}"));
            document.validator(&schema);
            schemas += 1;
        }
    });
    assert!(schemas > 100, "{schemas}");
    // The answers outside every operation: to a path or a method that is not in the document.
    let outside = ["responses/MethodNotAllowed", "responses/NotFound"].map(str::to_owned);
    assert_eq!(unused, BTreeSet::from(outside), "what nothing refers to");

    let mut ids = BTreeSet::new();
    let tags: Vec<&Value> = document.0["tags"].as_array().expect("tags").iter().map(|tag| &tag["name"]).collect();
    for operation in document.operations() {
        let said = document.of(&operation);
        assert!(ids.insert(said["operationId"].as_str().expect("an id")), "{operation:?}: an id twice");
        assert!(
            said["tags"].as_array().is_some_and(|list| list.iter().all(|tag| tags.contains(&tag))),
            "{operation:?}"
        );
        for way in said["security"].as_array().expect("security") {
            for (scheme, scopes) in way.as_object().expect("a way in") {
                assert!(components["securitySchemes"][scheme].is_object(), "{operation:?}: {scheme}");
                let known = |scope: &Value| scope.as_str().and_then(Scope::parse).is_some();
                assert!(scopes.as_array().expect("scopes").iter().all(known), "{operation:?}: {scopes}");
            }
        }
    }
}

#[test]
fn the_document_has_the_words_of_the_code() {
    let document = Document::read();
    let schemas = &document.0["components"]["schemas"];
    let set = |words: &mut dyn Iterator<Item = &str>| words.map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(words(&schemas["Stage"]), set(&mut Stage::ALL.iter().map(|stage| stage.as_str())));
    assert_eq!(words(&schemas["Phase"]), set(&mut Stage::ALL.iter().map(|stage| stage.phase())));
    assert_eq!(words(&schemas["Scope"]), set(&mut Scope::ALL.iter().map(|scope| scope.as_str())));
    let codes = words(&schemas["ErrorEvent"]["properties"]["code"]);
    assert_eq!(codes, set(&mut ErrorCode::ALL.iter().map(|code| code.as_str())));
    let resets = words(&schemas["ResetEvent"]["properties"]["reason"]);
    assert_eq!(resets, set(&mut ResetReason::ALL.iter().map(|reason| reason.as_str())));
    assert_eq!(words(&schemas["Problem"]["properties"]["code"]), problem_codes());
    let kinds = set(&mut EventKind::ALL.iter().map(|kind| kind.as_str()));
    assert_eq!(document.events().into_keys().collect::<BTreeSet<_>>(), kinds);
    let page = api();
    for reason in words(&schemas["RunEndReason"]) {
        assert!(page.contains(&format!("| `{reason}` |")), "{reason}");
    }
}

/// Status and code of every problem that some response of the document may be.
fn problems(document: &Document) -> BTreeSet<(u64, String)> {
    let mut found = BTreeSet::new();
    walk(&document.0, "", &mut |_, map| {
        let schema = map.get("properties").filter(|_| map.contains_key("$ref"));
        let Some((schema, status)) = schema.and_then(|it| Some((it, it["status"]["const"].as_u64()?))) else { return };
        if schema["code"].is_object() {
            found.extend(words(&schema["code"]).into_iter().map(|code| (status, code)));
        }
    });
    found
}

#[test]
fn problems_have_the_same_status_in_the_document_and_in_the_table_for_people() {
    let row = Regex::new(r"(?m)^\| `([a-z_]+)` \| ([0-9]{3})(?: or ([0-9]{3}))? \|").expect("a regex");
    let page = api();
    let table = row.captures_iter(&page).flat_map(|row| {
        let status = |at| row.get(at).map(|text| text.as_str().parse::<u64>().expect("a status"));
        let code = row[1].to_owned();
        [status(2), status(3)].into_iter().flatten().map(move |status| (status, code.clone())).collect::<Vec<_>>()
    });
    let table: BTreeSet<_> = table.collect();
    let told = problems(&Document::read());
    assert!(told.len() > 30, "{told:?}");
    assert_eq!(told, table);
}

#[test]
fn the_events_that_the_code_makes_and_the_examples_for_people_are_as_the_document_says() {
    let document = Document::read();
    let (events, at) = (document.events(), Timestamp(1.5));
    let vm = VmName::new("a").expect("a name");
    let mut made = vec![("connected", event::connected(at, 5, "a", "v")), ("heartbeat", event::heartbeat(at, true))];
    made.extend(ResetReason::ALL.map(|reason| ("reset", event::reset(reason))));
    for (code, vm) in ErrorCode::ALL.iter().flat_map(|code| [(code, Some(&vm)), (code, None)]) {
        made.push(("error", event::error(vm, *code, "why", vm.is_none(), at)));
    }
    let page = api();
    let example = Regex::new(r"    event: ([a-z_]+)\n    data: (.*)").expect("a regex");
    let examples: BTreeMap<String, String> =
        example.captures_iter(&page).map(|found| (found[1].to_owned(), found[2].to_owned())).collect();
    assert!(examples.keys().eq(events.keys()), "{examples:?}");
    let all = made.into_iter().chain(examples.iter().map(|(kind, data)| (kind.as_str(), data.clone())));
    for (kind, data) in all {
        let value: Value = serde_json::from_str(&data).expect("JSON");
        document.holds(&events[kind], &value, kind);
    }
}

/// The JSON of `page` that stands in indented lines under headings that name operations: what is named, and the values.
fn answers_shown(page: &str) -> Vec<(Vec<Operation>, Vec<Value>)> {
    let named = Regex::new("`([A-Z]+) (/[^`?]*)`").expect("a regex");
    let block = Regex::new(r"(?m)(?:^    .*\n)+").expect("a regex");
    let mut shown = Vec::new();
    for section in page.split("\n### ").skip(1) {
        let (heading, text) = section.split_once('\n').expect("a heading");
        let operation = |found: regex::Captures<'_>| Operation { method: found[1].into(), path: found[2].into() };
        let operations: Vec<_> = named.captures_iter(heading).map(operation).collect();
        let blocks = block.find_iter(text).map(|found| found.as_str().trim_start());
        // A request, or an answer in which something is left out, is none.
        let whole = blocks.filter(|block| block.starts_with(['{', '[']) && !block.contains(",...}"));
        for block in whole.filter(|_| !operations.is_empty()) {
            let values = serde_json::Deserializer::from_str(block).into_iter();
            shown.push((operations.clone(), values.collect::<Result<_, _>>().expect("JSON")));
        }
    }
    shown
}

#[test]
fn the_answers_that_are_shown_to_people_are_as_the_document_says() {
    let document = Document::read();
    let shown = answers_shown(&api());
    assert!(shown.len() >= 8, "{shown:?}");
    for (operations, values) in shown {
        let mut schemas = Vec::new();
        for said in operations.iter().map(|operation| document.of(operation)) {
            let responses = said["responses"].as_object().expect("responses").values();
            let bodies = responses.chain([&said["requestBody"]]).map(|body| document.resolve(body));
            schemas.extend(bodies.map(|body| &body["content"]["application/json"]["schema"]));
        }
        let validators: Vec<_> = schemas.iter().filter(|it| it.is_object()).map(|it| document.validator(it)).collect();
        for value in values {
            assert!(validators.iter().any(|it| it.is_valid(&value)), "{operations:?}: {value}");
        }
    }
}

#[test]
fn a_field_that_the_document_does_not_name_is_found() {
    let document = Document::read();
    let heartbeat = document.validator(&document.events()["heartbeat"]);
    assert!(heartbeat.is_valid(&json!({"timestamp": 1.0, "stale": false})));
    for wrong in [
        json!({"timestamp": 1.0}),
        json!({"timestamp": "1", "stale": true}),
        json!({"timestamp": 1, "stale": true, "more": 1}),
    ] {
        assert!(!heartbeat.is_valid(&wrong), "{wrong}");
    }
}
