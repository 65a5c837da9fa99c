use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::model::{
    ActiveError, Change, Container, ErrorCode, ProgressView, RunEndReason, RunId, Stage, StorageUse, TaskView,
    Timestamp, VmFacts, VmId, VmName, VmView,
};

/// One frame as a browser would dispatch it.
#[derive(Debug, PartialEq)]
struct Dispatched {
    id: Option<String>,
    event: String,
    data: String,
}

/// The dispatch rules of the HTML standard (9.2.6), as far as frames can go wrong.
fn parse(stream: &[u8]) -> Vec<Dispatched> {
    let text = std::str::from_utf8(stream).expect("SSE is UTF-8");
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (mut frames, mut id, mut event, mut data) = (Vec::new(), None, String::new(), Vec::new());
    for line in text.split('\n') {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match field {
            "" if line.is_empty() && !data.is_empty() => {
                let data: Vec<String> = std::mem::take(&mut data);
                frames.push(Dispatched { id: id.take(), event: std::mem::take(&mut event), data: data.join("\n") });
            }
            "id" => id = Some(value),
            "event" => event = value,
            "data" => data.push(value),
            _ => {}
        }
    }
    frames
}

fn name() -> VmName {
    VmName::new("waa-1").expect("a name")
}

fn view() -> VmView {
    VmView {
        stage: Stage::Running,
        stage_since: Timestamp(90.0),
        stages: Vec::new(),
        reported_at: Timestamp(100.0),
        answered_at: Some(Timestamp(100.0)),
        reachable: true,
        connected: true,
        waa_ready: true,
        probe_reply: Some("{}".into()),
        power: None,
        clock_skew: Some(0.25),
        boot_percent: 100.0,
        download_seconds_left: None,
        container: Some(Container {
            id: "c0ffee".into(),
            name: "winarena".into(),
            image: "windows:11".into(),
            running: true,
            state: "running".into(),
            started_at: "2026-01-02T10:00:00Z".into(),
        }),
        container_log_tail: String::new(),
        setup_script: None,
        dependencies: vec![],
        process: None,
        storage: Some(StorageUse { used: 1, total: 2 }),
        memory: None,
        qemu_monitor: Some(false),
        progress: vec![run_view()],
        errors: vec![ActiveError { code: ErrorCode::LogGap, message: "m".into() }],
    }
}

fn run_view() -> ProgressView {
    ProgressView {
        source: "/tmp/waa_benchmark.log".into(),
        run: RunId::from_hash("r1"),
        open: true,
        started_at: Timestamp(80.0),
        ended_at: None,
        task_number: 5,
        total_tasks: 30,
        completed: 4,
        passed: 3,
        failed: 1,
        unknown: 0,
        current: Some(TaskView {
            task_id: "task_005".into(),
            instruction: None,
            domain: None,
            step: 12,
            action: Some("CLICK".into()),
            started_at: Timestamp(95.0),
            closed: false,
            success: None,
            score: None,
        }),
        model: Some("gpt-4o".into()),
        average_score: None,
        historic: false,
    }
}

fn facts() -> VmFacts {
    VmFacts { vnc_url: Some("http://192.0.2.10:8006".into()), ..VmFacts::default() }
}

fn made(change: &Change) -> DurableEvent {
    durable(&name(), &VmId::from_journal("00ff"), &facts(), &view(), change, Timestamp(101.5))
}

