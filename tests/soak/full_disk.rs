//! A disk that fills up and gets room again, as often as there is time.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rand::RngExt;

use crate::faults::say;
use crate::report::Report;
use crate::support::eventually;
use crate::world::World;

const NAME: &str = "a full disk";
const SIZE: &str = "size=48m";
const PATIENCE: Duration = Duration::from_secs(30);

/// A file system of its own; it is unmounted with the value.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount() -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "none"]).arg(dir.path()).output();
        match mount {
            Ok(output) if output.status.success() => Ok(Self(dir)),
            Ok(output) => Err(format!("no tmpfs: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Err(format!("no mount: {error}")),
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut file = fs::File::create(self.path().join("filler")).expect("made");
        for piece in [1 << 20, 1 << 12, 1] {
            while file.write_all(&vec![b'x'; piece]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.path().join("filler")).expect("removed");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that was killed a moment ago may still hold a file.
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

/// A world of its own whose journal is on a small disk.
pub async fn soak(seed: u64, each: Duration, report: &mut Report) {
    let disk = match Disk::mount() {
        Ok(disk) => disk,
        Err(why) => return report.skipped(NAME, &why),
    };
    say(&format!("soak: {NAME}"));
    let journal = format!("[journal]\nkind = \"embedded\"\npath = {:?}\n", disk.path().join("journal.db"));
    let mut world = World::start(seed.wrapping_add(1), &journal).await;
    let began = world.standing();
    let until = Instant::now() + each;
    let mut times = 0;
    while Instant::now() < until {
        world.play(Duration::from_secs(2)).await;
        disk.fill();
        times += 1;
        let full = world.random.random_range(3000..9000);
        world.play(Duration::from_millis(full)).await;
        let readiness = world.served.admin("/readyz").await;
        if readiness.as_ref().is_none_or(|(status, _)| *status != 503) {
            report.broke(format!("{NAME}: it says that it is ready while nothing can be committed: {readiness:?}"));
        }
        // Now and then it dies and starts while there is no room.
        let dies = times % 3 == 0;
        if dies {
            world.served.start_again();
            world.play(Duration::from_secs(2)).await;
        }
        disk.make_room();
        if dies && !world.served.runs() {
            say("soak: it does not start on a full disk; started again with room");
            world.served.start_again();
        }
        eventually(PATIENCE, async || world.served.admin("/readyz").await.is_some_and(|(status, _)| status == 200))
            .await;
    }
    let ended = world.settle().await;
    report.row(NAME, times, &began, &ended);
    world.check(NAME, report);
}
