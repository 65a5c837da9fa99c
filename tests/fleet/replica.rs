//! One gatewatch of the fleet: a process, its links to NATS, and the stand-in by which VMs know who asks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::link::{Link, Way};
use crate::lab::command::find;
use crate::support::{Process, Scheme};

/// A replica, running or not.
pub struct Replica {
    /// What VMs call it.
    pub name: String,
    /// The process.
    pub process: Process,
    /// Whether it was started, and neither killed nor stopped since.
    pub up: bool,
    links: Vec<Link>,
}

impl Replica {
    /// Makes one, with the certificate and the keys of `first` if there is one. It writes each poll of a VM of transport
    /// `local` to `polls`.
    pub async fn new(name: &str, nats: &[u16], vms: &str, polls: &Path, first: Option<&Self>) -> Self {
        let mut links = Vec::new();
        for port in nats {
            links.push(Link::to(*port).await);
        }
        let sections = sections(&links, vms);
        let mut process = match first {
            Some(first) => first.process.twin_with(&sections),
            None => Process::lay_out(tempfile::tempdir().expect("a folder"), "info", Scheme::Https, &sections),
        };
        process.programs = Some(stand_in(name, &process.file("bin"), polls));
        Self { name: name.to_owned(), process, up: false, links }
    }

    /// Starts the process, anew if it runs, and does not wait.
    pub fn start(&mut self) {
        self.process.start_again();
        self.up = true;
    }

    /// As clients know it: `connected` ends with the process id.
    pub fn is(&self, connected: &str) -> bool {
        connected.rsplit('-').next() == Some(self.process.pid().to_string().as_str())
    }

    /// All its ways to NATS.
    pub fn links(&self, way: Way) {
        self.links.iter().for_each(|link| link.set(way));
    }

    /// Whether it says that it takes requests.
    pub async fn ready(&self) -> bool {
        self.process.admin("/readyz").await.is_some_and(|(status, _)| status == 200)
    }

    /// The VMs that it does not call stale.
    pub async fn fresh(&self) -> Vec<String> {
        let request = self.process.client().get(self.process.url("/api/vms")).bearer_auth(self.process.key());
        let vms: serde_json::Value = request.send().await.expect("an answer").json().await.expect("JSON");
        let fresh = vms.as_array().into_iter().flatten().filter(|vm| vm["stale"] != true);
        fresh.map(|vm| vm["name"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

fn sections(links: &[Link], vms: &str) -> String {
    let servers: Vec<String> = links.iter().map(|link| format!("nats://127.0.0.1:{}", link.port)).collect();
    format!(
        "[journal]\nkind = \"jetstream\"\nservers = {servers:?}\nfleet = \"chaos\"\nreplicas = 3\n\
         [proxy]\ntrusted = [\"127.0.0.1\"]\n\
         [limits]\nrequests_per_second = 10000\nburst = 100000\nprincipal_requests_per_second = 10000\n\
         principal_burst = 100000\n\
         [poll]\ninterval = \"1s\"\nidle_interval = \"1s\"\n{vms}"
    )
}

/// A `pgrep` that notes who asks and for what. Each poll calls it once: it is the VM's own count of polls.
fn stand_in(name: &str, folder: &Path, polls: &Path) -> std::path::PathBuf {
    let pgrep = find("pgrep").expect("pgrep is missing: install the Debian package procps");
    let text = format!(
        "#!/bin/sh\nfor pattern; do :; done\necho \"$(date +%s.%N) {name} $pattern\" >>'{}'\nexec {} \"$@\"\n",
        polls.display(),
        pgrep.display()
    );
    fs::create_dir_all(folder).expect("a folder");
    let file = folder.join("pgrep");
    fs::write(&file, text).expect("written");
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("made executable");
    folder.to_owned()
}
