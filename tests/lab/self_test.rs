//! The lab itself: each of its parts is real and does what its name says, seen through the plain `ssh` client.

use std::time::{Duration, Instant};

use super::play::{Dialect, Outcome, Play};
use super::probe::{Answer, BODY};
use super::{Lab, Result, command, docker, until};

/// How long anything in the lab may take to show.
const SHOW: Duration = Duration::from_secs(10);

/// Runs `remote` on the VM: what it printed, or what `ssh` said.
async fn ssh(lab: &Lab, remote: &str) -> Result<String> {
    command::finish(lab.ssh(remote), b"").await
}

/// Waits until `remote` prints something that holds `text`.
async fn shows(lab: &Lab, remote: &str, text: &str) {
    let found = until(SHOW, async || ssh(lab, remote).await.ok().filter(|said| said.contains(text))).await;
    assert!(found.is_some(), "`{remote}` never shows {text:?}: {:?}", ssh(lab, remote).await);
}

fn pgrep(lab: &Lab) -> String {
    format!("docker exec {} pgrep -f 'python.*run.py'", lab.container)
}

#[tokio::test]
async fn a_login_is_let_in_and_counted() {
    let Some(lab) = Lab::for_test().await else { return };
    assert_eq!((lab.logins(), lab.connections()), (0, 0));
    assert_eq!(ssh(&lab, "id -un").await.unwrap(), lab.user);
    assert_eq!(ssh(&lab, "echo $SHELL").await.unwrap(), "/bin/sh");
    assert_eq!((lab.logins(), lab.connections()), (2, 2));
}

#[tokio::test]
async fn the_container_lives_prints_and_restarts() {
    let Some(lab) = Lab::for_test().await else { return };
    let logs = format!("docker logs {} 2>&1", lab.container);
    let state = format!("docker inspect -f '{{{{.State.Status}}}} {{{{.State.StartedAt}}}}' {}", lab.container);
    lab.container_log("❯ Booting Windows using QEMU v9.1.0...").await.unwrap();
    shows(&lab, &logs, "❯ Booting Windows").await;
    let first = ssh(&lab, &state).await.unwrap();
    assert!(first.starts_with("running "), "{first}");
    lab.container_restart().await.unwrap();
    let second = ssh(&lab, &state).await.unwrap();
    assert!(second.starts_with("running ") && second != first, "{first} {second}");
    lab.container_log("again").await.unwrap();
    shows(&lab, &logs, "again").await;
    lab.container_log(&"x".repeat(300_000)).await.unwrap();
    shows(&lab, &format!("{logs} | wc -c | grep -E '^3[0-9]{{5}}$'"), "3").await;

    lab.container_stop().await.unwrap();
    shows(&lab, &state, "exited").await;
    lab.container_start().await.unwrap();
    shows(&lab, &state, "running").await;
    lab.container_pause().await.unwrap();
    shows(&lab, &state, "paused").await;
    lab.container_unpause().await.unwrap();
    lab.container_remove().await.unwrap();
    assert!(ssh(&lab, &state).await.is_err());
    lab.container_create().await.unwrap();
    lab.container_log("anew").await.unwrap();
    shows(&lab, &logs, "anew").await;
}

#[tokio::test]
async fn the_benchmark_process_is_seen_while_it_runs_and_only_then() {
    let Some(lab) = Lab::for_test().await else { return };
    assert!(ssh(&lab, &pgrep(&lab)).await.is_err());
    for _ in 0..2 {
        lab.benchmark_start().await.unwrap();
        assert_eq!(ssh(&lab, &pgrep(&lab)).await.unwrap().lines().count(), 1);
        lab.benchmark_stop().await.unwrap();
        assert!(ssh(&lab, &pgrep(&lab)).await.is_err());
    }
    lab.benchmark_start().await.unwrap();
    lab.benchmark_kill().await.unwrap();
    assert!(ssh(&lab, &pgrep(&lab)).await.is_err());
    lab.benchmark_start().await.unwrap();
    lab.container_restart().await.unwrap();
    assert!(ssh(&lab, &pgrep(&lab)).await.is_err());
    let inside =
        "df -Pk /storage; cat /sys/fs/cgroup/memory.current /sys/fs/cgroup/memory/memory.usage_in_bytes 2>/dev/null";
    let seen = lab.container_exec(&["sh", "-c", &format!("{inside}; true")]).await.unwrap();
    assert!(seen.contains("Mounted on") && seen.lines().last().unwrap().parse::<u64>().is_ok(), "{seen}");
}

