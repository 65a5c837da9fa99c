use super::*;
use crate::probe::log::CustomError;

const ANSI: &str = "\x1b[1;33m[2026-01-02 10:11:12,345 \x1b[31mINFO \x1b[32mrun/245-MainProcess\x1b[1;33m] \x1b[0m";
const BAR: &str = "Example:  40%|████      | 2/5 [10:11<15:16, 305.6s/it]";

#[test]
fn openadapt_lines_say_what_they_say() {
    let table: Vec<(&str, FactKind)> = vec![
        ("Task 5/30: notepad_1", start(5, 30, "notepad_1")),
        ("Task 5/30: SUCCESS", start(5, 30, "SUCCESS")),
        ("Task 1/1", FactKind::TaskStart { number: Some(1), total: Some(1), id: None, title: None }),
        ("Running task: task_005", FactKind::TaskId("task_005".into())),
        ("Running task: task_005...", FactKind::TaskId("task_005".into())),
        ("Processing task: notepad-1/a (again)", FactKind::TaskId("notepad-1/a".into())),
        ("Step 12: CLICK", step(12, "CLICK")),
        ("Step 0: CLICK", step(0, "CLICK")),
        ("Step 12", FactKind::Step { number: 12, action: None }),
        ("Step 12:", FactKind::Step { number: 12, action: None }),
        ("Step 3/15: TYPE 'a: b'", step(3, "TYPE 'a: b'")),
        ("Task task_005 completed successfully", outcome("task_005", true)),
        ("Task task_005 completed successfully.", outcome("task_005", true)),
        ("Task task_005 failed", outcome("task_005", false)),
        ("Task task_005 failed: no such window", outcome("task_005", false)),
        ("Task task_005: SUCCESS", outcome("task_005", true)),
        ("Task task_005: FAIL", outcome("task_005", false)),
        ("Task task_005: FAILED (timeout)", outcome("task_005", false)),
        ("Task task_005: FAILURE", outcome("task_005", false)),
        ("Result: PASS", FactKind::Outcome { task: None, success: true }),
        ("Result: FAIL", FactKind::Outcome { task: None, success: false }),
        ("Score: 0.85", FactKind::Score(0.85)),
        ("Score: 1", FactKind::Score(1.0)),
        ("Score: 0.85/1.00", FactKind::Score(0.85)),
        ("Completed: 5, Remaining: 25", FactKind::Total(30)),
        ("model=gpt-4o", FactKind::Model("gpt-4o".into())),
        ("python run.py --model=gpt-4o --tasks=3", FactKind::Model("gpt-4o".into())),
        ("Args: Namespace(a=1, model='gpt-4o', b=2)", FactKind::Model("gpt-4o".into())),
    ];
    for (line, kind) in table {
        let coloured = format!("\x1b[1;32m{line}\x1b[0m");
        let kinds = [kind];
        assert_eq!(said(&Profile::Openadapt, line), kinds, "{line:?}");
        assert_eq!(said(&Profile::Openadapt, coloured), kinds, "{line:?} in green");
    }
}

