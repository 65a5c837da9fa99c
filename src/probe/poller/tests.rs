use std::collections::VecDeque;
use std::fs;
use std::sync::Mutex;

use super::*;
use crate::probe::ReplyWriter;
use crate::probe::transport::Local;

/// What a test's VM answers to one poll.
enum Answer {
    Container(&'static str, f64),
    Missing,
    Unavailable,
    Silence,
}

/// A VM that answers as told and writes down what it was asked.
struct Told {
    answers: VecDeque<Answer>,
    asked: Arc<Mutex<Vec<PollRequest>>>,
}

impl Transport for Told {
    fn run<'a>(
        &'a mut self,
        request: &'a PollRequest,
        _script: &'a str,
    ) -> BoxFuture<'a, Result<Vec<u8>, PollFailure>> {
        self.asked.lock().unwrap().push(request.clone());
        let (container, clock) = match self.answers.pop_front() {
            Some(Answer::Container(id, clock)) => {
                (format!("found\n[\"{id}\",\"/w\",\"i\",\"running\",\"2026-01-02T03:04:05Z\"]\n"), clock)
            }
            Some(Answer::Missing) => ("missing\n".to_owned(), 1.0),
            Some(Answer::Unavailable) => ("unavailable\nno daemon\n".to_owned(), 1.0),
            Some(Answer::Silence) | None => return Box::pin(std::future::pending()),
        };
        let bytes = ReplyWriter::new(&request.nonce)
            .section("clock", clock.to_string().as_bytes())
            .section("container", container.as_bytes())
            .section("boot", b"")
            .section("inside", b"process none\ndone\n")
            .section("probe", b"none\n")
            .end();
        Box::pin(async move { Ok(bytes) })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn logins(&self) -> u64 {
        0
    }
}

fn probe(answers: Vec<Answer>, power: Option<PowerSource>) -> (Probe, Arc<Mutex<Vec<PollRequest>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let config = ProbeConfig {
        container: Some("winarena".to_owned()),
        probe_url: None,
        process_pattern: DEFAULT_PROCESS_PATTERN.to_owned(),
        logs: Vec::new(),
    };
    let told = Told { answers: answers.into(), asked: Arc::clone(&asked) };
    (Probe::new(config, Box::new(told), power), asked)
}

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_containers_log_is_asked_for_from_the_last_look_at_that_container() {
    use Answer::{Container, Missing, Unavailable};
    let answers = vec![
        Container("a", 10.0),
        Container("a", 20.0),
        Unavailable,
        Container("b", 30.0),
        Container("b", 40.0),
        Missing,
        Container("b", 50.0),
    ];
    let count = answers.len() as u64;
    let (mut probe, asked) = probe(answers, None);
    for poll_no in 1..=count {
        probe.poll(poll_no, &[], false, LIMIT).await.outcome.unwrap();
    }
    let since: Vec<_> = asked.lock().unwrap().iter().map(|request| request.container_since).collect();
    assert_eq!(since, [None, Some(10.0), Some(20.0), Some(20.0), None, Some(40.0), None]);
    let nonces: Vec<_> = asked.lock().unwrap().iter().map(|request| request.nonce.as_str().to_owned()).collect();
    assert!(nonces.windows(2).all(|pair| pair[0] != pair[1]));
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_does_not_answer_is_a_report_at_the_end_of_its_time() {
    let (mut probe, _) = probe(vec![Answer::Silence], None);
    let report = probe.poll(7, &[], false, LIMIT).await;
    assert_eq!(report.outcome.unwrap_err().code, ErrorCode::SshTimeout);
    assert_eq!((report.poll_no, report.took), (7, LIMIT));
}

/// A power command that counts how often it runs and then says what stands in a file.
fn counting(folder: &std::path::Path) -> PowerSource {
    let script = format!("cd '{}'; echo >>count; cat power", folder.display());
    PowerSource::Command(crate::config::PowerConfig::Command { argv: vec!["sh".to_owned(), "-c".to_owned(), script] })
}

#[tokio::test]
async fn power_is_asked_when_the_vm_is_silent_and_not_at_each_poll() {
    use Answer::{Container, Silence};
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("power"), "off\n").unwrap();
    let limit = Duration::from_millis(20);
    let (mut probe, _) =
        probe(vec![Container("a", 1.0), Silence, Silence, Container("a", 2.0), Silence], Some(counting(folder.path())));
    let count = || fs::read_to_string(folder.path().join("count")).unwrap_or_default().lines().count();
    assert_eq!(probe.poll(1, &[], false, limit).await.power, None);
    assert_eq!(count(), 0);
    assert_eq!(probe.poll(2, &[], false, limit).await.power, Some(Power::Off));
    assert_eq!(probe.poll(3, &[], false, limit).await.power, Some(Power::Off));
    assert_eq!(count(), 1);
    assert_eq!(probe.poll(4, &[], false, limit).await.power, None);
    assert_eq!(probe.poll(5, &[], false, limit).await.power, None, "what it said before the VM answered is stale");
    assert_eq!(count(), 1);
}

#[tokio::test]
async fn a_power_source_that_fails_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (mut probe, _) = probe(vec![Answer::Silence], Some(counting(folder.path())));
    let report = probe.poll(1, &[], false, Duration::from_millis(20)).await;
    assert_eq!(report.power_failure.unwrap().code, ErrorCode::PowerFailed);
}

#[tokio::test]
async fn a_log_is_read_through_rotation_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("waa.log");
    let config = ProbeConfig {
        container: None,
        probe_url: None,
        process_pattern: "nothing [0-9]{30}".to_owned(),
        logs: vec![LogSource { path: path.to_str().unwrap().into(), profile: Profile::Auto }],
    };
    let mut probe = Probe::new(config, Box::new(Local::new()), None);
    let mut cursors: Vec<LogCursor> = Vec::new();
    let mut titles = Vec::new();
    let mut poll_no = 0;
    let task = |n: u32| format!("Task {n}/99: notepad_{n}\n");
    let mut next = 1;
    for step in 0..6 {
        let written = task(next) + &task(next + 1);
        next += 2;
        let mut log = fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut log, written.as_bytes()).unwrap();
        if step % 2 == 1 {
            // Rotated after the write, before the poll.
            fs::rename(&path, folder.path().join(format!("waa.log.{step}"))).unwrap();
            fs::write(&path, task(next)).unwrap();
            next += 1;
        }
        loop {
            poll_no += 1;
            let report = probe.poll(poll_no, &cursors, poll_no > 1 && step == 5, LIMIT).await;
            let unread = report.unread();
            for part in report.outcome.unwrap().logs.remove(0).parts {
                titles.extend(part.facts.iter().filter_map(|fact| match &fact.kind {
                    crate::model::FactKind::TaskStart { number, .. } => *number,
                    _ => None,
                }));
                cursors = vec![part.cursor];
            }
            if !unread {
                break;
            }
        }
    }
    assert_eq!(titles, (1..u64::from(next)).collect::<Vec<_>>());
    assert!(probe.raw(&cursors, LIMIT).await.unwrap().ends_with(b" end\n"));
    probe.close().await;
}

#[test]
fn a_poll_may_run_on_any_thread() {
    fn any_thread<T: Send>(_: T) {}
    let (mut probe, _) = probe(Vec::new(), None);
    any_thread(probe.poll(1, &[], false, LIMIT));
    any_thread(probe);
}
