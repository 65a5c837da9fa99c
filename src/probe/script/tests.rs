use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::model::{ContainerSeen, ProbeReply, ProcessCheck};
use crate::probe::Transport;
use crate::probe::log::RawLog;
use crate::probe::reply::{self, Reply};
use crate::probe::transport::Local;

fn request(logs: Vec<LogCursor>) -> PollRequest {
    PollRequest {
        nonce: Nonce::random(),
        container: None,
        container_since: None,
        probe_url: None,
        process_pattern: "no such process [0-9]{40}".to_owned(),
        logs,
        continuation: false,
        timeout: Duration::from_secs(8),
    }
}

async fn poll_with(mut transport: Local, request: &PollRequest) -> Reply {
    let script = Script::render(request);
    let bytes = transport.run(request, &script).await.unwrap();
    reply::read(request, &bytes).unwrap()
}

async fn poll(request: &PollRequest) -> Reply {
    poll_with(Local::new(), request).await
}

async fn look(cursor: &LogCursor) -> RawLog {
    let mut request = request(vec![cursor.clone()]);
    request.continuation = true;
    poll(&request).await.logs.remove(0)
}

fn cursor_at(path: &Path, offset: u64) -> LogCursor {
    let found = fs::metadata(path).unwrap();
    LogCursor { dev: found.dev(), inode: found.ino(), offset, ..LogCursor::start(path.to_str().unwrap()) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn g65_a_quoted_value_reaches_the_command_as_it_is(value in r#"[ -~'"$`\\\n\täß]{0,40}"#) {
        let output = Command::new("sh").arg("-c").arg(format!("printf %s {}", quote(&value))).output().unwrap();
        prop_assert_eq!(output.stdout, value.as_bytes());
    }
}

#[test]
fn g65_a_quoted_command_does_not_run() {
    for value in ["$(id)", "`id`", "'; id; '", "a'b\"c", "\n id \n", "'", "''", "\\", "\0'"] {
        let output = Command::new("sh").arg("-c").arg(format!("printf %s {}", quote(value))).output().unwrap();
        assert_eq!(output.stdout, value.replace('\0', "").as_bytes(), "{value:?}");
    }
}

#[test]
fn the_script_is_one_compound_command() {
    let text = Script::render(&request(vec![LogCursor::start("/tmp/a")]));
    assert!(text.starts_with("{\n") && text.ends_with("exit 0\n}\n"));
    let check = Command::new("sh").args(["-n", "-c", &text]).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[tokio::test]
async fn a_vm_without_a_container_is_looked_at_itself() {
    let seen = poll(&request(vec![])).await.seen;
    assert!(seen.clock.unwrap() > 1.7e9);
    assert_eq!(seen.container, ContainerSeen::NotConfigured);
    assert_eq!(seen.process, Some(ProcessCheck::Absent));
    assert_eq!(seen.probe, ProbeReply::NotConfigured);
    assert!(seen.storage.is_some_and(|disk| disk.used > 0 && disk.used <= disk.total));
    assert!(seen.memory.is_some_and(|memory| memory.used > 0 && memory.limit > Some(memory.used)));
    assert!(seen.qemu_monitor.is_some());
}

#[tokio::test]
async fn a_process_is_found_by_its_command_line_and_no_shell_of_the_poll_is_taken_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("python_run.py");
    fs::write(&name, "read -r line\n").unwrap();
    let mut request = request(vec![]);
    request.process_pattern = format!("sh {}", name.display());
    assert_eq!(poll(&request).await.seen.process, Some(ProcessCheck::Absent));
    let mut child = Command::new("sh").arg(&name).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let seen = poll(&request).await.seen.process;
    child.kill().unwrap();
    child.wait().unwrap();
    let Some(ProcessCheck::Present(process)) = seen else { panic!("{seen:?}") };
    assert_eq!(process.pid, child.id());
    assert!(process.start_ticks > 0);
    request.process_pattern = "(".to_owned();
    assert!(matches!(poll(&request).await.seen.process, Some(ProcessCheck::Failed(_))));
}

#[tokio::test]
async fn a_pgrep_of_somebody_else_is_not_taken_for_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let (pgrep, program) = (folder.path().join("pgrep"), folder.path().join("python_run.py"));
    let mut request = request(vec![]);
    request.process_pattern = program.display().to_string();
    let mut children = Vec::new();
    for (path, arguments) in [(&pgrep, vec!["-f", &request.process_pattern]), (&program, vec![])] {
        // Linux names a process after its script, as it does after any other program.
        fs::write(path, "#!/bin/sh\necho runs\nread -r line\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        let [input, output] = [std::process::Stdio::piped(), std::process::Stdio::piped()];
        let mut child = Command::new(path).args(arguments).stdin(input).stdout(output).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
        children.push(child);
        let seen = poll(&request).await.seen.process;
        match children.get(1) {
            None => assert_eq!(seen, Some(ProcessCheck::Absent)),
            Some(benchmark) => {
                let Some(ProcessCheck::Present(process)) = seen else { panic!("{seen:?}") };
                assert_eq!(process.pid, benchmark.id());
            }
        }
    }
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[tokio::test]
async fn the_process_is_looked_for_before_the_log_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (log, pgrep) = (folder.path().join("log"), folder.path().join("pgrep"));
    fs::write(&log, "a line\n").unwrap();
    // A benchmark that writes its last line and is gone at the very moment.
    fs::write(&pgrep, format!("#!/bin/sh\necho the last line >>{}\nexit 1\n", log.display())).unwrap();
    fs::set_permissions(&pgrep, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let reply = poll_with(Local::with_path(path), &request(vec![cursor_at(&log, 0)])).await;
    assert_eq!(reply.seen.process, Some(ProcessCheck::Absent));
    assert_eq!(reply.logs[0].current.as_ref().unwrap().data, b"a line\nthe last line\n");
}

#[tokio::test]
async fn a_growing_log_is_read_from_the_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::write(&path, "a".repeat(2000) + "bc").unwrap();
    let log = look(&LogCursor::start(path.to_str().unwrap())).await;
    let file = log.current.unwrap();
    assert_eq!((file.size, file.data.len(), file.head.len(), file.before.len()), (2002, 2002, 1024, 0));
    let log = look(&cursor_at(&path, 2001)).await;
    let file = log.current.unwrap();
    assert_eq!((file.data.as_slice(), file.data_offset), (b"c".as_slice(), 2001));
    assert_eq!(file.before, [vec![b'a'; 255], vec![b'b']].concat());
    assert_eq!(log.renamed, None);
    let log = look(&cursor_at(&path, 2002)).await;
    assert_eq!(log.current.unwrap().data, b"");
    // Truncated, as copytruncate does: the reader sees it from the size and the hashes.
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100).unwrap();
    let file = look(&cursor_at(&path, 2002)).await.current.unwrap();
    assert_eq!((file.size, file.data.len(), file.before.len(), file.head.len()), (100, 0, 0, 100));
    assert_eq!(look(&cursor_at(&path, 10)).await.current.unwrap().before.len(), 10);
}