#[test]
fn a_loggers_prefix_is_passed_over_and_gives_the_time() {
    let table = [
        ("2026-01-02 10:11:12,345 - INFO - ", Some("2026-01-02 10:11:12,345")),
        ("2026-01-02 10:11:12,345 - bench.runner - INFO - ", Some("2026-01-02 10:11:12,345")),
        ("2026-01-02 10:11:12,345 INFO ", Some("2026-01-02 10:11:12,345")),
        ("2026-01-02 10:11:12,345 - ", Some("2026-01-02 10:11:12,345")),
        ("2026-01-02T10:11:12.345Z ", Some("2026-01-02T10:11:12.345Z")),
        ("2026-01-02T10:11:12+02:00 INFO ", Some("2026-01-02T10:11:12+02:00")),
        ("2026-01-02 10:11:12.345 | INFO     | bench.run:main:12 - ", Some("2026-01-02 10:11:12.345")),
        ("[10:11:12] INFO: ", Some("10:11:12")),
        ("[2026-01-02 10:11:12] [INFO] ", Some("2026-01-02 10:11:12")),
        ("[2026-01-02 10:11:12,345 INFO] ", Some("2026-01-02 10:11:12,345")),
        ("INFO:root:", None),
        ("INFO: ", None),
        ("[warning] ", None),
        ("  ", None),
        ("\t", None),
    ];
    for (prefix, time) in table {
        for (line, kind) in [
            ("Task 3/5: x", start(3, 5, "x")),
            ("Result: PASS", FactKind::Outcome { task: None, success: true }),
            ("model=m", FactKind::Model("m".into())),
        ] {
            let facts = facts_of(&Profile::Openadapt, format!("{prefix}{line}").as_bytes());
            assert_eq!(facts.len(), 1, "{prefix}{line}");
            assert_eq!(facts[0].kind, kind, "{prefix}{line}");
            assert_eq!(facts[0].log_time.as_deref(), time, "{prefix}{line}");
            assert_eq!(&*facts[0].worker, "");
        }
    }
}

#[test]
fn prose_says_nothing() {
    for line in [
        "he said Task 3/5: do it",
        "\"Task 3/5: do it\"",
        "INFO he said Task 3/5: do it",
        "2026-01-02 10:11:12,345 - INFO - he said Task 3/5: do it",
        "Information: Task 3/5: x",
        "The Score: 0.5",
        "Task 3/5 of my list",
        "Task 5/30 failed",
        "Tasks 3/5: x",
        "Task force failed to arrive",
        "Task x completed",
        "Task x: SUCCESSFUL?",
        "Step 3 of the recipe",
        "Step by step",
        "Result: PASSABLE",
        "Result: 1.0",
        "Score: N/A",
        "Running task:",
        "Completed: 5",
        "supermodel=gpt-4o",
        "we chose model=gpt-4o",
        "[10:11:12 Task 3/5: x",
        "10:11:12Task 3/5: x",
        "[]",
        "[",
        "",
    ] {
        assert_eq!(said(&Profile::Openadapt, line), [], "{line:?}");
    }
}

#[test]
fn waa_messages_say_what_they_say() {
    let table: Vec<(&str, Option<FactKind>)> = vec![
        ("[Domain]: chrome", Some(domain("chrome"))),
        ("[Example ID]: 4abc-WOS", Some(FactKind::ExampleId("4abc-WOS".into()))),
        (
            "[Instruction]: Change the default search engine ...",
            Some(FactKind::Instruction("Change the default search engine ...".into())),
        ),
        ("Agent: Thinking...", None),
        ("Step 3: computer.click(x=10, y=20)", Some(step(3, "computer.click(x=10, y=20)"))),
        ("Reward: 0.00", None),
        ("Done: False", None),
        ("The episode is done.", None),
        ("Running evaluator(s)...", None),
        ("Result: 1.00", Some(FactKind::Verdict(1.0))),
        ("Result: 0", Some(FactKind::Verdict(0.0))),
        ("Finished chrome/4abc-WOS", Some(task_end("chrome/4abc-WOS", None))),
        ("Finished downloading a/b", None),
        ("Finished", None),
        ("Average score: 0.42", Some(FactKind::AverageScore(0.42))),
        ("Exception in chrome/4abc-WOS: boom: twice", Some(task_end("chrome/4abc-WOS", Some(false)))),
        ("Exception in thread Thread-1 (a/b): boom", None),
        ("Args: Namespace(headless=False, model='gpt-4o', x=1)", Some(FactKind::Model("gpt-4o".into()))),
        ("Task 3/5: not of this dialect", None),
    ];
    for (message, kind) in table {
        let kinds: Vec<_> = kind.into_iter().collect();
        let facts = facts_of(&Profile::Waa, format!("{ANSI}{message}").as_bytes());
        for fact in &facts {
            assert_eq!(fact.log_time.as_deref(), Some("2026-01-02 10:11:12,345"));
            assert_eq!(&*fact.worker, "");
        }
        assert_eq!(facts.into_iter().map(|fact| fact.kind).collect::<Vec<_>>(), kinds, "{message:?}");
        assert_eq!(said(&Profile::Waa, message), kinds, "{message:?} bare");
        assert_eq!(said(&Profile::Waa, format!(" {message}")), [], "{message:?} indented");
        assert_eq!(said(&Profile::Waa, format!("he said {message}")), [], "{message:?} in prose");
        assert_eq!(said(&Profile::Waa, format!("he said {ANSI}{message}")), [], "{message:?} quoted with its prefix");
        let mut with_bar = vec![FactKind::Total(5)];
        with_bar.extend(kinds);
        assert_eq!(said(&Profile::Waa, format!("{BAR}{ANSI}{message}")), with_bar, "{message:?} behind a bar");
    }
}

