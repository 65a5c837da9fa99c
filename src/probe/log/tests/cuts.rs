//! The promise of SEMANTICS 3 as far as it is the reader's: the cut into polls changes nothing.

use proptest::prelude::*;

use super::disk::{Disk, Follower};
use super::*;
use crate::model::ErrorCode;

/// Cap on lines in these tests: small, so that long lines are frequent.
const CAP: usize = 120;

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let lines = [
        "Task 5/30: notepad_1",
        "2026-01-02 10:11:12,345 - INFO - Task 6/30: notepad_2",
        "Running task: täsk_005",
        "Step 12: CLICK",
        "Task task_005 completed successfully",
        "Task 99999999999/0",
        "Result: PASS",
        "Result: 1.00",
        "Score: 0.85",
        "Completed: 5, Remaining: 25",
        "model=gpt-4o",
        "\x1b[1;33m[2026-01-02 10:11:12,345 \x1b[31mINFO \x1b[32mrun/245-MainProcess\x1b[1;33m] \x1b[0m[Domain]: chrome",
        "[2026-01-02 10:11:12,345 INFO run/245-EnvProcess-1] [Example ID]: 4abc-WOS",
        "[Domain]: os",
        "[Instruction]: Change the default search engine ...",
        "Finished chrome/4abc-WOS",
        "Exception in chrome/4abc-WOS: boom",
        "Example:  40%|████      | 2/5 [10:11<15:16, 305.6s/it]",
        "Average score: 0.42",
        "BEGIN 2 of 9 id=t-2 open it",
        "now t-2",
        "t-2 ok",
        "END t-2 points=0.5",
    ];
    prop_oneof![
        6 => prop::sample::select(lines.to_vec()).prop_map(|line| line.as_bytes().to_vec()),
        6 => prop::sample::select(vec!["\n", "\r", "\r\n", "\n\n"]).prop_map(|end| end.as_bytes().to_vec()),
        2 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (any::<u8>(), 0..400_usize).prop_map(|(byte, len)| vec![byte; len]),
        1 => Just(b"\0\x1b[".to_vec()),
    ]
}

/// A line that says something, with anything behind, before and within it.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..400);
    (prop::collection::vec(any::<u8>(), 0..3), piece(), any::<prop::sample::Index>(), bytes(), bytes()).prop_map(
        |(before, piece, at, within, behind)| {
            let (start, end) = piece.split_at(at.index(piece.len() + 1));
            let within = &within[..within.len() / 100];
            [&before, start, within, end, &behind].concat()
        },
    )
}

fn log() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(piece(), 0..60).prop_map(|pieces| pieces.concat())
}

fn profile() -> impl Strategy<Value = Profile> {
    prop::sample::select(vec![Profile::Auto, Profile::Openadapt, Profile::Waa, custom()])
}

fn follower(profile: &Profile, chunk: usize) -> Follower {
    Follower { cap: CAP, chunk, ..Follower::new(profile.clone()) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_into_polls_and_chunks_gives_the_same_facts(
        bytes in log(),
        profile in profile(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        chunk in CAP + 1..2000,
    ) {
        let mut whole = follower(&profile, 1 << 20);
        whole.poll(&Disk::with(7, &bytes));

        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        let mut cut = follower(&profile, chunk);
        for end in ends {
            cut.poll(&Disk::with(7, &bytes[..end]));
            // A restart loses nothing but the cursor.
            let text = serde_json::to_string(&cut.cursor).unwrap();
            cut.cursor = serde_json::from_str(&text).unwrap();
        }
        prop_assert_eq!(&cut.facts, &whole.facts);
        prop_assert_eq!(&cut.cursor, &whole.cursor);
        prop_assert_eq!(&cut.rest, &whole.rest);
    }

    #[test]
    fn the_lines_alone_decide(bytes in log(), profile in profile()) {
        let mut whole = follower(&profile, 1 << 20);
        whole.poll(&Disk::with(7, &bytes));

        let mut parser = LineParser::new(&profile, Found::default());
        let mut facts = Vec::new();
        let mut at = 0;
        for line in bytes.split_inclusive(|b| *b == b'\n' || *b == b'\r') {
            let hole = line.iter().take_while(|byte| **byte == 0).count();
            let (begins, text) = (at + hole as u64, &line[hole..]);
            let ended = matches!(text.last(), Some(b'\n' | b'\r'));
            if ended && text.len() - 1 <= CAP {
                parser.parse(begins, &text[..text.len() - 1], &mut facts);
            }
            at += line.len() as u64;
        }
        let told: Vec<_> = whole.facts.into_iter().map(|(_, fact)| fact).collect();
        prop_assert_eq!(told, facts);
    }

    #[test]
    fn rotations_between_any_polls_lose_nothing(
        logs in prop::collection::vec((log(), any::<prop::sample::Index>()), 1..5),
        profile in profile(),
        chunk in CAP + 1..2000,
    ) {
        let mut followed = follower(&profile, chunk);
        let mut disk = Disk::default();
        let mut wanted = Vec::new();
        for (n, (bytes, cut)) in logs.iter().enumerate() {
            // As a date would: a file whose first bytes repeat all that was read of the one before is, by the hashes,
            // still that one.
            let bytes = [format!("log {n}\r").as_bytes(), bytes, b"\n"].concat();
            let cut = cut.index(bytes.len()) + 1;
            disk.rotate(n as u64 + 10, &bytes[..cut]);
            followed.poll(&disk);
            disk.write(&bytes[cut..]);
            let mut alone = follower(&profile, 1 << 20);
            alone.poll(&Disk::with(1, &bytes));
            wanted.extend(alone.facts.into_iter().map(|(_, fact)| (n as u64 + 1, fact)));
        }
        followed.poll(&disk);
        prop_assert_eq!(followed.facts, wanted);
        prop_assert!(followed.problems.iter().all(|problem| problem.code == ErrorCode::LogFormat));
    }

    #[test]
    fn texts_are_clean_and_short_whatever_the_line_holds(line in line(), profile in profile()) {
        for fact in facts_of(&profile, &line) {
            prop_assert!(fact.log_time.is_none_or(|time| time.len() < 40));
            for text in texts(fact.kind) {
                prop_assert!(!text.is_empty() && text.chars().count() <= 256, "{:?}", text);
                prop_assert!(!text.chars().any(char::is_control), "{:?}", text);
            }
        }
    }
}

/// Every text of a fact.
fn texts(kind: FactKind) -> Vec<String> {
    match kind {
        FactKind::TaskStart { id, title, .. } => id.into_iter().chain(title).collect(),
        FactKind::TaskId(text) | FactKind::ExampleId(text) | FactKind::Instruction(text) | FactKind::Model(text) => {
            vec![text]
        }
        FactKind::Step { action: text, .. }
        | FactKind::Outcome { task: text, .. }
        | FactKind::TaskEnd { task: text, .. } => text.into_iter().collect(),
        FactKind::Score(_) | FactKind::Verdict(_) | FactKind::Total(_) | FactKind::AverageScore(_) => Vec::new(),
    }
}
