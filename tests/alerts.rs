//! Every alert fires when it should and not when things only come near, and has its line in OPERATIONS.md.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use regex::Regex;
use serde_json::{Value, json};

use crate::support::{Prometheus, SHIPPED, promtool};

/// The alerts of the rules: name, severity, and the whole text of each.
fn alerts() -> Vec<(String, String, String)> {
    let rules = fs::read_to_string(Path::new(SHIPPED).join("rules.yml")).expect("the rules");
    let severity = Regex::new(r"labels: \{severity: (\w+)\}").expect("a regex");
    let alerts = rules.split("- alert: ").skip(1).map(|text| {
        let name = text.lines().next().unwrap_or_default().to_owned();
        let severity = severity.captures(text).unwrap_or_else(|| panic!("{name} has no severity"));
        (name, severity[1].to_owned(), text.to_owned())
    });
    alerts.collect()
}

#[test]
fn every_alert_says_what_is_wrong_and_has_its_line_in_operations_and_every_line_its_alert() {
    let page = fs::read_to_string("docs/OPERATIONS.md").expect("docs/OPERATIONS.md");
    let row = Regex::new(r"^\| `(Gatewatch\w+)` \| (\w+) \| (.{20,}) \| (.{20,}) \|$").expect("a regex");
    let lines = page.lines().filter(|line| line.starts_with("| `Gatewatch"));
    let lines = lines.map(|line| row.captures(line).unwrap_or_else(|| panic!("not a whole line of an alert: {line}")));
    let documented: BTreeSet<_> = lines.map(|line| (line[1].to_owned(), line[2].to_owned())).collect();
    let mut shipped = BTreeSet::new();
    for (name, severity, text) in alerts() {
        assert!(["warning", "critical"].contains(&&*severity), "{name}: {severity}");
        for wanted in ["        for: ", "          summary: ", "          description: "] {
            assert!(text.contains(wanted), "{name} has no{wanted}");
        }
        assert!(text.contains(&format!("runbook: docs/OPERATIONS.md, {name}\n")), "{name} names its line");
        assert!(shipped.insert((name.clone(), severity)), "{name} stands twice");
    }
    assert!(shipped.len() >= 15, "{shipped:?}");
    assert_eq!(shipped, documented);
}

/// What an alert is tried with: series in the words of promtool, one value a minute.
struct Case {
    alert: &'static str,
    /// When it is looked at, in minutes.
    at: u32,
    /// It fires.
    fires: &'static [(&'static str, &'static str)],
    /// It comes near and does not fire.
    quiet: &'static [(&'static str, &'static str)],
}

const fn case(
    alert: &'static str,
    at: u32,
    fires: &'static [(&'static str, &'static str)],
    quiet: &'static [(&'static str, &'static str)],
) -> Case {
    Case { alert, at, fires, quiet }
}