#[test]
fn a_worker_is_named_by_its_process() {
    for (place, worker) in [
        ("run/245-MainProcess", ""),
        ("run/245-EnvProcess-1", "EnvProcess-1"),
        ("my-run/2-Process-1:2", "Process-1:2"),
        ("lib_run_single/31-A/3-B", "A/3-B"),
    ] {
        let line = format!("[2026-01-02 10:11:12,345 INFO {place}] Result: 1.00");
        let facts = facts_of(&Profile::Waa, line.as_bytes());
        assert_eq!(facts.len(), 1, "{line}");
        assert_eq!(&*facts[0].worker, worker);
    }
}

#[test]
fn only_bars_of_examples_give_a_total() {
    let table: [(&str, &[FactKind]); 8] = [
        (BAR, &[FactKind::Total(5)]),
        ("Example:   0%|          | 0/12 [00:00<?, ?it/s]", &[FactKind::Total(12)]),
        ("  Example: 100%|██████████| 12/12 [1:00:00<00:00, 300s/it]   ", &[FactKind::Total(12)]),
        (
            "Domain:  20%|██        | 1/5 [10:11<15:16, 305.6s/it]Example:  50%|█    | 1/2 [0:1<0:1, 1it/s]",
            &[FactKind::Total(2)],
        ),
        ("Domain:  20%|██        | 1/5 [10:11<15:16, 305.6s/it]", &[]),
        ("Example: 2it [00:10,  5.00s/it]", &[]),
        ("Example: he is 40%| 2/5 [", &[]),
        ("An Example:  40%|████      | 2/5 [10:11<15:16, 305.6s/it]", &[]),
    ];
    for (line, kinds) in table {
        assert_eq!(said(&Profile::Waa, line), kinds, "{line:?}");
    }
    let behind = format!("{BAR}[2026-01-02 10:11:12,345 INFO run/245-EnvProcess-1] [Domain]: chrome");
    let facts = facts_of(&Profile::Waa, behind.as_bytes());
    assert_eq!((&*facts[0].worker, &*facts[1].worker), ("", "EnvProcess-1"), "a bar is nobody's");
}

#[test]
fn a_claim_that_cannot_be_is_no_fact_but_odd() {
    let table = [
        (Profile::Openadapt, "Task 99999999999/0"),
        (Profile::Openadapt, "Task 99999999999/0: x"),
        (Profile::Openadapt, "Task 0/5: x"),
        (Profile::Openadapt, "Task 1/0: x"),
        (Profile::Openadapt, "Task 6/5: x"),
        (Profile::Openadapt, "Task 1/1000001: x"),
        (Profile::Openadapt, "Task 99999999999999999999999999/99999999999999999999999999: x"),
        (Profile::Openadapt, "Score: nan"),
        (Profile::Openadapt, "Score: -inf"),
        (Profile::Openadapt, "Score: 1e999"),
        (Profile::Openadapt, "Step 99999999999999999999: CLICK"),
        (Profile::Openadapt, "Completed: 18446744073709551615, Remaining: 25"),
        (Profile::Waa, "Result: nan"),
        (Profile::Waa, "Average score: inf"),
        (Profile::Waa, "Example:   0%|          | 0/99999999 [00:00<?, ?it/s]"),
        (Profile::Auto, "Task 99999999999/0"),
        (custom(), "BEGIN 7 of 5 id=a"),
        (custom(), "there are 1e3 tasks"),
        (custom(), "points=much"),
    ];
    for (profile, line) in table {
        let mut facts = Vec::new();
        let mut parser = LineParser::new(&profile, Found::default());
        assert!(parser.parse(0, line.as_bytes(), &mut facts).absurd, "{line:?}");
        assert_eq!(facts, [], "{line:?}");
        assert_eq!(parser.found().dialect, None);
    }
}