#[tokio::test]
async fn the_probe_answers_when_it_is_on() {
    let Some(lab) = Lab::for_test().await else { return };
    let curl = format!("curl -s --max-time 2 -w ' %{{http_code}}' {}", lab.probe_url);
    assert!(ssh(&lab, &curl).await.is_err());
    lab.probe_on().await.unwrap();
    assert_eq!(ssh(&lab, &curl).await.unwrap(), format!("{BODY} 200"));
    lab.probe_answers(Answer::Says(500, "no".into())).await.unwrap();
    assert_eq!(ssh(&lab, &curl).await.unwrap(), "no 500");
    lab.probe_answers(Answer::Hangs).await.unwrap();
    assert!(ssh(&lab, &curl).await.is_err());
    lab.probe_on().await.unwrap();
    assert_eq!(ssh(&lab, &curl).await.unwrap(), format!("{BODY} 200"));
    lab.probe_off().unwrap();
    assert!(ssh(&lab, &curl).await.is_err());
}

#[tokio::test]
async fn the_log_grows_rotates_and_is_emptied() {
    let Some(lab) = Lab::for_test().await else { return };
    let (log, old) = (lab.log.display().to_string(), lab.log_rotated().display().to_string());
    assert!(ssh(&lab, &format!("cat {log}")).await.is_err());
    lab.log_append("one\n").unwrap();
    lab.log_append(b"two\n\xff").unwrap();
    assert_eq!(ssh(&lab, &format!("wc -c <{log}")).await.unwrap(), "9");
    let inode = ssh(&lab, &format!("stat -c %i {log}")).await.unwrap();
    lab.log_rotate().unwrap();
    assert_eq!(ssh(&lab, &format!("stat -c %i {old}; wc -c <{log}")).await.unwrap(), format!("{inode}\n0"));
    lab.log_append("three\n").unwrap();
    lab.log_copytruncate().unwrap();
    assert_eq!(ssh(&lab, &format!("cat {old}; wc -c <{log}")).await.unwrap(), "three\n0");
    lab.log_remove().unwrap();
    assert!(ssh(&lab, &format!("cat {log}")).await.is_err());
}

#[tokio::test]
async fn a_stopped_sshd_is_silent_and_goes_on_where_it_stood() {
    let Some(lab) = Lab::for_test().await else { return };
    let mut session = lab.ssh("while read -r line; do echo \"$line\"; done");
    session.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut session = session.spawn().unwrap();
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let (mut say, mut hear) = (session.stdin.take().unwrap(), BufReader::new(session.stdout.take().unwrap()).lines());
    say.write_all(b"before\n").await.unwrap();
    assert_eq!(hear.next_line().await.unwrap().as_deref(), Some("before"));
    assert!(lab.sessions().await.unwrap().len() >= 3, "the monitor, its child and the shell");

    lab.sshd_stop().await.unwrap();
    say.write_all(b"during\n").await.unwrap();
    let silent = Duration::from_millis(300);
    assert!(tokio::time::timeout(silent, hear.next_line()).await.is_err());
    assert!(tokio::time::timeout(silent, ssh(&lab, "true")).await.is_err());
    lab.sshd_cont().await.unwrap();
    assert_eq!(hear.next_line().await.unwrap().as_deref(), Some("during"));
    ssh(&lab, "true").await.unwrap();

    lab.sshd_restart().await.unwrap();
    say.write_all(b"after\n").await.unwrap();
    assert_eq!(hear.next_line().await.unwrap().as_deref(), Some("after"));
    lab.sshd_kill_connections().await.unwrap();
    assert_eq!(hear.next_line().await.unwrap(), None);
    assert_eq!(session.wait().await.unwrap().code(), Some(255));
    assert!(lab.sessions().await.unwrap().is_empty());
}

