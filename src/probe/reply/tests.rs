use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::BootMark;

fn request(logs: usize) -> PollRequest {
    PollRequest {
        nonce: Nonce::random(),
        container: Some("winarena".to_owned()),
        container_since: None,
        probe_url: Some("http://127.0.0.1:1/probe".to_owned()),
        process_pattern: "python".to_owned(),
        logs: (0..logs).map(|i| LogCursor { offset: 4, ..LogCursor::start(&format!("/log{i}")) }).collect(),
        continuation: false,
        timeout: Duration::from_secs(10),
    }
}

const FOUND: &[u8] = b"found\n[\"f00\",\"/winarena\",\"x/windows\",\"running\",\"2026-01-02T03:04:05Z\"]\n";
const INSIDE: &[u8] = b"process 9 500\nprocess 7 400\nprocess 8 400\nstorage 10 20\nmemory 5 max\nqemu open\ndone\n";

fn full(request: &PollRequest) -> ReplyWriter {
    ReplyWriter::new(&request.nonce)
        .section("clock", b"1795417745.214744300\n")
        .section("container", FOUND)
        .section("boot", b"Booting Windows\n")
        .section("inside", INSIDE)
        .section("probe", b"answered\n{\"status\":\n\"ok\"}\n200\n")
}

fn with_log(writer: ReplyWriter, prefix: &str, data: &[u8]) -> ReplyWriter {
    writer
        .section(&format!("{prefix}.stat"), b"3 77 1000\n")
        .section(&format!("{prefix}.data"), data)
        .section(&format!("{prefix}.head"), b"head")
        .section(&format!("{prefix}.before"), b"befo")
}

fn valid(request: &PollRequest, data: &[u8]) -> Vec<u8> {
    with_log(with_log(full(request), "log.0", data), "log.0.old", b"old").section("log.1.stat", b"missing\n").end()
}

#[test]
fn a_whole_reply_is_read() {
    let request = request(2);
    let mut bytes = b"motd of a login shell\n".to_vec();
    bytes.extend(valid(&request, b"\n--f00 end\n\0\xff"));
    let Reply { seen, logs } = read(&request, &bytes).unwrap();
    assert_eq!(seen.clock, Some(1_795_417_745.214_744_3));
    assert!(matches!(&seen.container, ContainerSeen::Found(found) if found.name == "winarena" && found.running));
    assert_eq!(seen.boot, [BootMark::Booting]);
    assert_eq!(seen.process, Some(ProcessCheck::Present(ProcessSeen { pid: 7, start_ticks: 400 })), "the oldest");
    assert_eq!(seen.storage, Some(StorageUse { used: 10_240, total: 20_480 }));
    assert_eq!(seen.memory, Some(MemoryUse { used: 5, limit: None }));
    assert_eq!(seen.qemu_monitor, Some(true));
    assert_eq!(seen.probe, ProbeReply::Answered("{\"status\": \"ok\"}".to_owned()));
    let current = logs[0].current.as_ref().unwrap();
    assert_eq!((current.dev, current.inode, current.size, current.data_offset), (3, 77, 1000, 4));
    assert_eq!(current.data, b"\n--f00 end\n\0\xff");
    assert_eq!(logs[0].renamed.as_ref().unwrap().data, b"old");
    assert_eq!(logs[1], RawLog::default());
}

#[test]
fn a_reply_cut_anywhere_is_no_reply() {
    let request = request(2);
    let bytes = valid(&request, b"Task 1/2: a\n");
    for cut in 0..bytes.len() {
        let failure = read(&request, &bytes[..cut]).unwrap_err();
        assert_eq!(failure.code, ErrorCode::ReplyMalformed, "cut at {cut}");
    }
}

#[test]
fn g65_sections_other_than_asked_for_are_refused() {
    let request = request(1);
    let stat = |writer: ReplyWriter, text: &str| writer.section("log.0.stat", text.as_bytes());
    let whole = || with_log(full(&request), "log.0", b"");
    let other = ReplyWriter::new(&Nonce::random()).end();
    for (name, bytes) in [
        ("another nonce", other),
        ("only an end", ReplyWriter::new(&request.nonce).end()),
        ("something after the end", [whole().end(), b"x".to_vec()].concat()),
        ("two ends", [whole().end(), ReplyWriter::new(&request.nonce).end()].concat()),
        ("an unknown section", whole().section("extra", b"").end()),
        ("a doubled section", whole().section("log.0.before", b"").end()),
        ("a doubled first section", ReplyWriter::new(&request.nonce).section("clock", b"1").end()),
        ("no logs", full(&request).end()),
        ("another log", with_log(full(&request), "log.1", b"").end()),
        ("a file in a log that is missing", with_log(stat(full(&request), "missing"), "log.0", b"").end()),
        ("stat of two numbers", stat(full(&request), "1 2").end()),
        ("stat of words", stat(full(&request), "a b c").end()),
        ("stat of a negative", stat(full(&request), "1 -2 3").end()),
        ("no data", stat(full(&request), "1 2 3").end()),
        (
            "a long head",
            stat(full(&request), "1 2 3").section("log.0.data", b"").section("log.0.head", &[0; 1025]).end(),
        ),
        ("too much data", with_log(full(&request), "log.0", &vec![0; LOG_CHUNK as usize + 1]).end()),
    ] {
        let failure = read(&request, &bytes).unwrap_err();
        assert_eq!(failure.code, ErrorCode::ReplyMalformed, "{name}: {}", failure.message);
    }
    read(&request, &whole().end()).unwrap();
}