#[test]
fn texts_are_cut_and_clean() {
    let long = "é".repeat(1000);
    assert_eq!(said(&Profile::Openadapt, format!("Task 1/2: {long}")), [start(1, 2, &"é".repeat(256))]);
    let table: [(&[u8], &str); 7] = [
        (b"Task 1/2: a\0b", "ab"),
        (b"\0\0\0Task 1/2: ab", "ab"),
        (b"Ta\x1b[0msk 1/2:\x1b[38;5;196m ab\x1b[", "ab"),
        (b"Task 1/2: a\xff\xfeb", "a\u{fffd}\u{fffd}b"),
        (b"Task 1/2: a\tb\x08\x07", "a b"),
        (b"\x1b]0;title\x07Task 1/2: \x1b]8;;http://x\x1b\\ab\x1b]8;;\x1b\\", "ab"),
        ("Task 1/2: a\u{85}b".as_bytes(), "a b"),
    ];
    for (line, title) in table {
        assert_eq!(said(&Profile::Openadapt, line), [start(1, 2, title)], "{}", line.escape_ascii());
    }
}

#[test]
fn auto_takes_the_dialect_of_the_first_start() {
    let told = |lines: &[&str]| {
        let profile = Profile::Auto;
        let mut parser = LineParser::new(&profile, Found::default());
        let mut facts = Vec::new();
        for line in lines {
            parser.parse(0, line.as_bytes(), &mut facts);
        }
        (parser.found().dialect, facts.into_iter().map(|fact| fact.kind).collect::<Vec<_>>())
    };
    use crate::model::Dialect::{Openadapt, Waa};
    let model = || FactKind::Model("m".into());
    assert_eq!(told(&["Score: 1", "Step 1: a", BAR, "model=m"]), (None, vec![FactKind::Total(5), model()]));
    assert_eq!(told(&["Args: Namespace(model='m')", "Result: 1.0"]), (None, vec![model()]));
    for (first, then, decided, kinds) in [
        ("Task 1/2: x", "[Domain]: y", Openadapt, vec![start(1, 2, "x")]),
        ("Running task: x", "Score: 1", Openadapt, vec![FactKind::TaskId("x".into()), FactKind::Score(1.0)]),
        ("Processing task: x", "Result: 1.0", Openadapt, vec![FactKind::TaskId("x".into())]),
        ("[Domain]: y", "Task 1/2: x", Waa, vec![domain("y")]),
        ("[Example ID]: z", "Score: 1", Waa, vec![FactKind::ExampleId("z".into())]),
    ] {
        assert_eq!(told(&[first, then]), (Some(decided), kinds), "{first}");
    }
}

