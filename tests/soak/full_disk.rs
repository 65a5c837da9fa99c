//! A disk that fills up and gets room again, as often as there is time.

use std::time::{Duration, Instant};

use rand::RngExt;

use crate::faults::{Report, SmallDisk, say};
use crate::support::eventually;
use crate::world::World;

const NAME: &str = "a full disk";
const MEBIBYTES: u32 = 48;
const PATIENCE: Duration = Duration::from_secs(30);

/// A world of its own whose journal is on a small disk.
pub async fn soak(seed: u64, each: Duration, report: &mut Report) {
    let disk = match SmallDisk::mount(MEBIBYTES) {
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
