//! Processes that are ended whole.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::Child;

/// How often the descendants of a process that is ended are looked for: one more than they are deep, with room.
const ROUNDS: usize = 8;

/// A child that leads a process group of its own, and everything it started: ended with this value.
#[derive(Debug)]
pub(super) struct Family(Option<Pid>);

impl Family {
    /// The family of `child`, which must have been started with `process_group(0)` and not be reaped before this value
    /// ends it, is let be or is dropped: until then its number is surely its own.
    pub(super) fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(id.cast_signed())))
    }

    /// It ended by itself, and its child was reaped: there is nothing left to end.
    pub(super) fn let_be(&mut self) {
        self.0 = None;
    }

    /// Ends it now. Its child is still to be waited for.
    pub(super) fn end(&mut self) {
        let Some(head) = self.0.take() else { return };
        // `timeout` leads a group of its own, so the child's group is not all of it. Stopped, a process starts no other
        // while it is looked for, and what it started just before is found in the next round. Each may be gone already.
        let _ = kill_process_group(head, Signal::STOP);
        let mut known: Vec<Pid> = Vec::new();
        for _ in 0..ROUNDS {
            let found = descendants(head);
            let fresh: Vec<Pid> = found.into_iter().filter(|process| !known.contains(process)).collect();
            if fresh.is_empty() {
                break;
            }
            for process in &fresh {
                let _ = kill_process(*process, Signal::STOP);
            }
            known.extend(fresh);
        }
        let _ = kill_process_group(head, Signal::KILL);
        for process in known {
            let _ = kill_process(process, Signal::KILL);
        }
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        self.end();
    }
}

/// The processes that `ancestor` started and that these started in turn.
fn descendants(ancestor: Pid) -> Vec<Pid> {
    let parents: Vec<(Pid, Pid)> =
        std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(parent).collect();
    let mut family = vec![ancestor];
    let mut next = 0;
    while let Some(one) = family.get(next).copied() {
        family.extend(parents.iter().filter(|(_, parent)| *parent == one).map(|(child, _)| *child));
        next += 1;
    }
    family.split_off(1)
}

/// A process and its parent: fields 1 and 4 of its `stat`.
fn parent(entry: std::fs::DirEntry) -> Option<(Pid, Pid)> {
    let child = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
    let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
    let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?;
    Some((child, Pid::from_raw(parent.parse().ok()?)?))
}