#[tokio::test]
async fn keys_are_refused_and_let_in_again() {
    let Some(lab) = Lab::for_test().await else { return };
    let refused = async |why: &str| {
        let said = ssh(&lab, "true").await.unwrap_err().to_string();
        assert!(said.contains(why), "{said}");
    };
    lab.reject_key().await.unwrap();
    refused("Permission denied").await;
    lab.accept_key().unwrap();
    ssh(&lab, "true").await.unwrap();
    lab.change_host_key().await.unwrap();
    refused("REMOTE HOST IDENTIFICATION HAS CHANGED").await;
    lab.restore_host_key().await.unwrap();
    ssh(&lab, "true").await.unwrap();
    lab.sshd_shutdown().await.unwrap();
    refused("Connection refused").await;
    lab.sshd_start().await.unwrap();
    ssh(&lab, "true").await.unwrap();
}

#[tokio::test]
async fn a_dropped_lab_leaves_nothing() {
    let Some(lab) = Lab::for_test().await else { return };
    let mut session = lab.ssh("sleep 60").spawn().unwrap();
    until(SHOW, async || (lab.logins() == 1).then_some(())).await.unwrap();
    let sshd = lab.sessions().await.unwrap();
    lab.sshd_restart().await.unwrap();
    lab.sshd_stop().await.unwrap();
    let (dir, port, container) = (lab.dir.clone(), lab.ssh_port, lab.container.clone());
    let begun = Instant::now();
    drop(lab);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    session.wait().await.unwrap();
    assert!(!dir.exists());
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(command::output("docker", ["inspect", &container]).await.is_err());
    let alive =
        |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    assert!(until(SHOW, async || (!sshd.iter().any(alive)).then_some(())).await.is_some(), "{sshd:?}");
}

#[tokio::test]
async fn what_a_killed_owner_left_is_cleared_away() {
    let Some(lab) = Lab::for_test().await else { return };
    std::fs::write(lab.dir.join("owner"), "1 1\n").unwrap();
    let root = lab.dir.ancestors().nth(2).unwrap();
    docker::run_keeper(["sweep".as_ref(), root.as_os_str()]).await.unwrap();
    assert!(!lab.dir.exists());
    assert!(std::net::TcpStream::connect(("127.0.0.1", lab.ssh_port)).is_err());
    assert!(command::output("docker", ["inspect", &lab.container]).await.is_err());
}

#[tokio::test]
async fn the_configuration_names_what_is_there() {
    let Some(lab) = Lab::for_test().await else { return };
    let config: toml::Table = lab.vm_toml("lab-vm").parse().unwrap();
    let vm = config["vm"][0].as_table().unwrap();
    assert_eq!(vm["name"].as_str(), Some("lab-vm"));
    assert_eq!(vm["port"].as_integer(), Some(lab.ssh_port.into()));
    assert_eq!(vm["benchmark_log"].as_str().map(std::path::Path::new), Some(lab.log.as_path()));
    for file in ["identity_file", "known_hosts"] {
        assert!(std::path::Path::new(vm[file].as_str().unwrap()).is_file(), "{file}");
    }
}

#[tokio::test]
async fn a_play_is_written_as_it_was_decided() {
    let Some(lab) = Lab::for_test().await else { return };
    for dialect in [Dialect::Openadapt, Dialect::Waa] {
        let play = Play::new(dialect, 5, 7).at_speed(1000.0);
        play.boot(&lab).await.unwrap();
        shows(&lab, &format!("docker logs {}", lab.container), "Windows started successfully").await;
        shows(&lab, &format!("curl -s {}", lab.probe_url), "Probe successful").await;
        assert_eq!(play.run(&lab).await.unwrap(), play.all_played());
        assert!(ssh(&lab, &pgrep(&lab)).await.is_err());
        let log = ssh(&lab, &format!("cat {}", lab.log.display())).await.unwrap();
        for task in &play.tasks {
            assert!(log.contains(task.id.split('/').next_back().unwrap()), "{task:?}\n{log}");
        }
        lab.container_restart().await.unwrap();
        lab.log_remove().unwrap();
    }
}

#[test]
fn a_play_has_every_outcome_and_depends_on_its_seed_alone() {
    for dialect in [Dialect::Openadapt, Dialect::Waa] {
        let play = Play::new(dialect, 30, 1);
        assert_eq!(play.all_played(), Play::new(dialect, 30, 1).all_played());
        assert_ne!(play.all_played(), Play::new(dialect, 30, 2).all_played());
        for wanted in [Outcome::Untold, Outcome::Died, Outcome::Scored(0.0), Outcome::Scored(1.0)] {
            assert!(play.tasks.iter().any(|task| task.outcome == wanted), "{dialect:?} {wanted:?}");
        }
    }
}
