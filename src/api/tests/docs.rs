//! docs/API.md is part of the contract: what the code can say, it explains.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{entry, name, run, view};
use crate::api::problem::every_code;
use crate::event::{self, EventKind, ResetReason};
use crate::model::{Change, ErrorCode, RunEndReason, RunId, Scope, Stage, Timestamp, VmId};

const API: &str = include_str!("../../../docs/API.md");

fn documented(word: &str) -> bool {
    API.contains(&format!("`{word}`"))
}

#[test]
fn every_word_on_the_wire_is_documented() {
    let reasons = [
        RunEndReason::ProcessEnded,
        RunEndReason::ProcessReplaced,
        RunEndReason::ContainerReplaced,
        RunEndReason::NextRun,
        RunEndReason::LogReplaced,
        RunEndReason::Removed,
    ]
    .map(|reason| serde_json::to_value(reason).expect("JSON").as_str().expect("a text").to_owned());
    let words = (EventKind::ALL.iter().map(|kind| kind.as_str()))
        .chain(ResetReason::ALL.iter().map(|reason| reason.as_str()))
        .chain(Stage::ALL.iter().map(|stage| stage.as_str()))
        .chain(Scope::ALL.iter().map(|scope| scope.as_str()))
        .chain(every_code())
        .chain(reasons.iter().map(String::as_str));
    for word in words {
        assert!(documented(word), "docs/API.md does not say what `{word}` means");
    }
}

#[test]
fn every_error_code_is_documented_as_the_code_has_it() {
    for code in ErrorCode::ALL {
        let whose = serde_json::to_value(code.whose()).expect("JSON").as_str().expect("a text").to_owned();
        let retry = if code.retryable() { "yes" } else { "no" };
        let row = format!("| `{code}` | {} | {whose} | {retry} |", code.meaning());
        assert!(API.contains(&row), "docs/API.md lacks this row:\n{row}");
    }
}

#[test]
fn every_route_is_documented() {
    let table = include_str!("../mod.rs");
    let routes: Vec<&str> =
        table.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")?.split('"').next()).collect();
    assert!(routes.len() >= 11, "{routes:?}");
    for route in routes {
        assert!(API.contains(route), "docs/API.md lacks {route}");
    }
}

/// The paths of all fields of an object, and of objects in it.
fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let path = format!("{path}/{key}");
        fields(value, &path, found);
        found.insert(path);
    }
}

fn durable(change: Change) -> (EventKind, String) {
    let vm = entry("a", None);
    let event = event::durable(
        &vm.vm,
        &VmId::from_journal("1"),
        &vm.facts,
        &view(Stage::Ready, vec![]),
        &change,
        Timestamp(1.0),
    );
    (event.kind, event.data.into())
}

/// One of each kind, as the code makes it.
fn samples() -> BTreeMap<EventKind, String> {
    let (vm, at) = (entry("a", None), Timestamp(1.0));
    let run_id = || RunId::from_hash("r");
    let mut full = view(Stage::Ready, vec![]);
    full.storage = Some(crate::model::StorageUse { used: 1, total: 2 });
    full.process = Some(crate::model::ProcessSeen { pid: 1, start_ticks: 2 });
    let started =
        Change::RunStarted { run: run_id(), source: "l".into(), total_tasks: None, historic: false, log_time: None };
    let task = Change::TaskCompleted {
        run: run_id(),
        key: "k".into(),
        task_id: "t".into(),
        number: None,
        worker: None,
        success: None,
        score: None,
        steps: None,
        duration: None,
        historic: false,
        log_time: None,
    };
    let ended = Change::RunEnded {
        run: run_id(),
        source: "l".into(),
        completed: 0,
        passed: 0,
        failed: 0,
        unknown: 0,
        reason: RunEndReason::NextRun,
        historic: false,
        log_time: None,
    };
    BTreeMap::from([
        (EventKind::Connected, event::connected(at, 5, "a", "v")),
        (EventKind::Status, event::status(&vm.vm, &vm.facts, &full, false, at)),
        (EventKind::Progress, event::progress(&vm.vm, &run("r", true, 1.0), at)),
        (EventKind::Heartbeat, event::heartbeat(at, false)),
        (EventKind::Error, event::error(Some(&name("a")), ErrorCode::LogGap, "m", false, at)),
        (EventKind::Reset, event::reset(ResetReason::Ahead)),
        durable(started),
        durable(task),
        durable(ended),
    ])
}

#[test]
fn every_event_has_an_example_with_the_fields_that_are_sent() {
    let samples = samples();
    assert_eq!(samples.len(), EventKind::ALL.len());
    for (kind, sample) in samples {
        let mark = format!("    event: {}\n    data: ", kind.as_str());
        let (_, rest) = API.split_once(&mark).unwrap_or_else(|| panic!("no example of {kind:?}"));
        let example = rest.lines().next().expect("a line");
        let set = |text: &str| {
            let mut found = BTreeSet::new();
            fields(&serde_json::from_str(text).expect("JSON"), "", &mut found);
            found
        };
        assert_eq!(set(example), set(&sample), "{kind:?}");
    }
}
