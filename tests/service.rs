//! gatewatch as a service: what systemd is told of it, the unit that it runs under, and what `make install` installs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{program, replace};

/// How exposed the unit may be by systemd's own measure; 10 is the most.
const EXPOSED_AT_MOST: f32 = 1.5;
/// How long a message may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A gateway that a service manager started: its socket is the test's.
struct Service {
    child: Child,
    socket: UnixDatagram,
    dir: tempfile::TempDir,
}

impl Service {
    /// Starts one whose only VM is `vm`, with `watchdog` as the variable `WATCHDOG_USEC`.
    fn start(vm: &str, watchdog: Option<&str>) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let socket = UnixDatagram::bind(dir.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(SOON)).expect("a limit");
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"\"\n[tls]\nmode = \"off\"\n[auth]\nnone = true\n\
             [data]\ndir = {:?}\n{vm}",
            dir.path().join("data").display().to_string()
        );
        replace(&dir.path().join("gatewatch.toml"), &config);
        let log = fs::File::create(dir.path().join("log")).expect("a file");
        let mut command = Command::new(program());
        command.args(["serve", "--config"]).arg(dir.path().join("gatewatch.toml")).stderr(log);
        command.env("NOTIFY_SOCKET", dir.path().join("notify"));
        command.envs(watchdog.map(|usec| ("WATCHDOG_USEC", usec)));
        Self { child: command.spawn().expect("the binary runs"), socket, dir }
    }

    /// The next datagram, line by line.
    fn next(&self) -> Vec<String> {
        let mut buffer = [0; 8192];
        let length = self.receive(&mut buffer).unwrap_or_else(|error| panic!("{error}:\n{}", self.log()));
        let text = std::str::from_utf8(&buffer[..length]).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    /// A child of another test that ends interrupts a wait with a limit.
    fn receive(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.socket.recv(buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                received => return received,
            }
        }
    }

    /// All lines up to the one that begins with `wanted`.
    fn until(&self, wanted: &str) -> Vec<String> {
        let began = Instant::now();
        let mut seen = Vec::new();
        while !seen.iter().any(|line: &String| line.starts_with(wanted)) {
            assert!(began.elapsed() < SOON, "no {wanted} in {seen:?}:\n{}", self.log());
            seen.extend(self.next());
        }
        seen
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process is there");
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).expect("the log")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SIMULATED: &str = "[[vm]]\nname = \"one\"\ntransport = \"simulated\"\n";

fn count(lines: &[String], wanted: &str) -> usize {
    lines.iter().filter(|line| *line == wanted).count()
}

#[test]
fn systemd_is_told_of_ready_of_reloads_and_of_the_stop_in_that_order() {
    let mut service = Service::start(SIMULATED, None);
    let start = service.until("READY=1");
    assert!(start[0].starts_with("STATUS=not ready: process: starting"), "{start:?}");
    assert!(service.log().contains("serving"), "the listener is served by then");
    if !start.iter().any(|line| line == "STATUS=ready") {
        service.until("STATUS=ready");
    }

    let asked = monotonic_usec();
    service.signal(Signal::HUP);
    let reload = service.until("READY=1");
    assert_eq!(count(&reload, "RELOADING=1"), 1, "{reload:?}");
    let stamp = reload.iter().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).expect("a time");
    assert!(stamp.parse::<i128>().expect("a number") >= asked, "systemd takes an older one for an earlier reload");

    // A reload that is refused is over as well: the old state serves on.
    replace(&service.dir.path().join("gatewatch.toml"), "rubbish");
    let refused = service.until("READY=1");
    assert_eq!(count(&refused, "RELOADING=1"), 1, "{refused:?}");

    service.signal(Signal::TERM);
    let mut stop = service.until("STOPPING=1");
    if !stop.iter().any(|line| line.starts_with("STATUS=")) {
        stop.extend(service.until("STATUS="));
    }
    assert!(stop.contains(&"STATUS=not ready: process: stopping".to_owned()), "{stop:?}");
    assert_eq!(count(&stop, "READY=1"), 0, "{stop:?}");
    assert!(service.child.wait().expect("it ends").success(), "{}", service.log());
}

fn monotonic_usec() -> i128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000
}

#[test]
fn a_watchdog_is_fed_and_a_process_that_hangs_feeds_it_no_more() {
    let service = Service::start(SIMULATED, Some("400000"));
    service.until("READY=1");
    for _ in 0..5 {
        service.until("WATCHDOG=1");
    }
    service.signal(Signal::STOP);
    // What was on its way; afterwards nothing comes, however long one waits.
    service.socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a limit");
    let mut buffer = [0; 8192];
    while service.receive(&mut buffer).is_ok() {}
    service.socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a limit");
    assert!(service.receive(&mut buffer).is_err(), "a hanging process gives no sign of life");
    service.signal(Signal::CONT);
    service.socket.set_read_timeout(Some(SOON)).expect("a limit");
    service.until("WATCHDOG=1");
}

#[test]
fn a_start_that_is_not_over_says_what_it_waits_for_and_asks_for_time() {
    // Nobody answers ssh at an address that is kept for documentation, and the first poll takes its time.
    let vm = "[[vm]]\nname = \"away\"\nhost = \"192.0.2.10\"\nuser = \"nobody\"\n";
    let service = Service::start(vm, Some("400000"));
    let seen = service.until("STATUS=not ready: vm");
    assert!(seen.iter().any(|line| line.contains("away")), "{seen:?}");
    let seen = service.until("EXTEND_TIMEOUT_USEC=600000");
    assert_eq!(count(&seen, "READY=1"), 0, "{seen:?}");
}