/// Up, and in a run that is open, at one step.
const UP: (&str, &str) = (r#"gatewatch_vm_up{job="gatewatch",instance="a",vm="v"}"#, "1x60");
const DOWN: (&str, &str) = (r#"gatewatch_vm_up{job="gatewatch",instance="a",vm="v"}"#, "1 0x60");
const FLICKERS: (&str, &str) =
    (r#"gatewatch_vm_up{job="gatewatch",instance="a",vm="v"}"#, "1x13 0 1x13 0 1x13 0 1x13 0 1x4");
const HANGS: (&str, &str) =
    (r#"gatewatch_vm_stale{job="gatewatch",instance="a",vm="v"}"#, "0 1 1 0 1 1 0 1 1 0 1 1 0 1 1 0 1 1 0 1");
const OFF: (&str, &str) = (r#"gatewatch_vm_stage{job="gatewatch",instance="a",vm="v",stage="off"}"#, "1x60");
const OPEN: (&str, &str) = (r#"gatewatch_run_open{job="gatewatch",instance="a",vm="v",log="l"}"#, "1x60");
const CLOSED: (&str, &str) =
    (r#"gatewatch_run_tasks_closed{job="gatewatch",instance="a",vm="v",log="l",outcome="passed"}"#, "3x60");
const STEP: (&str, &str) = (r#"gatewatch_run_task_step{job="gatewatch",instance="a",vm="v",log="l"}"#, "4x60");
const STEPS: (&str, &str) = (r#"gatewatch_run_task_step{job="gatewatch",instance="a",vm="v",log="l"}"#, "0+1x60");
/// Two replicas know two VMs.
const VMS: [(&str, &str); 4] = [
    (r#"gatewatch_vm_up{job="gatewatch",instance="a",vm="v"}"#, "1x60"),
    (r#"gatewatch_vm_up{job="gatewatch",instance="a",vm="w"}"#, "0x60"),
    (r#"gatewatch_vm_up{job="gatewatch",instance="b",vm="v"}"#, "1x60"),
    (r#"gatewatch_vm_up{job="gatewatch",instance="b",vm="w"}"#, "0x60"),
];
const UP_A: (&str, &str) = (r#"gatewatch_replicas_up{job="gatewatch",instance="a"}"#, "2x60");
const UP_B: (&str, &str) = (r#"gatewatch_replicas_up{job="gatewatch",instance="b"}"#, "2x60");
const HELD_A: &str = r#"gatewatch_leases_held{job="gatewatch",instance="a"}"#;
const HELD_B: &str = r#"gatewatch_leases_held{job="gatewatch",instance="b"}"#;
const LOST: &str = r#"gatewatch_leases_lost_total{job="gatewatch",instance="a"}"#;
const NATS: &str = r#"gatewatch_nats_connected{job="gatewatch",instance="a"}"#;
const NOT_AFTER: &str = r#"gatewatch_tls_certificate_not_after_seconds{job="gatewatch",instance="a"}"#;

const CASES: &[Case] = &[
    case("GatewatchDown", 5, &[(r#"up{job="gatewatch"}"#, "1 0x10")], &[(r#"up{job="other"}"#, "1 0x10")]),
    case("GatewatchNotReady", 5, &[("gatewatch_ready", "1 0x10")], &[("gatewatch_ready", "1 0 0 1x10")]),
    // Its polls hang: between two of them it is stale for a while.
    case("GatewatchVmUnreachable", 8, &[DOWN, HANGS], &[DOWN, HANGS, OFF]),
    // A poll that is lost now and then does not begin the wait anew.
    case("GatewatchRunStalled", 45, &[FLICKERS, OPEN, CLOSED, STEP], &[UP, OPEN, CLOSED, STEPS]),
    // Where every poll fails they end all the same.
    case(
        "GatewatchPollsStale",
        12,
        &[UP, ("gatewatch_polls_total{job=\"gatewatch\",instance=\"a\",outcome=\"ok\"}", "0+4x3 12x20")],
        &[DOWN, HANGS, ("gatewatch_polls_total{job=\"gatewatch\",instance=\"a\",outcome=\"network\"}", "0+1x20")],
    ),
    // One of two replicas may have no VM.
    case(
        "GatewatchPollsStale",
        12,
        &[UP, UP_A, (HELD_A, "1x20"), (r#"gatewatch_polls_total{job="gatewatch",instance="a",outcome="ok"}"#, "12x20")],
        &[UP, UP_A, (HELD_A, "0x20"), (r#"gatewatch_polls_total{job="gatewatch",instance="a",outcome="ok"}"#, "12x20")],
    ),
    case(
        "GatewatchPollsSlow",
        20,
        &[
            (r#"gatewatch_poll_duration_seconds_bucket{instance="a",le="10"}"#, "0+1x30"),
            (r#"gatewatch_poll_duration_seconds_bucket{instance="a",le="30"}"#, "0+10x30"),
            (r#"gatewatch_poll_duration_seconds_bucket{instance="a",le="+Inf"}"#, "0+10x30"),
        ],
        &[
            (r#"gatewatch_poll_duration_seconds_bucket{instance="a",le="10"}"#, "0+100x30"),
            (r#"gatewatch_poll_duration_seconds_bucket{instance="a",le="30"}"#, "0+101x30"),
            (r#"gatewatch_poll_duration_seconds_bucket{instance="a",le="+Inf"}"#, "0+101x30"),
        ],
    ),
    // Time begins at 0 there: thirteen days, and fifteen.
    case("GatewatchCertificateEnds", 15, &[(NOT_AFTER, "1123200x30")], &[(NOT_AFTER, "1296000x30")]),
    // One day, and none at all: TLS is off.
    case("GatewatchCertificateEndsNow", 15, &[(NOT_AFTER, "86400x30")], &[(NOT_AFTER, "0x30")]),
    case(
        "GatewatchResetsRising",
        30,
        &[(r#"gatewatch_streams_reset_total{instance="a",reason="lagged"}"#, "0+2x60")],
        &[(r#"gatewatch_streams_reset_total{instance="a",reason="grants_changed"}"#, "0+50x60")],
    ),
    case(
        "GatewatchAuthFailuresRising",
        20,
        &[(r#"gatewatch_auth_total{instance="a",method="bearer",outcome="wrong"}"#, "0+20x60")],
        &[
            (r#"gatewatch_auth_total{instance="a",method="bearer",outcome="wrong"}"#, "0+5x60"),
            (r#"gatewatch_auth_total{instance="a",method="none",outcome="missing"}"#, "0+50x60"),
        ],
    ),
    case(
        "GatewatchJournalFailing",
        5,
        &[("gatewatch_journal_failing", "0 1x10")],
        &[("gatewatch_journal_failing", "0x3 1 0x5")],
    ),
    case(
        "GatewatchVmsUncommitted",
        8,
        &[("gatewatch_vms_uncommitted", "0 3x10")],
        &[("gatewatch_vms_uncommitted", "0 3 3 0x10")],
    ),
    case(
        "GatewatchReloadRefused",
        5,
        &[("gatewatch_config_last_reload_successful", "1 0x10")],
        &[("gatewatch_config_last_reload_successful", "1x10")],
    ),
    case(
        "GatewatchJournalWalGrowing",
        25,
        &[("gatewatch_journal_wal_bytes", "300000000x30")],
        &[("gatewatch_journal_wal_bytes", "67108864x30")],
    ),
    case(
        "GatewatchJournalGrowing",
        400,
        &[("gatewatch_journal_file_bytes", "0+2000000x400")],
        &[("gatewatch_journal_file_bytes", "9000000000+1000000x400")],
    ),
    case(
        "GatewatchFilesRunOut",
        10,
        &[(r#"process_open_fds{job="gatewatch"}"#, "950x20"), (r#"process_max_fds{job="gatewatch"}"#, "1000x20")],
        &[(r#"process_open_fds{job="gatewatch"}"#, "950x20"), (r#"process_max_fds{job="gatewatch"}"#, "0x20")],
    ),
    case(
        "GatewatchRequestsFail",
        15,
        &[
            (r#"gatewatch_http_requests_total{instance="a",route="/",code="200"}"#, "0+9x30"),
            (r#"gatewatch_http_requests_total{instance="a",route="/",code="500"}"#, "0+1x30"),
        ],
        &[
            (r#"gatewatch_http_requests_total{instance="a",route="/",code="200"}"#, "0+9x30"),
            (r#"gatewatch_http_requests_total{instance="a",route="/",code="503"}"#, "0+9x30"),
        ],
    ),
    // One that is alone has no NATS.
    case(
        "GatewatchNatsDisconnected",
        5,
        &[(NATS, "1 0x10"), UP_A],
        &[(NATS, "0x10"), (r#"gatewatch_replicas_up{job="gatewatch",instance="a"}"#, "0x10")],
    ),
    // While a VM changes hands nobody has it for a moment.
    case(
        "GatewatchVmsUnpolled",
        8,
        &[VMS[0], VMS[1], VMS[2], VMS[3], UP_A, UP_B, (HELD_A, "1x20"), (HELD_B, "1 1 0x20")],
        &[VMS[0], VMS[1], VMS[2], VMS[3], UP_A, UP_B, (HELD_A, "1x20"), (HELD_B, "1x5 0 1x20")],
    ),
    // Of one that is not scraped it is not known what it polls; one that is alone has no leases.
    case(
        "GatewatchVmsUnpolled",
        8,
        &[VMS[0], VMS[1], UP_A, UP_B, (HELD_A, "0x20"), (HELD_B, "0x20")],
        &[VMS[0], VMS[1], UP_A, (HELD_A, "1x20")],
    ),
    case(
        "GatewatchLeasesLost",
        50,
        &[(LOST, "0 0 40x60"), (HELD_A, "10x60")],
        &[(LOST, "0 0 20x60"), (HELD_A, "10x20 0x60")],
    ),
];

/// A test of `alert` for promtool: whether it `fires` at that minute with these series.
fn unit_test(case: &Case, series: &[(&str, &str)], fires: bool) -> Value {
    let series: Vec<_> = series.iter().map(|(name, values)| json!({"series": name, "values": values})).collect();
    let expr = format!("count(ALERTS{{alertname=\"{}\", alertstate=\"firing\"}})", case.alert);
    let samples = if fires { json!([{"labels": "{}", "value": 1}]) } else { json!([]) };
    json!({
        "name": format!("{} {}", case.alert, if fires { "fires" } else { "is quiet" }),
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [{"expr": expr, "eval_time": format!("{}m", case.at), "exp_samples": samples}],
    })
}

#[tokio::test]
async fn every_alert_fires_when_it_should_and_not_when_things_only_come_near() {
    if !Prometheus::for_test() {
        return;
    }
    let tried: BTreeSet<_> = CASES.iter().map(|case| case.alert.to_owned()).collect();
    let shipped: BTreeSet<_> = alerts().into_iter().map(|(name, ..)| name).collect();
    assert_eq!(tried, shipped);
    let rules = fs::canonicalize(Path::new(SHIPPED).join("rules.yml")).expect("the rules");
    let tests = CASES.iter().flat_map(|case| [unit_test(case, case.fires, true), unit_test(case, case.quiet, false)]);
    let tests =
        json!({"rule_files": [rules], "evaluation_interval": "1m", "tests": tests.collect::<Vec<_>>()}).to_string();
    let file = tempfile::NamedTempFile::new().expect("a file");
    // JSON is YAML.
    fs::write(file.path(), tests).expect("written");
    let path = file.path().display().to_string();
    promtool(&["test", "rules", &path], b"").await.unwrap_or_else(|why| panic!("{why}"));
}
