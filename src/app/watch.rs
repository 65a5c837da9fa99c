//! Whether one of the files that the process was started with is another one by now.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config::{Access, Config, JwtKeys, TlsMode};

/// How often the files are looked at. A change is acted on once two looks saw the same, so within half a second.
const TICK: Duration = Duration::from_millis(250);
/// Looks unlike the one before after which a change is acted on although it goes on: half a second.
const RESTLESS: u32 = 3;
/// How long one look may take.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// How many files are looked at. A configuration at all its limits names 200.
const MAX_FILES: usize = 256;

/// The files whose change is a reason to reload: the configuration, keys, certificates, key sets and secrets.
pub(super) fn watched(config_path: Option<&Path>, config: &Config) -> Vec<PathBuf> {
    let mut files = BTreeSet::new();
    files.extend(config_path.map(Path::to_owned));
    if let TlsMode::Files(pair) = &config.tls.mode {
        files.extend([pair.cert.clone(), pair.key.clone()]);
    }
    files.extend(config.tls.certificates.iter().flat_map(|pair| [pair.cert.clone(), pair.key.clone()]));
    files.extend(config.tls.client_ca.clone());
    if let Access::Keys(path) = &config.auth.access {
        files.insert(path.clone());
    }
    files.extend(super::session::secret_file(config));
    for issuer in &config.auth.jwt {
        match &issuer.keys {
            JwtKeys::Url { ca, .. } => files.extend(ca.clone()),
            JwtKeys::File(path) | JwtKeys::Secret(path) => {
                files.insert(path.clone());
            }
        }
    }
    files.into_iter().take(MAX_FILES).collect()
}

/// What tells a file from what it was. Links are followed, so that one that is turned to another file counts; the mode is
/// in it because a file that was refused for it becomes right by it alone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    device: u64,
    inode: u64,
    mode: u32,
    size: u64,
    modified: (i64, i64),
}

/// The signatures of all files, `None` for one that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look(Vec<Option<Signature>>);

/// The files that are looked at. A reload that names others puts these in their place.
pub(super) type Watched = Arc<ArcSwap<Vec<PathBuf>>>;

/// Looks at `files` now. Blocks for as long as the file system does.
pub(super) fn look(files: &[PathBuf]) -> Look {
    let signature = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some(Signature {
            device: found.dev(),
            inode: found.ino(),
            mode: found.mode(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
        })
    };
    Look(files.iter().map(signature).collect())
}

/// Tells a change that is over from one that goes on.
#[derive(Debug)]
struct Settled {
    /// How many looks in a row were unlike the one before.
    restless: u32,
    last: Look,
    told: Look,
}

impl Settled {
    fn new(begun: Look) -> Self {
        Self { restless: 0, last: begun.clone(), told: begun }
    }

    /// Takes the next look; whether there is a change that has not been told of and that two looks saw alike, or that does
    /// not come to rest: one file that always changes must not hold up what another says.
    fn take(&mut self, now: Look) -> Option<&Look> {
        self.restless = if now == self.last { 0 } else { self.restless + 1 };
        self.last = now;
        if self.last == self.told || (1..RESTLESS).contains(&self.restless) {
            return None;
        }
        self.restless = 0;
        self.told = self.last.clone();
        Some(&self.told)
    }
}

/// Watches `files`, which were as `begun` says, until `stop`; each change goes to `changes` once it is over.
pub(super) async fn watch(files: Watched, begun: Look, changes: mpsc::Sender<Look>, stop: CancellationToken) {
    let look = move || look(&files.load());
    let _ = stop.run_until_cancelled(watch_by(look, begun, changes)).await;
}

async fn watch_by(look: impl Fn() -> Look + Clone + Send + 'static, begun: Look, changes: mpsc::Sender<Look>) {
    let mut settled = Settled::new(begun);
    let mut files = Patience::new(LOOK_WITHIN);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answers = true;
    loop {
        ticks.tick().await;
        let looked = files.work(look.clone()).await;
        if looked.is_err() && answers {
            warn!("the files of the configuration cannot be looked at: their file system does not answer");
        }
        answers = looked.is_ok();
        let Some(change) = looked.ok().and_then(|now| settled.take(now).cloned()) else { continue };
        if changes.send(change).await.is_err() {
            return;
        }
    }
}

/// Work on files, which may not come back for as long as a mount is dead: one piece at a time, each waited for so long.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    stuck: Option<JoinHandle<()>>,
}

