//! The local files of `[files]`, as the polling routes have them.

use std::sync::Arc;

use tokio::sync::watch;

use crate::api::FilesView;
use crate::config::Config;
use crate::fleet::{FilesContent, FilesWatch, watch_files};
use crate::journal::{Journal, LiveSender};
use crate::lifecycle::Tasks;
use crate::replicas::Leases;

/// Watches `[files]`, if there are any, and hands their contents to the polling routes.
pub(super) fn watch_local_files(
    config: &Config,
    journal: &Arc<dyn Journal>,
    live: &LiveSender,
    leases: &Leases,
    tasks: &Tasks,
) -> watch::Receiver<Arc<FilesView>> {
    let (views, seen) = watch::channel(Arc::new(FilesView::default()));
    if config.files.progress.is_none() && config.files.live.is_none() {
        return seen;
    }
    let (content, mut changed) = watch::channel(FilesContent::default());
    let files = FilesWatch {
        progress: config.files.progress.clone(),
        live_file: config.files.live.clone(),
        interval: config.poll.interval,
        journal: Arc::clone(journal),
        live: live.clone(),
        leases: leases.clone(),
        content,
    };
    tasks.spawn_essential("local files", watch_files(files, tasks.stopping()));
    tasks.spawn_essential("local files to the API", async move {
        while changed.changed().await.is_ok() {
            let FilesContent { progress, live } = changed.borrow_and_update().clone();
            views.send_replace(Arc::new(FilesView { progress, live }));
        }
    });
    seen
}