#[test]
fn the_fields_of_the_replaced_server_come_first_and_as_it_sent_them() {
    let status = status(&name(), &facts(), &view(), false, Timestamp(101.5));
    assert!(
        status.starts_with(concat!(
            r#"{"type":"vm_status","connected":true,"phase":"ready","waa_ready":true,"#,
            r#""probe":{"status":"ok","vnc_url":"http://192.0.2.10:8006"},"vm":"waa-1","stage":"running","#
        )),
        "{status}"
    );
    assert!(status.ends_with(r#""timestamp":101.5}"#), "{status}");
    let progress = progress(&name(), &run_view(), Timestamp(101.5));
    assert!(
        progress.starts_with(concat!(
            r#"{"tasks_completed":5,"total_tasks":30,"current_task":"task_005","current_step":12,"#,
            r#""vm":"waa-1","run":"r1","source":"/tmp/waa_benchmark.log","completed":4,"passed":3,"failed":1,"unknown":0,"#
        )),
        "{progress}"
    );
    assert_eq!(
        connected(Timestamp(1.5), 2, "a", "v"),
        format!(
            r#"{{"timestamp":1.5,"interval":2,"version":"{}","replica":"a","view":"v"}}"#,
            env!("CARGO_PKG_VERSION")
        )
    );
    assert_eq!(heartbeat(Timestamp(1.5), false), r#"{"timestamp":1.5,"stale":false}"#);
    assert_eq!(
        error(None, ErrorCode::Expired, "over", false, Timestamp(1.5)),
        r#"{"message":"over","code":"expired","retryable":false,"whose":"client","resolved":false,"timestamp":1.5}"#
    );
    assert_eq!(
        error(Some(&name()), ErrorCode::SshTimeout, "silent", true, Timestamp(1.5)),
        r#"{"message":"silent","code":"ssh_timeout","retryable":true,"whose":"network","vm":"waa-1","resolved":true,"timestamp":1.5}"#
    );
    assert_eq!(reset(ResetReason::GrantsChanged), r#"{"reason":"grants_changed"}"#);
}

#[test]
fn each_change_becomes_its_durable_event() {
    let run = RunId::from_hash("r1");
    let task = made(&Change::TaskCompleted {
        run: run.clone(),
        key: "k".into(),
        task_id: "task_001".into(),
        number: Some(1),
        worker: None,
        success: None,
        score: Some(1.0),
        steps: Some(3),
        duration: None,
        historic: false,
        log_time: None,
    });
    assert_eq!((task.kind, task.run), (EventKind::TaskComplete, Some(run.clone())));
    assert_eq!(
        &*task.data,
        concat!(
            r#"{"task_id":"task_001","success":null,"score":1.0,"vm":"waa-1","run":"r1","key":"k","number":1,"#,
            r#""worker":null,"steps":3,"duration":null,"historic":false,"log_time":null,"timestamp":101.5}"#
        )
    );
    let started = made(&Change::RunStarted {
        run: run.clone(),
        source: "/l".into(),
        total_tasks: Some(30),
        historic: true,
        log_time: Some("10:11".into()),
    });
    assert_eq!(started.kind, EventKind::RunStarted);
    assert_eq!(
        &*started.data,
        r#"{"vm":"waa-1","run":"r1","source":"/l","total_tasks":30,"historic":true,"log_time":"10:11","timestamp":101.5}"#
    );
    let ended = made(&Change::RunEnded {
        run,
        source: "/l".into(),
        completed: 3,
        passed: 1,
        failed: 1,
        unknown: 1,
        reason: RunEndReason::ProcessEnded,
        historic: false,
        log_time: None,
    });
    assert_eq!(ended.kind, EventKind::RunComplete);
    assert_eq!(
        &*ended.data,
        concat!(
            r#"{"vm":"waa-1","run":"r1","source":"/l","completed":3,"passed":1,"failed":1,"unknown":1,"#,
            r#""reason":"process_ended","historic":false,"log_time":null,"timestamp":101.5}"#
        )
    );
}

#[test]
fn a_durable_status_names_the_stage_it_reached_even_if_the_poll_went_further() {
    let passed = made(&Change::Stage { from: Some(Stage::Booting), to: Stage::Oobe });
    let data: Value = serde_json::from_str(&passed.data).expect("JSON");
    assert_eq!((passed.kind, passed.run), (EventKind::Status, None));
    assert_eq!(data["stage"], "oobe");
    assert_eq!(data["phase"], "oobe");
    assert_eq!(data["from"], "booting");
    assert_eq!(data["stage_since"], 101.5);
    let last = made(&Change::Stage { from: None, to: Stage::Running });
    let data: Value = serde_json::from_str(&last.data).expect("JSON");
    assert_eq!(data["stage_since"], 90.0, "the view's own stage keeps its time");
    assert_eq!(data.get("from"), None);
}

#[test]
fn a_number_that_is_none_becomes_null() {
    let text = status(&name(), &facts(), &VmView { boot_percent: f64::NAN, ..view() }, true, Timestamp(f64::INFINITY));
    let data: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&data["percent"], &data["timestamp"], &data["stale"]), (&Value::Null, &Value::Null, &true.into()));
}

#[test]
fn a_long_message_is_cut_between_characters() {
    let text = error(None, ErrorCode::LogFormat, &"ä".repeat(600), false, Timestamp(0.0));
    let data: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(data["message"], "ä".repeat(500));
}

#[test]
fn names_on_the_wire_are_distinct_and_match_their_serde_names() {
    for kind in EventKind::ALL {
        assert_eq!(serde_json::to_value(kind).expect("JSON"), kind.as_str());
    }
    let mut reasons: Vec<_> = ResetReason::ALL.map(ResetReason::as_str).to_vec();
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons.len(), ResetReason::ALL.len());
}

#[test]
fn a_frame_has_its_id_its_name_and_one_line_of_data() {
    let id = EventId::parse("k3J9-17.2").expect("an id");
    assert_eq!(&frame(EventKind::Reset, Some(&id), "{}")[..], b"id: k3J9-17.2\nevent: reset\ndata: {}\n\n");
    assert_eq!(&frame(EventKind::Heartbeat, None, "{}")[..], b"event: heartbeat\ndata: {}\n\n");
    assert_eq!(&retry_frame(2750)[..], b"retry: 2750\n\n");
}

/// Texts that a hostile log or container may hold: everything that any reader takes for a line end or a field.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\n\nevent: reset\ndata: {}\n\n".to_owned()),
        Just("\r\nid: x-1.0\r\n".to_owned()),
        Just("\u{2028}\u{2029}\u{85}\u{0}\u{b}\u{c}\u{feff}".to_owned()),
        Just("\"}\\\"\\n\\u000a</script>".to_owned()),
        any::<String>(),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn g50_hostile_text_never_breaks_a_frame(text in hostile()) {
        let mut run = run_view();
        run.model = Some(text.clone());
        run.source.clone_from(&text);
        if let Some(task) = &mut run.current {
            task.task_id.clone_from(&text);
            task.instruction = Some(text.clone());
        }
        let change = Change::TaskCompleted {
            run: RunId::from_hash("r"),
            key: text.clone(),
            task_id: text.clone(),
            number: None,
            worker: Some(text.clone()),
            success: Some(true),
            score: None,
            steps: None,
            duration: None,
            historic: false,
            log_time: Some(text.clone()),
        };
        let short: String = text.chars().take(500).collect();
        let id = EventId::parse("k-1.0").expect("an id");
        let cases = [
            (EventKind::Progress, progress(&name(), &run, Timestamp(1.0)), "/current_task", &text),
            (EventKind::TaskComplete, made(&change).data.into(), "/key", &text),
            (EventKind::Error, error(None, ErrorCode::LogGap, &text, false, Timestamp(1.0)), "/message", &short),
            (EventKind::Connected, connected(Timestamp(1.0), 5, &text, &text), "/replica", &text),
        ];
        let mut stream = Vec::new();
        for (kind, data, _, _) in &cases {
            stream.extend_from_slice(&frame(*kind, Some(&id), data));
        }
        let frames = parse(&stream);
        prop_assert_eq!(frames.len(), cases.len());
        for (seen, (kind, _, pointer, wanted)) in frames.iter().zip(&cases) {
            prop_assert_eq!(&seen.event, kind.as_str());
            prop_assert_eq!(seen.id.as_deref(), Some("k-1.0"));
            let data: Value = serde_json::from_str(&seen.data).expect("JSON");
            prop_assert_eq!(data.pointer(pointer).and_then(Value::as_str), Some(wanted.as_str()));
        }
    }

    #[test]
    fn g50_data_that_is_no_single_line_still_makes_one_frame(data in "[ -~\r\n\u{2028}ä]{0,80}") {
        let bytes = frame(EventKind::Status, None, &data);
        let frames = parse(&bytes);
        prop_assert_eq!(frames.len(), 1);
        prop_assert_eq!(frames[0].data.len(), data.len());
    }
}