/// The file system did not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the file system does not answer")]
pub(super) struct NoAnswer;

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, stuck: None }
    }

    /// Does `work` on a thread for blocking. While an earlier piece has not come back none is begun. What comes too late is
    /// dropped.
    pub(super) async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        if self.stuck.as_ref().is_some_and(|stuck| !stuck.is_finished()) {
            return Err(NoAnswer);
        }
        let (done, mut worked) = mpsc::channel(1);
        let begun = tokio::task::spawn_blocking(move || {
            // Nobody may be waiting any more.
            let _ = done.try_send(work());
        });
        match timeout(self.limit, worked.recv()).await {
            Ok(outcome) => outcome.ok_or(NoAnswer),
            Err(_) => {
                self.stuck = Some(begun);
                Err(NoAnswer)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::config::MapEnv;

    /// A look at one file, whose size is all that differs.
    fn size(size: u64) -> Look {
        Look(vec![Some(Signature { device: 1, inode: 2, mode: 0o600, size, modified: (0, 0) })])
    }

    #[test]
    fn a_change_is_told_once_and_when_it_is_over() {
        let mut settled = Settled::new(size(0));
        for (now, told) in [
            (0, false),
            (1, false),
            (2, false),
            (2, true),
            (2, false),
            (3, false),
            (2, false),
            (2, false),
            (0, false),
            (0, true),
        ] {
            assert_eq!(settled.take(size(now)).is_some(), told, "{now}");
        }
        for n in 1..=9 {
            assert_eq!(settled.take(size(n)).is_some(), n % 3 == 0, "{n}: what does not rest is told of all the same");
        }
        assert!(settled.take(Look(vec![None])).is_none());
        assert_eq!(settled.take(Look(vec![None])), Some(&Look(vec![None])), "a file that went is a change");
    }

    #[test]
    fn g20_another_file_another_mode_and_a_turned_link_are_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["old", "new"] {
            fs::write(path(name), "same").unwrap();
        }
        symlink(path("old"), path("data")).unwrap();
        symlink(path("data"), path("file")).unwrap();
        let files = [path("file")];
        let mut looks = vec![look(&files)];
        assert_eq!(look(&files), looks[0]);
        symlink(path("new"), path("swap")).unwrap();
        fs::rename(path("swap"), path("data")).unwrap();
        looks.push(look(&files));
        fs::set_permissions(path("new"), fs::Permissions::from_mode(0o400)).unwrap();
        looks.push(look(&files));
        fs::set_permissions(path("new"), fs::Permissions::from_mode(0o600)).unwrap();
        let stamp = std::time::SystemTime::UNIX_EPOCH + Duration::from_nanos(1);
        File::options().write(true).open(path("new")).unwrap().set_modified(stamp).unwrap();
        looks.push(look(&files));
        fs::remove_file(path("new")).unwrap();
        looks.push(look(&files));
        for (at, one) in looks.iter().enumerate() {
            assert!(looks[at + 1..].iter().all(|other| other != one), "{looks:#?}");
        }
    }

    #[test]
    fn every_file_of_a_credential_is_watched() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["secret", "jwks", "ca", "cert", "key", "client_ca"] {
            fs::write(dir.path().join(name), "0123456789abcdef0123456789abcdef").unwrap();
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let keys = crate::app::new_key(&dir.path().join("keys"), "k", &["admin".into()], &["*".into()], "never");
        keys.unwrap();
        let issuer = |name: &str, keys: &str, algorithm: &str| {
            format!("[[auth.jwt]]\nissuer = \"{name}\"\naudience = \"a\"\nalgorithms = \"{algorithm}\"\n{keys}\n")
        };
        let text = format!(
            "[auth]\nkeys_file = \"~/keys\"\n[auth.session]\nsecret_file = \"~/secret\"\n{}{}{}[tls]\ncert = \"~/cert\"\nkey = \"~/key\"\n",
            issuer("1", "secret_file = \"~/secret\"", "HS256"),
            issuer("2", "jwks_file = \"~/jwks\"", "ES256"),
            issuer("3", "jwks_url = \"https://x/\"\njwks_ca = \"~/ca\"", "ES256"),
        );
        let env: MapEnv = [("HOME", dir.path())].into_iter().collect();
        let config = Config::parse(&text, "f.toml", &env).unwrap_or_else(|errors| panic!("{errors}"));
        let files = watched(Some(&dir.path().join("f.toml")), &config);
        let names: Vec<_> = files.iter().map(|path| path.strip_prefix(dir.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["ca", "cert", "f.toml", "jwks", "key", "keys", "secret"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_mount_that_does_not_answer_holds_up_nothing_and_is_seen_when_it_comes_back() {
        let (lets_go, held) = std::sync::mpsc::channel::<()>();
        let (held, looks) = (Arc::new(Mutex::new(held)), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&looks);
        let look = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            // Until the test lets go.
            let _ = held.lock().unwrap().recv();
            size(1)
        };
        let (changes, mut changed) = mpsc::channel(1);
        let mut watching = std::pin::pin!(watch_by(look, size(0), changes));
        // Blocked work keeps the paused clock from running by itself, so the test moves it.
        for _ in 0..40 {
            assert!(futures_util::poll!(&mut watching).is_pending());
            tokio::time::advance(TICK).await;
        }
        assert!(looks.load(Ordering::Relaxed) <= 1, "no second thread waits for a dead mount");
        assert!(changed.try_recv().is_err());
        drop(lets_go);
        tokio::select! {
            () = &mut watching => panic!("it watches on"),
            change = changed.recv() => assert_eq!(change, Some(size(1))),
        }
    }
}