#[tokio::test]
async fn more_than_a_chunk_waits_for_the_next_poll() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::write(&path, vec![b'x'; CHUNK + 5]).unwrap();
    let file = look(&LogCursor::start(path.to_str().unwrap())).await.current.unwrap();
    assert_eq!((file.data.len(), file.size), (CHUNK, CHUNK as u64 + 5));
    assert_eq!(look(&cursor_at(&path, CHUNK as u64)).await.current.unwrap().data, b"xxxxx");
}

#[tokio::test]
async fn a_renamed_log_is_found_by_its_inode_whatever_its_name() {
    for name in ["log.1", "it's a \"log\"; $(touch x) `id`", "two\nlines", "-rf", " "] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "old line\nlate\n").unwrap();
        let cursor = cursor_at(&path, 9);
        fs::rename(&path, folder.path().join(name)).unwrap();
        let log = look(&cursor).await;
        assert_eq!(log.current, None, "{name:?}");
        assert_eq!(log.renamed.unwrap().data, b"late\n", "{name:?}");
        fs::write(&path, "new file\n").unwrap();
        let log = look(&cursor).await;
        assert_eq!(log.renamed.unwrap().before, b"old line\n", "{name:?}");
        let current = log.current.unwrap();
        assert_eq!((current.head.as_slice(), current.data_offset), (b"new file\n".as_slice(), 9), "{name:?}");
    }
}

#[tokio::test]
async fn a_renamed_log_with_two_names_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::write(&path, "late\n").unwrap();
    let cursor = cursor_at(&path, 0);
    fs::hard_link(&path, folder.path().join("a")).unwrap();
    fs::rename(&path, folder.path().join("b")).unwrap();
    assert_eq!(look(&cursor).await.renamed.unwrap().data, b"late\n");
}