#[test]
fn custom_lines_say_what_their_groups_say() {
    let full =
        FactKind::TaskStart { number: Some(2), total: Some(9), id: Some("t-2".into()), title: Some("open it".into()) };
    let table: Vec<(&str, Vec<FactKind>)> = vec![
        ("BEGIN 2 of 9 id=t-2 open it", vec![full]),
        ("now t-2", vec![FactKind::TaskId("t-2".into())]),
        ("step#4 click", vec![step(4, "click")]),
        ("step#4", vec![FactKind::Step { number: 4, action: None }]),
        ("t-2 ok", vec![outcome("t-2", true)]),
        ("t-2 broken", vec![outcome("t-2", false)]),
        ("END t-2 points=0.5", vec![FactKind::Score(0.5), task_end("t-2", None)]),
        ("END t-2 ok", vec![task_end("t-2", Some(true))]),
        ("END t-2 bad", vec![task_end("t-2", Some(false))]),
        ("there are 9 tasks", vec![FactKind::Total(9)]),
        ("using \x1b[1mgpt-4o\x1b[0m", vec![FactKind::Model("gpt-4o".into())]),
        ("anything else", vec![]),
    ];
    for (line, kinds) in table {
        assert_eq!(said(&custom(), line), kinds, "{line:?}");
    }
    assert_eq!(said(&custom(), b"now \xff\xfe"), [FactKind::TaskId("\u{fffd}\u{fffd}".into())]);
}

#[test]
fn every_mistake_in_custom_patterns_is_told_with_its_key() {
    let some = |pattern: &str| Some(pattern.to_owned());
    let patterns = CustomPatterns {
        task: some("(?<id>x)"),
        step: some("(?<step>"),
        outcome: some("(?<pass>a)(?<passed>b)"),
        score: some(r"(?<score>\w{1000}{1000})"),
        ..CustomPatterns::default()
    };
    let errors = CustomDialect::new(&patterns).unwrap_err();
    let keys: Vec<_> = errors.iter().map(|error| error.key).collect();
    assert_eq!(keys, ["task", "step", "outcome", "score"]);
    assert!(errors[0].message.contains("(?<task>...)"), "{errors:?}");
    assert!(errors[2].message.contains("`passed`"), "{errors:?}");
    let none = CustomDialect::new(&CustomPatterns::default()).unwrap_err();
    assert!(matches!(&none[..], [CustomError { key: "task_start", .. }]), "{none:?}");
}

/// What a whole log says under `profile`.
fn read_whole(profile: &Profile, log: &str) -> Vec<FactKind> {
    let mut parser = LineParser::new(profile, Found::default());
    let mut facts = Vec::new();
    log.split('\n').for_each(|line| {
        parser.parse(0, line.as_bytes(), &mut facts);
    });
    facts.into_iter().map(|fact| fact.kind).collect()
}

#[test]
fn once_a_log_showed_its_loggers_prefix_text_without_it_is_nobodys_result() {
    let p = "[2026-01-02 10:11:12,345 INFO run/245-MainProcess] ";
    let log = format!(
        "{p}[Domain]: chrome\n{p}[Example ID]: 1-WOS\n{p}Agent: I will print\nResult: 1.00\n[Domain]: chrome is the domain\n\
         [Example ID]: fake\nFinished chrome/1-WOS\n{p}Result: 0.00\n{p}Finished chrome/1-WOS"
    );
    for profile in [Profile::Waa, Profile::Auto] {
        let said = read_whole(&profile, &log);
        let verdicts: Vec<_> = said.iter().filter(|kind| matches!(kind, FactKind::Verdict(_))).collect();
        assert_eq!(verdicts, [&FactKind::Verdict(0.0)], "{profile:?}");
        assert_eq!(said.iter().filter(|kind| matches!(kind, FactKind::TaskStart { .. })).count(), 1, "{said:?}");
        assert_eq!(said.iter().filter(|kind| matches!(kind, FactKind::TaskEnd { .. })).count(), 1, "{said:?}");
    }
}

#[test]
fn a_line_that_looks_like_openadapt_does_not_hide_a_waa_log() {
    let p = "[2026-01-02 10:11:12,345 INFO run/245-MainProcess] ";
    for first in ["Task 1/2: open chrome\n".to_owned(), format!("{p}Task 1/2: open chrome\n")] {
        let said = read_whole(&Profile::Auto, &format!("{first}{p}[Domain]: a\n{p}[Example ID]: 1\n{p}Finished a/1"));
        assert!(said.contains(&FactKind::ExampleId("1".to_owned())), "{said:?}");
        assert!(said.iter().any(|kind| matches!(kind, FactKind::TaskEnd { .. })), "{said:?}");
    }
}