#[test]
fn a_socket_that_cannot_be_one_is_told_and_nothing_starts() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = dir.path().join("gatewatch.toml");
    fs::write(&config, "[auth]\nnone = true\n[server]\nlisten = \"127.0.0.1:0\"\n").expect("written");
    let mut command = Command::new(program());
    let output = command.args(["serve", "--config"]).arg(&config).env("NOTIFY_SOCKET", "relative").output();
    let output = output.expect("the binary runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("NOTIFY_SOCKET"), "{output:?}");
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What `program` says to `args` and whether it is content.
fn run(program: &str, args: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(args).env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|error| panic!("{program}, which `make install-test` installs: {error}"));
    (output.status.success(), said(&output))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// `make TARGET` of a DESTDIR, with the binary of this test in the place of the release's.
fn make(target: &str, dest: &Path) {
    let (dest, binary) = (format!("DESTDIR={}", dest.display()), format!("BINARY={}", program().display()));
    let (good, text) = run("make", &["--no-print-directory", target, &dest, &binary, "PREFIX=/opt/gw"]);
    assert!(good, "{text}");
}

/// Folders with nothing in them.
fn empty_below(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    let entries: Vec<_> = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    if entries.is_empty() {
        found.push(dir.to_owned());
    }
    entries.iter().filter(|entry| entry.is_dir()).for_each(|folder| empty_below(folder, found));
}

fn files_below(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() { files_below(&entry, found) } else { found.push(entry) }
    }
}

#[test]
fn the_unit_is_right_and_exposed_no_more_than_it_must_be() {
    let dir = tempfile::tempdir().expect("a folder");
    make("install-files", dir.path());
    let unit = dir.path().join("opt/gw/lib/systemd/system/gatewatch.service");
    let text = fs::read_to_string(&unit).expect("the unit");
    let start = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("what it starts");
    assert!(start.starts_with("/opt/gw/bin/gatewatch serve "), "{start}");

    let most = format!("--threshold={}", EXPOSED_AT_MOST * 10.0);
    let (good, text) = run("systemd-analyze", &["security", "--offline=true", "--no-pager", &most, path(&unit)]);
    assert!(good, "{text}");

    // It looks for the binary where the unit says, so that one is named that is there.
    let here = dir.path().join("gatewatch.service");
    let text = fs::read_to_string(&unit).expect("the unit").replace("/opt/gw/bin/gatewatch", path(&program()));
    fs::write(&here, &text).expect("written");
    let verify = || run("systemd-analyze", &["verify", "--man=no", path(&here)]);
    let (good, said) = verify();
    assert!(good && said.is_empty(), "{said}");
    fs::write(&here, text.replace("KillMode=mixed", "KillMode=mixt")).expect("written");
    assert!(verify().1.contains("mixt"), "it does look");
}

#[test]
fn what_is_installed_is_whole_and_goes_again_but_for_what_an_operator_wrote() {
    let dir = tempfile::tempdir().expect("a folder");
    let at = |name: &str| dir.path().join(name);
    make("install-files", dir.path());
    let mode = fs::metadata(at("opt/gw/bin/gatewatch")).expect("the binary").permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    let (good, text) = run(path(&at("opt/gw/bin/gatewatch")), &["--version"]);
    assert!(good && text.starts_with("gatewatch "), "{text}");
    let (good, text) = run("systemd-sysusers", &["--dry-run", path(&at("opt/gw/lib/sysusers.d/gatewatch.conf"))]);
    assert!(good, "{text}");
    let example = at("opt/gw/share/doc/gatewatch/gatewatch.toml");
    let (good, text) = run(path(&at("opt/gw/bin/gatewatch")), &["check", "--config", path(&example)]);
    assert!(good, "{text}");

    let config = at("etc/gatewatch/gatewatch.toml");
    fs::write(&config, "# an operator's own\n").expect("written");
    make("install-files", dir.path());
    assert_eq!(fs::read_to_string(&config).expect("the configuration"), "# an operator's own\n");

    make("uninstall", dir.path());
    let mut left = Vec::new();
    files_below(dir.path(), &mut left);
    assert_eq!(left, [config]);
    let mut empty = Vec::new();
    empty_below(dir.path(), &mut empty);
    assert_eq!(empty, [at("opt")], "where the prefix is was there before");
}

#[test]
fn man_pages_have_no_fault_that_mandoc_finds_and_every_shell_reads_its_completions() {
    let dir = tempfile::tempdir().expect("a folder");
    make("install-files", dir.path());
    let share = dir.path().join("opt/gw/share");
    let pages = fs::read_dir(share.join("man/man1")).expect("the pages");
    let pages: Vec<_> = pages.map(|page| page.expect("a page").path()).collect();
    assert!(pages.len() > 12, "{pages:?}");
    for page in &pages {
        let (good, text) = run("mandoc", &["-T", "lint", "-W", "warning", path(page)]);
        assert!(good && text.is_empty(), "{text}");
    }
    for (shell, check, file) in [
        ("bash", "-n", "bash-completion/completions/gatewatch"),
        ("zsh", "-n", "zsh/site-functions/_gatewatch"),
        ("fish", "--no-execute", "fish/vendor_completions.d/gatewatch.fish"),
    ] {
        let (good, text) = run(shell, &[check, path(&share.join(file))]);
        assert!(good && text.is_empty(), "{shell}: {text}");
    }
    let words = "COMP_WORDS=(gatewatch ke); COMP_CWORD=1; _gatewatch gatewatch ke gatewatch; echo ${COMPREPLY[@]}";
    let script = format!("source {}; {words}", path(&share.join("bash-completion/completions/gatewatch")));
    assert_eq!(run("bash", &["-c", &script]), (true, "key\n".to_owned()));
}