#[tokio::test]
async fn odd_paths_are_read_or_said_to_be_odd() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["it's", "a b", "new\nline", "$(touch x)", "-n", "ä\u{1b}[31m"] {
        fs::write(at(name), "here\n").unwrap();
        let log = look(&LogCursor::start(at(name).to_str().unwrap())).await;
        assert_eq!(log.current.unwrap().data, b"here\n", "{name:?}");
    }
    symlink(at("it's"), at("link")).unwrap();
    assert_eq!(look(&cursor_at(&at("link"), 0)).await.current.unwrap().data, b"here\n");
    assert_eq!(look(&LogCursor::start(at("missing").to_str().unwrap())).await, RawLog::default());
    assert_eq!(look(&LogCursor::start(at("no/folder").to_str().unwrap())).await, RawLog::default());
    assert!(look(&LogCursor::start(folder.path().to_str().unwrap())).await.unreadable.is_some());
    let pipe = at("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(look(&LogCursor::start(pipe.to_str().unwrap())).await.unreadable.is_some());
    if !rustix::process::geteuid().is_root() {
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o200).open(at("shut")).unwrap();
        assert!(look(&LogCursor::start(at("shut").to_str().unwrap())).await.unreadable.is_some());
    }
}

#[tokio::test]
async fn g65_a_log_cannot_forge_a_section_and_may_hold_any_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let request = request(vec![LogCursor::start(path.to_str().unwrap())]);
    let mut bytes = b"\n--end\n--0123456789abcdef0123456789abcdef end\n\0\xff\xfe\r\x1b[1m".to_vec();
    bytes.extend(0..=255u8);
    fs::write(&path, &bytes).unwrap();
    assert_eq!(poll(&request).await.logs[0].current.as_ref().unwrap().data, bytes);
}

/// A docker that is a shell script of the test's, first on the PATH of the poll.
struct Docker {
    folder: TempDir,
}

impl Docker {
    fn that(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker");
        fs::write(&path, format!("#!/bin/sh\nd={}\n{script}", folder.path().display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    /// One that knows the container `winarena`, whose inside is this machine.
    fn with_container(state: &str) -> Self {
        Self::that(&format!(
            r#"printf '%s\n' "$*" >>"$d/calls"
case $1 in
inspect) case "$*" in *" -- winarena" | *" -- f00") ;; *) echo "Error: No such object" >&2; exit 1 ;; esac
  printf 'f00 {state} 2026-01-02T03:04:05.6Z\n["f00","/winarena","x/windows:1","{state}","2026-01-02T03:04:05.6Z"]\n' ;;
ps) echo "aaa debian"; echo "f00 x/windows:1"; echo "bbb other/windows" ;;
logs) echo "Booting Windows"; echo "noise 1"; echo "noise 2" >&2 ;;
exec) shift 3; exec "$@" ;;
esac"#
        ))
    }

    fn path(&self) -> String {
        format!("{}:{}", self.folder.path().display(), std::env::var("PATH").unwrap())
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default()
    }

    async fn poll(&self, request: &PollRequest) -> Reply {
        poll_with(Local::with_path(self.path()), request).await
    }
}

fn of_container(name: &str) -> PollRequest {
    PollRequest { container: Some(name.to_owned()), ..request(vec![]) }
}

#[tokio::test]
async fn a_running_container_is_described_and_looked_into() {
    let docker = Docker::with_container("running");
    let seen = docker.poll(&of_container("winarena")).await.seen;
    let ContainerSeen::Found(found) = seen.container else { panic!("{:?}", seen.container) };
    assert_eq!((found.name.as_str(), found.image.as_str(), found.running), ("winarena", "x/windows:1", true));
    assert_eq!(found.started_at, "2026-01-02T03:04:05.6Z");
    assert_eq!(seen.boot, [crate::model::BootMark::Booting]);
    assert_eq!(seen.container_log_tail, "Booting Windows\nnoise 1\nnoise 2");
    assert_eq!(seen.process, Some(ProcessCheck::Absent));
    assert!(docker.calls().contains("logs --since 2026-01-02T03:04:05.6Z f00"), "{}", docker.calls());
    let mut next = of_container("winarena");
    next.container_since = Some(1_795_417_745.25);
    let seen = docker.poll(&next).await.seen;
    assert_eq!(seen.container_log_tail, "Booting Windows\nnoise 1\nnoise 2");
    assert!(docker.calls().contains("logs --since 1795417745.250000 f00"), "{}", docker.calls());
    assert!(!docker.calls().contains(next.nonce.as_str()));
}

#[tokio::test]
async fn another_windows_container_stands_in_for_a_missing_one() {
    let docker = Docker::with_container("running");
    let seen = docker.poll(&of_container("renamed")).await.seen;
    assert!(matches!(seen.container, ContainerSeen::Found(found) if found.id == "f00"));
    assert!(docker.calls().contains("exec -i f00 sh -s"), "{}", docker.calls());
}

