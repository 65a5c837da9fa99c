use super::disk::{Disk, Follower};
use super::*;
use crate::model::{Dialect, ErrorCode, LogCursor};
use crate::probe::log::{PART_TURNS, RawLog};

fn told(follower: &Follower) -> Vec<(u64, u64, String)> {
    follower
        .facts
        .iter()
        .map(|(generation, fact)| match &fact.kind {
            FactKind::TaskId(id) => (*generation, fact.offset, id.clone()),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn line(id: &str) -> String {
    format!("Running task: {id}\n")
}

fn row(generation: u64, offset: usize, id: &str) -> (u64, u64, String) {
    (generation, offset as u64, id.to_owned())
}

fn codes(follower: &Follower) -> Vec<ErrorCode> {
    follower.problems.iter().map(|problem| problem.code).collect()
}

#[test]
fn a_growing_log_is_read_on_from_where_it_stopped() {
    let mut log = Follower::new(Profile::Auto);
    let mut disk = Disk::default();
    let read = log.poll(&disk);
    assert!(!read.exists && read.parts.is_empty() && read.size == 0);
    disk = Disk::with(7, b"");
    let read = log.poll(&disk);
    assert!(read.exists);
    assert_eq!((log.cursor.generation, log.cursor.inode, log.cursor.offset), (1, 7, 0));
    for n in 0..200 {
        disk.write(line(&format!("t{n}")).as_bytes());
        log.poll(&disk);
        assert_eq!(log.cursor.offset, log.known_size);
    }
    assert_eq!(told(&log).len(), 200);
    assert_eq!(log.cursor.dialect, Some(Dialect::Openadapt));
    assert_eq!(log.problems, []);
    assert!(log.poll(&disk).parts.is_empty(), "nothing new, no parts");
}

#[test]
fn a_half_line_waits_and_is_told_as_the_rest() {
    let mut log = Follower::new(Profile::Auto);
    let mut disk = Disk::with(7, b"hello\nRunning task: ta");
    log.poll(&disk);
    assert_eq!((log.facts.len(), log.cursor.offset), (0, 6));
    let rest = log.rest.clone().unwrap();
    assert_eq!(rest.facts[0].kind, FactKind::TaskId("ta".into()));
    assert_eq!((rest.cursor.offset, rest.cursor.dialect), (22, Some(Dialect::Openadapt)));
    assert_eq!(log.cursor.dialect, None);
    disk.write(b"sk_1\r\n");
    log.poll(&disk);
    assert_eq!(told(&log), [row(1, 6, "task_1")]);
    assert_eq!(log.rest, None);

    disk.write(b"Running task: last");
    log.poll(&disk);
    log.cursor = log.rest.clone().unwrap().cursor;
    log.poll(&disk);
    assert_eq!((log.facts.len(), log.rest.clone()), (1, None), "a rest that was taken is not told again");
    disk.write(b"\nRunning task: next\n");
    log.poll(&disk);
    assert_eq!(log.facts.last().unwrap().1.kind, FactKind::TaskId("next".into()));
}

#[test]
fn a_renamed_log_is_read_to_its_end_before_the_new_one() {
    for chunk in [70_000, 100_000, 1 << 20] {
        let mut log = Follower::new(Profile::Auto);
        log.chunk = chunk;
        let mut disk = Disk::with(7, line("a").as_bytes());
        log.poll(&disk);
        let filler = "x\n".repeat(100_000);
        disk.write(filler.as_bytes());
        disk.write(line("b").as_bytes());
        disk.write(b"Running task: c");
        disk.rotate(8, line("d").as_bytes());
        log.poll(&disk);
        let b = 16 + filler.len();
        assert_eq!(told(&log), [row(1, 0, "a"), row(1, b, "b"), row(1, b + 16, "c"), row(2, 0, "d")]);
        assert_eq!(log.cursor.inode, 8);
        assert_eq!(log.problems, []);
    }
}

#[test]
fn a_renamed_log_is_kept_while_nothing_took_its_place() {
    let mut log = Follower::new(Profile::Openadapt);
    let mut disk = Disk::with(7, line("a").as_bytes());
    log.poll(&disk);
    disk.rotate(8, b"");
    disk.renamed.as_mut().unwrap().bytes.extend(line("b").into_bytes());
    assert!(log.poll(&disk).exists);
    disk.renamed.as_mut().unwrap().bytes.extend(line("c").into_bytes());
    disk.current = None;
    assert!(!log.poll(&disk).exists);
    assert_eq!(told(&log), [row(1, 0, "a"), row(1, 16, "b"), row(1, 32, "c")]);
    disk.current = Disk::with(8, line("d").as_bytes()).current;
    log.poll(&disk);
    assert_eq!(told(&log)[3], row(2, 0, "d"));
    assert_eq!(log.problems, []);
}

#[test]
fn a_log_renamed_before_its_first_line_ended_is_not_taken_for_the_new_one() {
    let mut log = Follower::new(Profile::Openadapt);
    let mut disk = Disk::with(7, b"Running task: a");
    log.poll(&disk);
    disk.rotate(8, line("b").as_bytes());
    log.poll(&disk);
    assert_eq!(told(&log), [row(1, 0, "a"), row(2, 0, "b")]);
    assert_eq!(log.problems, []);
}

#[test]
fn a_log_replaced_without_a_trace_is_a_new_generation_and_what_was_known_to_be_lost_is_told() {
    // Truncated in place (also by copytruncate), replaced under the same inode, and replaced under another.
    for (inode, half, then) in
        [(7, "", "b"), (7, "", "a-name-long-enough-to-hide-it"), (7, "half", "b"), (9, "half", "b")]
    {
        let mut log = Follower::new(Profile::Auto);
        let before = format!("{}{half}", line("a"));
        log.poll(&Disk::with(7, before.as_bytes()));
        assert_eq!(log.cursor.dialect, Some(Dialect::Openadapt));
        let disk = Disk::with(inode, format!("[Domain]: x\n{}", line(then)).as_bytes());
        let first = log.take(&disk.ask(&log.cursor, 1 << 20));
        assert_eq!(first.parts.len(), 1);
        assert_eq!((first.parts[0].facts.len(), first.unread > 0), (0, true));
        let fresh = LogCursor { generation: 2, dev: 1, inode, ..LogCursor::start("/log") };
        assert_eq!(log.cursor, fresh);
        log.poll(&disk);
        assert_eq!(log.facts.len(), 2, "the dialect is found anew: {:?}", log.facts);
        assert_eq!(log.cursor.dialect, Some(Dialect::Waa));
        if half.is_empty() {
            assert_eq!(log.problems, []);
        } else {
            assert_eq!(codes(&log), [ErrorCode::LogGap]);
            assert!(log.problems[0].message.starts_with("4 bytes"), "{:?}", log.problems);
        }
    }
}

#[test]
fn a_log_truncated_to_nothing_and_regrown_is_a_new_generation() {
    let mut log = Follower::new(Profile::Openadapt);
    log.poll(&Disk::with(7, line("a").as_bytes()));
    log.poll(&Disk::with(7, b""));
    assert_eq!((log.cursor.generation, log.cursor.offset), (2, 0));
    log.poll(&Disk::with(7, line("a").as_bytes()));
    assert_eq!(told(&log), [row(1, 0, "a"), row(2, 0, "a")]);
}

#[test]
fn a_log_whose_unread_end_was_cut_off_is_the_same_with_a_gap() {
    let mut log = Follower::new(Profile::Openadapt);
    log.poll(&Disk::with(7, b"Running task: a\nhalf a line"));
    log.poll(&Disk::with(7, b"Running task: a\nhalf"));
    assert_eq!((log.cursor.generation, codes(&log)), (1, vec![ErrorCode::LogGap]));
}

#[test]
fn a_copy_under_another_inode_is_the_same_log() {
    let mut log = Follower::new(Profile::Openadapt);
    log.poll(&Disk::with(7, line("a").as_bytes()));
    log.poll(&Disk::with(9, format!("{}{}", line("a"), line("b")).as_bytes()));
    assert_eq!(told(&log), [row(1, 0, "a"), row(1, 16, "b")]);
    assert_eq!(log.cursor.inode, 9);
}

#[test]
fn a_log_that_is_away_for_a_while_is_read_on() {
    let mut log = Follower::new(Profile::Openadapt);
    let mut disk = Disk::with(7, line("a").as_bytes());
    log.poll(&disk);
    let kept = log.cursor.clone();
    let read = log.poll(&Disk::default());
    assert!(!read.exists && read.parts.is_empty());
    assert_eq!(log.cursor, kept);
    disk.write(line("b").as_bytes());
    log.poll(&disk);
    assert_eq!(told(&log), [row(1, 0, "a"), row(1, 16, "b")]);
}

#[test]
fn the_first_kibibyte_and_the_last_256_bytes_decide_whether_it_is_the_same_file() {
    let whole: String = (0..200).map(|n| format!("some line {n:05}\n")).collect();
    let size = whole.len();
    // Inode and size stay as they were: they decide nothing.
    for (changed, same) in [(0, false), (1023, false), (1024, true), (size - 257, true), (size - 256, false)] {
        let mut log = Follower::new(Profile::Openadapt);
        log.poll(&Disk::with(7, whole.as_bytes()));
        assert_eq!((log.cursor.generation, log.cursor.offset), (1, size as u64));
        let mut bytes = whole.clone().into_bytes();
        bytes[changed] ^= 1;
        log.poll(&Disk::with(7, &bytes));
        assert_eq!(log.cursor.generation == 1, same, "byte {changed} of {size}");
        assert_eq!(log.cursor.offset, size as u64, "and all of it is read");
    }
}

#[test]
fn an_inode_used_again_does_not_pass_for_the_renamed_log() {
    let mut log = Follower::new(Profile::Openadapt);
    log.poll(&Disk::with(7, line("a").as_bytes()));
    let mut disk = Disk::with(7, b"something else that is longer\n");
    disk.rotate(8, line("b").as_bytes());
    log.poll(&disk);
    assert_eq!(told(&log), [row(1, 0, "a"), row(2, 0, "b")]);
}

#[test]
fn what_cannot_be_read_says_why_and_keeps_the_cursor() {
    let mut log = Follower::new(Profile::Openadapt);
    log.poll(&Disk::with(7, line("a").as_bytes()));
    let kept = log.cursor.clone();
    let refused = RawLog { unreadable: Some("cat: Permission denied\n".to_owned()), ..RawLog::default() };
    let read = log.take(&refused);
    assert!(read.exists && read.parts.is_empty() && read.unread == 0);
    let mut shifted = Disk::with(7, line("a").as_bytes()).ask(&kept, 100);
    shifted.current.as_mut().unwrap().data_offset += 1;
    assert_eq!(log.take(&shifted).unread, 0);
    let mut starved = Disk::with(7, format!("{}{}", line("a"), line("b")).as_bytes()).ask(&kept, 5);
    assert_eq!(log.take(&starved).unread, 0, "no endless asking");
    starved.current.as_mut().unwrap().data.clear();
    log.take(&starved);
    assert_eq!(log.cursor, kept);
    assert_eq!(codes(&log), [ErrorCode::LogUnreadable; 4]);
}

#[test]
fn a_file_that_grew_while_it_was_read_is_read_as_far_as_it_came() {
    let mut log = Follower::new(Profile::Openadapt);
    let mut raw = Disk::with(7, format!("{}{}", line("a"), line("b")).as_bytes()).ask(&log.cursor, 1000);
    raw.current.as_mut().unwrap().size = 16;
    let read = log.take(&raw);
    assert_eq!((read.size, read.unread, log.cursor.offset), (32, 0, 32));
}

#[test]
fn parts_hold_at_most_64_turns_and_each_cursor_can_be_read_on_from() {
    let mut text = String::from("model=m\n");
    for n in 0..1000 {
        text += &format!("Step {n}: CLICK\nRunning task: t{n}\nResult: PASS\nScore: 1\nnoise\n");
    }
    let disk = Disk::with(7, text.as_bytes());
    let mut whole = Follower::new(Profile::Auto);
    let read = whole.poll(&disk);
    assert!(read.parts.len() >= 3000 / PART_TURNS);
    assert_eq!(read.parts.last().unwrap().cursor.offset, text.len() as u64);
    for cut in (0..read.parts.len()).step_by(7) {
        let turning = |fact: &&LogFact| !matches!(fact.kind, FactKind::Model(_) | FactKind::Step { .. });
        assert!(read.parts[cut].facts.iter().filter(turning).count() <= PART_TURNS);
        let mut resumed = Follower::new(Profile::Auto);
        resumed.cursor = read.parts[cut].cursor.clone();
        resumed.poll(&disk);
        let before: usize = read.parts[..=cut].iter().map(|part| part.facts.len()).sum();
        assert_eq!(resumed.facts, whole.facts[before..], "from part {cut}");
        assert_eq!(resumed.cursor, whole.cursor);
    }
}
