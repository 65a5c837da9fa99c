//! Benchmarks that play on every VM while other things happen.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::faults::Played;

/// How much is written to each log at once, bytes at most, and how often.
const PIECE: usize = 500;
const PAUSE: Duration = Duration::from_millis(60);

/// VMs at play; it ends with the value.
pub struct Players {
    vms: Arc<Mutex<Vec<Played>>>,
    playing: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Players {
    /// Plays on `vms` from now on.
    pub fn start(vms: Vec<Played>) -> Self {
        let (vms, playing) = (Arc::new(Mutex::new(vms)), Arc::new(AtomicBool::new(true)));
        let task = tokio::spawn(play(Arc::clone(&vms), Arc::clone(&playing)));
        Self { vms, playing, task }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Played>> {
        self.vms.lock().expect("no player panicked")
    }

    /// Nothing more is written until [`Players::go_on`], and every run is at its end; gives the tasks of each VM.
    pub fn finish(&self) -> HashMap<String, Vec<String>> {
        self.playing.store(false, Ordering::Relaxed);
        self.lock().iter_mut().map(|vm| (vm.name.clone(), vm.finish())).collect()
    }

    /// The tasks of each VM that were written whole.
    pub fn written(&self) -> HashMap<String, Vec<String>> {
        self.lock().iter().map(|vm| (vm.name.clone(), vm.written())).collect()
    }

    /// Plays on.
    pub fn go_on(&self) {
        self.playing.store(true, Ordering::Relaxed);
    }
}

impl Drop for Players {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn play(vms: Arc<Mutex<Vec<Played>>>, playing: Arc<AtomicBool>) {
    loop {
        {
            let mut vms = vms.lock().expect("no player panicked");
            // Looked at under the lock: after a finish nothing is written.
            if playing.load(Ordering::Relaxed) {
                vms.iter_mut().for_each(|vm| vm.write(PIECE));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
