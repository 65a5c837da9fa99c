use super::disk::{Disk, Follower};
use super::*;
use crate::model::ErrorCode;
use crate::probe::log::{CHUNK, MAX_LINE, RawFile, RawLog};

#[test]
fn a_line_over_the_cap_is_passed_over_whole_and_one_at_the_cap_is_read() {
    for (len, facts) in [(MAX_LINE, 2), (MAX_LINE + 1, 1), (3 * CHUNK, 1)] {
        let mut text = b"Running task: ".to_vec();
        text.resize(len, b'x');
        text.extend(b"\nRunning task: b");
        for terminator in ["\n", "\r", "\r\n"] {
            let mut log = Follower::new(Profile::Openadapt);
            log.poll(&Disk::with(7, &[&text[..], terminator.as_bytes()].concat()));
            assert_eq!(log.facts.len(), facts, "{len}");
            assert_eq!(log.facts.last().unwrap().1.offset, len as u64 + 1);
            let codes: Vec<_> = log.problems.iter().map(|problem| problem.code).collect();
            assert_eq!(codes.is_empty(), len <= MAX_LINE);
            assert!(codes.iter().all(|code| *code == ErrorCode::LogFormat));
        }
    }
}

#[test]
fn a_hundred_megabytes_without_a_newline_cost_one_chunk_of_memory() {
    let mut log = Follower::new(Profile::Auto);
    let size = 100_u64 << 20;
    let noise = vec![b'x'; CHUNK];
    let mut raw = RawLog::default();
    while log.cursor.offset < size {
        let behind = (log.cursor.offset as usize).min(256);
        raw.current = Some(RawFile {
            dev: 1,
            inode: 7,
            size,
            head: vec![b'x'; 1024],
            before: vec![b'x'; behind],
            data_offset: log.cursor.offset,
            data: noise.clone(),
        });
        let before = log.cursor.offset;
        let read = log.take(&raw);
        assert_eq!(log.cursor.offset, before + CHUNK as u64);
        assert!(read.rest.is_none() && log.cursor.overlong);
    }
    assert_eq!(log.problems.len(), 1, "told once: {:?}", log.problems);
    let file = raw.current.as_mut().unwrap();
    (file.size, file.data_offset, file.data) = (size + 30, size, b"xx\nRunning task: a\nand so on...".to_vec());
    log.take(&raw);
    assert_eq!((log.facts.len(), log.facts[0].1.offset), (1, size + 3));
}

#[test]
fn problems_of_one_reading_are_told_once_per_code() {
    let mut log = Follower::new(Profile::Openadapt);
    let mut text = b"Task 99999999999/0\nTask 2/1: x\nScore: nan\n\0\0Running task: a\n".to_vec();
    text.resize(text.len() + MAX_LINE + 1, b'y');
    log.poll(&Disk::with(7, &text));
    assert_eq!(log.facts.len(), 1);
    assert_eq!(log.problems.len(), 1);
    assert_eq!(
        log.problems[0].message,
        "3 lines with numbers that cannot be, ignored; 1 line longer than 64 KiB, passed over; 1 line with NUL bytes"
    );
}

#[test]
fn a_raw_reading_of_any_lengths_is_no_panic() {
    let mut log = Follower::new(Profile::Auto);
    log.poll(&Disk::with(7, &b"Running task: a\n".repeat(100)));
    let kept = log.cursor.clone();
    for offset in [0, 1, kept.offset, u64::MAX] {
        for size in [0, kept.offset, u64::MAX] {
            for (head, before, data) in [(0, 0, 0), (1024, 256, 10), (5000, 5000, 5000), (1, 1, 1)] {
                let file = RawFile {
                    dev: 1,
                    inode: 7,
                    size,
                    head: vec![b'z'; head],
                    before: vec![b'z'; before],
                    data_offset: offset,
                    data: vec![b'z'; data],
                };
                let raw = RawLog { current: Some(file.clone()), renamed: Some(file), unreadable: None };
                for start in [kept.clone(), crate::model::LogCursor::start("/log")] {
                    log.cursor = start;
                    log.take(&raw);
                }
            }
        }
    }
}

#[test]
fn a_cursor_that_was_tampered_with_is_no_panic() {
    let disk = Disk::with(7, &b"Running task: a\n".repeat(100));
    let mut log = Follower::new(Profile::Auto);
    log.poll(&disk);
    let good = log.cursor.clone();
    for tampered in [
        crate::model::LogCursor { head_len: u32::MAX, ..good.clone() },
        crate::model::LogCursor { before_len: 3, ..good.clone() },
        crate::model::LogCursor { offset: 5, ..good.clone() },
        crate::model::LogCursor { offset: u64::MAX, ..good.clone() },
        crate::model::LogCursor { generation: u64::MAX, head_hash: String::new(), ..good.clone() },
        crate::model::LogCursor { generation: 0, ..good },
    ] {
        log.cursor = tampered;
        log.take(&disk.ask(&log.cursor, CHUNK));
    }
}