#[test]
fn g65_a_reply_above_the_cap_is_refused() {
    let request = request(0);
    let failure = read(&request, &vec![b'x'; request.reply_cap() as usize + 1]).unwrap_err();
    assert_eq!(failure.code, ErrorCode::ReplyTooLarge);
}

#[test]
fn a_continuation_has_the_clock_and_the_logs() {
    let request = PollRequest { continuation: true, ..request(1) };
    let clock = || ReplyWriter::new(&request.nonce).section("clock", b"1795417745.%N\n");
    let Reply { seen, logs } = read(&request, &with_log(clock(), "log.0", b"x").end()).unwrap();
    assert!(seen.continuation && seen.process.is_none());
    assert_eq!(seen.clock, Some(1_795_417_745.0));
    assert_eq!(logs[0].current.as_ref().unwrap().data, b"x");
    assert!(read(&request, &with_log(full(&request), "log.0", b"x").end()).is_err());
}

#[test]
fn what_the_container_says_wrongly_is_unknown_and_ends_nothing() {
    for (text, expected) in [
        ("process none\ndone\n", ProcessCheck::Absent),
        ("done\n", ProcessCheck::Failed("the process list could not be read".to_owned())),
        ("", ProcessCheck::Failed("the container's shell said nothing".to_owned())),
        ("process none\n", ProcessCheck::Failed("process none".to_owned())),
        ("process failed \x1b[1mno\n", ProcessCheck::Failed(" [1mno".to_owned())),
        ("process x y\ndone\n", ProcessCheck::Failed("the process list could not be read".to_owned())),
        ("process 5 x\ndone\n", ProcessCheck::Present(ProcessSeen { pid: 5, start_ticks: 0 })),
        (
            "process none\nprocess 99999999999 1\nprocess 3 1\ndone",
            ProcessCheck::Present(ProcessSeen { pid: 3, start_ticks: 1 }),
        ),
    ] {
        let mut seen = Observation::empty(None);
        inside(text, &mut seen);
        assert_eq!(seen.process, Some(expected), "{text:?}");
    }
    let mut seen = Observation::empty(None);
    inside("storage 99999999999999999999 1\nstorage -1 2\nmemory x y\nmemory 5 9223372036854771712\ndone", &mut seen);
    assert_eq!(seen.storage, None);
    assert_eq!(seen.memory, Some(MemoryUse { used: 5, limit: None }));
}

#[test]
fn only_a_good_status_counts_as_an_answer() {
    for (text, expected) in [
        ("none\n", ProbeReply::NotConfigured),
        ("answered\n", ProbeReply::Silent),
        ("answered\nunknown\n", ProbeReply::Silent),
        ("answered\n\n000", ProbeReply::Silent),
        ("answered\n<html>\n502", ProbeReply::Silent),
        ("answered\n\n204", ProbeReply::Answered(String::new())),
        ("answered\na\x1bb\n200", ProbeReply::Answered("a b".to_owned())),
        ("answered\n200", ProbeReply::Answered(String::new())),
    ] {
        assert_eq!(probe(text).unwrap(), expected, "{text:?}");
    }
    assert!(probe("what").is_err());
}

proptest! {
    #[test]
    fn g65_no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), at in 0usize..2000) {
        let request = request(2);
        let _ = read(&request, &bytes);
        let mut reply = valid(&request, b"data");
        let at = at % reply.len();
        for (place, byte) in reply[at..].iter_mut().zip(&bytes) {
            *place = *byte;
        }
        let _ = read(&request, &reply);
    }

    #[test]
    fn log_bytes_come_through_as_they_are(data in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let request = request(2);
        let reply = read(&request, &valid(&request, &data)).unwrap();
        prop_assert_eq!(&reply.logs[0].current.as_ref().unwrap().data, &data);
    }
}