#[tokio::test]
async fn a_stopped_container_has_no_process() {
    let docker = Docker::with_container("exited");
    let seen = docker.poll(&of_container("winarena")).await.seen;
    assert!(matches!(seen.container, ContainerSeen::Found(found) if !found.running && found.state == "exited"));
    assert_eq!(seen.process, Some(ProcessCheck::Absent));
    assert!(!docker.calls().contains("exec"));
}

#[tokio::test]
async fn a_missing_container_and_a_docker_that_does_not_answer_differ() {
    let none = Docker::that("case $1 in ps) echo 'aaa debian' ;; *) exit 1 ;; esac");
    let seen = none.poll(&of_container("winarena")).await.seen;
    assert_eq!(seen.container, ContainerSeen::Missing);
    assert_eq!(seen.process, Some(ProcessCheck::Absent));
    for (script, said) in [
        ("echo 'permission denied while trying to connect\n--x' >&2; exit 1", "permission denied"),
        ("exit 127", "no docker command"),
        ("sleep 30", "does not answer"),
    ] {
        let seen = Docker::that(script).poll(&of_container("winarena")).await.seen;
        assert!(
            matches!(&seen.container, ContainerSeen::DockerUnavailable(text) if text.contains(said)),
            "{:?}",
            seen.container
        );
        assert!(matches!(seen.process, Some(ProcessCheck::Failed(_))), "{:?}", seen.process);
    }
}

#[tokio::test]
async fn a_container_that_cannot_be_looked_into_fails_the_process_check() {
    for (exec, said) in [
        ("echo 'OCI runtime exec failed: no sh' >&2; exit 126", "no sh"),
        ("sleep 30", "in time"),
        ("exit 0", "said nothing"),
        ("echo process 12 34", "process 12 34"),
        ("head -c 3000000 /dev/zero | tr '\\0' 'x'", "xxx"),
    ] {
        let docker = Docker::that(&format!(
            r#"case $1 in
inspect) printf 'f00 running 2026\n["f00","/w","i","running","2026"]\n' ;;
exec) {exec} ;;
esac"#
        ));
        let seen = docker.poll(&of_container("winarena")).await.seen;
        assert!(
            matches!(&seen.process, Some(ProcessCheck::Failed(text)) if text.contains(said)),
            "{exec}: {:?}",
            seen.process
        );
    }
}

#[tokio::test]
async fn g65_a_value_with_a_command_in_it_runs_nothing() {
    let docker = Docker::with_container("running");
    let touched: PathBuf = docker.folder.path().join("touched");
    for evil in ["'; touch T; '", "$(touch T)", "`touch T`", "\"; touch T; \"", "a\ntouch T\n", "-v T"] {
        let evil = evil.replace('T', touched.to_str().unwrap());
        let mut request = of_container(&evil);
        request.process_pattern = evil.clone();
        request.probe_url = Some(evil.clone());
        request.logs = vec![LogCursor::start(&evil)];
        docker.poll(&request).await;
        request.container = None;
        docker.poll(&request).await;
        assert!(!touched.exists(), "{evil:?}");
    }
}

#[tokio::test]
async fn the_probe_address_is_asked_on_the_vm() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/probe", listener.local_addr().unwrap());
    let serve = async {
        for answer in ["200 OK", "503 Busy"] {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 1024]).await;
            let body = "{\"status\": \"ok\"}\n";
            let head = format!("HTTP/1.1 {answer}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            socket.write_all((head + body).as_bytes()).await.unwrap();
        }
    };
    let mut asked = request(vec![]);
    asked.probe_url = Some(url);
    let ask = async {
        assert_eq!(poll(&asked).await.seen.probe, ProbeReply::Answered("{\"status\": \"ok\"}".to_owned()));
        assert_eq!(poll(&asked).await.seen.probe, ProbeReply::Silent);
    };
    tokio::join!(serve, ask);
    drop(listener);
    assert_eq!(poll(&asked).await.seen.probe, ProbeReply::Silent);
}

#[tokio::test]
async fn a_chatty_container_hides_no_step_of_its_boot() {
    let docker = Docker::with_container("running");
    let path = docker.folder.path().join("docker");
    let chatty = "logs) echo 'Windows started successfully'; for i in $(seq 9000); do echo \"chatter $i\"; done ;;";
    let script = fs::read_to_string(&path).unwrap();
    let quiet = script.lines().find(|line| line.starts_with("logs)")).unwrap().to_owned();
    fs::write(&path, script.replace(&quiet, chatty)).unwrap();
    let mut next = of_container("winarena");
    next.container_since = Some(1_795_417_745.25);
    let seen = docker.poll(&next).await.seen;
    assert_eq!(seen.boot, [crate::model::BootMark::WindowsStarted]);
    assert!(seen.container_log_tail.ends_with("chatter 8999\nchatter 9000"), "{}", seen.container_log_tail);
}
