use crate::event::{DurableEvent, EventKind};
use crate::journal::{Commit, MemoryJournal, MemoryJournalConfig};
use crate::model::VmId;

use super::*;

fn event(kind: EventKind, vm: &str, run: &str, data: serde_json::Value) -> DurableEvent {
    DurableEvent {
        kind,
        vm: VmName::new(vm).expect("a name"),
        vm_id: VmId::from_journal(vm),
        run: Some(RunId::from_hash(run)),
        data: data.to_string().into(),
    }
}

fn started(vm: &str, run: &str, at: f64) -> DurableEvent {
    event(
        EventKind::RunStarted,
        vm,
        run,
        json!({"source": "/log", "total_tasks": 3, "historic": false, "timestamp": at}),
    )
}

fn done(vm: &str, run: &str, task: &str, success: Option<bool>) -> DurableEvent {
    let data = json!({
        "task_id": task, "success": success, "score": success.map(|passed| if passed { 1.0 } else { 0.5 }),
        "key": format!("{run}-{task}"), "number": 1, "worker": null, "steps": 9, "duration": 41.25,
        "historic": false, "log_time": null, "timestamp": 1_767_348_100.5,
    });
    event(EventKind::TaskComplete, vm, run, data)
}

/// A journal with a run that ended and one that is open.
async fn journal() -> MemoryJournal {
    let journal = MemoryJournal::new(MemoryJournalConfig::default());
    let ended =
        event(EventKind::RunComplete, "a", "r1", json!({"reason": "process_ended", "timestamp": 1_767_351_720.0}));
    let events = vec![
        started("a", "r1", 1_767_348_000.0),
        done("a", "r1", "one", Some(true)),
        done("a", "r1", "=\u{1b}[31mtwo", Some(false)),
        done("a", "r1", "three", None),
        ended,
        started("b", "r2", 1_767_352_000.0),
    ];
    let vm_id = VmId::from_journal("a");
    let commit = Commit { vm_id, lease_rev: 0, n: 1, follows: 0, cursors: vec![], tracker_state: "{}".into(), events };
    journal.commit(commit).await.expect("it fits");
    journal
}

async fn printed(wanted: &RunsWanted<'_>, format: RunsFormat) -> Result<String, RunsError> {
    let mut out = Vec::new();
    print_runs(&journal().await, wanted, format, &mut out).await?;
    Ok(String::from_utf8(out).expect("text"))
}

#[tokio::test]
async fn runs_stand_in_columns_newest_first() {
    let text = printed(&RunsWanted::default(), RunsFormat::Table).await.expect("printed");
    assert_eq!(
        text,
        "RUN  VM  STATE  REASON         STARTED (UTC)        DURATION  TASKS  DONE  PASSED  FAILED  UNKNOWN  SCORE\n\
         r2   b   open   -              2026-01-02 11:06:40  -         3      0     0       0       0        -\n\
         r1   a   ended  process_ended  2026-01-02 10:00:00  1h 02m    3      3     1       1       1        0.75\n"
    );
}

#[tokio::test]
async fn the_tasks_of_a_run_follow_it_and_no_text_of_a_log_commands_the_terminal() {
    let wanted = RunsWanted { run: Some("r1"), ..RunsWanted::default() };
    let text = printed(&wanted, RunsFormat::Table).await.expect("printed");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("RUN") && lines[1].starts_with("r1") && lines[2].is_empty(), "{text}");
    assert_eq!(lines[3], "NUMBER  TASK            RESULT   SCORE  STEPS  DURATION  CLOSED (UTC)         WORKER");
    assert_eq!(lines[5], "1       =\\u001b[31mtwo  failed   0.50   9      41.2s     2026-01-02 10:01:40  -");
    for format in [RunsFormat::Table, RunsFormat::Json, RunsFormat::Export(ExportFormat::Csv)] {
        let text = printed(&RunsWanted { terminal: true, ..wanted.clone() }, format).await.expect("printed");
        assert!(!text.contains('\u{1b}') && text.contains("\\u001b[31mtwo"), "{format:?}: {text}");
    }
}

#[tokio::test]
async fn what_is_asked_for_is_what_is_printed() {
    let all = RunsWanted::default();
    for (wanted, runs) in [
        (all.clone(), vec!["r2", "r1"]),
        (RunsWanted { vm: Some("a"), ..all.clone() }, vec!["r1"]),
        (RunsWanted { open: Some(true), ..all.clone() }, vec!["r2"]),
        (RunsWanted { open: Some(false), ..all.clone() }, vec!["r1"]),
        (RunsWanted { since: Some("2026-01-02T10:00:01Z"), ..all.clone() }, vec!["r2"]),
        (RunsWanted { until: Some("1767348001"), ..all.clone() }, vec!["r1"]),
        (RunsWanted { limit: Some(1), ..all.clone() }, vec!["r2"]),
        (RunsWanted { vm: Some("c"), ..all.clone() }, vec![]),
    ] {
        let jsonl = printed(&wanted, RunsFormat::Export(ExportFormat::Jsonl)).await.expect("printed");
        let of = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["run"].clone();
        assert_eq!(jsonl.lines().map(of).collect::<Vec<_>>(), runs, "{wanted:?}");
        let json = printed(&wanted, RunsFormat::Json).await.expect("printed");
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["runs"].as_array().map(Vec::len), Some(runs.len()), "{wanted:?}");
        let csv = printed(&wanted, RunsFormat::Export(ExportFormat::Csv)).await.expect("printed");
        assert_eq!(csv.lines().count(), runs.len() + 1, "{wanted:?}");
    }
    let one = printed(&RunsWanted { limit: Some(1), ..all.clone() }, RunsFormat::Table).await.expect("printed");
    assert!(one.contains("There are more"), "{one}");
    let csv = printed(&RunsWanted { run: Some("r1"), ..all }, RunsFormat::Export(ExportFormat::Csv)).await;
    assert!(csv.expect("printed").contains(",'=\u{1b}[31mtwo,"), "as the API's export, byte for byte");
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_said_in_one_line() {
    let all = RunsWanted::default();
    for (wanted, format, part) in [
        (RunsWanted { since: Some("soon"), ..all.clone() }, RunsFormat::Table, "--since"),
        (RunsWanted { vm: Some("A B"), ..all.clone() }, RunsFormat::Table, "--vm"),
        (RunsWanted { run: Some("\u{1b}x"), ..all.clone() }, RunsFormat::Table, "no run"),
        (RunsWanted { limit: Some(0), ..all.clone() }, RunsFormat::Export(ExportFormat::Csv), "limit"),
        (RunsWanted { limit: Some(MAX_ROWS + 1), ..all }, RunsFormat::Json, "10000"),
    ] {
        let said = printed(&wanted, format).await.expect_err("refused").to_string();
        assert!(said.contains(part) && !said.contains(['\n', '\u{1b}']), "{said:?}");
    }
}

#[test]
fn spans_and_clocks_read_as_people_say_them() {
    for (seconds, text) in [
        (0.0, "0.0s"),
        (12.34, "12.3s"),
        (59.96, "1m 00s"),
        (61.0, "1m 01s"),
        (3599.4, "59m 59s"),
        (3720.0, "1h 02m"),
        (360_000.0, "100h 00m"),
    ] {
        assert_eq!(span(seconds), text, "{seconds}");
    }
    assert_eq!(clock(Timestamp(1_767_348_000.9)), "2026-01-02 10:00:00");
    assert_eq!(clock(Timestamp(1e18)), "1000000000000000000", "no time: as it is");
}
