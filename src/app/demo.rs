//! What `gatewatch demo` runs on: an ordinary configuration of simulated VMs, and secrets kept in a folder.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{key_commands, keys};
use crate::config::{Config, MapEnv};
use crate::model::{Secret, Timestamp};

/// Seconds of the script between two neighbouring VMs, so that each is at another point of the timeline.
const APART: u64 = 27;

/// What a demo is to be like.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// How many VMs.
    pub vms: u16,
    /// How fast their clocks run.
    pub speed: f64,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Whether TLS is on.
    pub tls: bool,
}

/// A demo that is ready to be built.
pub struct Demo {
    /// Its configuration.
    pub config: Config,
    /// Its admin key.
    pub key: Secret,
    /// What its login link carries.
    pub login_code: Secret,
}

/// What a demo keeps, so that a restart continues where it was.
#[derive(Serialize, Deserialize)]
struct Kept {
    key: String,
    login_code: String,
    /// When the first VM's script began, epoch seconds.
    started: f64,
}

/// Reads what an earlier demo kept in `data_dir`, or makes it, and writes the configuration.
///
/// # Errors
/// One readable line, if the folder cannot be used.
pub fn prepare_demo(options: &DemoOptions) -> Result<Demo, String> {
    let dir = &options.data_dir;
    let at = |error: std::io::Error| format!("{}: {error}", dir.display());
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at)?;
    // A name of its own: the folder may hold somebody's real keys.
    let keys_file = dir.join("demo-keys.toml");
    let kept = keep(dir, &keys_file)?;
    let text = configuration(options, &keys_file, kept.started);
    let config = Config::parse(&text, "demo", &MapEnv::default()).map_err(|errors| errors.to_string())?;
    Ok(Demo { config, key: Secret::new(kept.key), login_code: Secret::new(kept.login_code) })
}

fn keep(dir: &Path, keys_file: &Path) -> Result<Kept, String> {
    let path = dir.join("demo.json");
    if let Ok(text) = fs::read(&path)
        && let Ok(kept) = serde_json::from_slice::<Kept>(&text)
        && keys_file.exists()
    {
        return Ok(kept);
    }
    let at = |error: std::io::Error| format!("{}: {error}", path.display());
    // A keys file without its key is of no use to anybody.
    if keys_file.exists() {
        fs::remove_file(keys_file).map_err(at)?;
    }
    let key = key_commands::new_key(keys_file, "demo", &["admin".to_owned()], &["*".to_owned()], "never")?;
    let kept = Kept {
        key: key.expose().to_owned(),
        login_code: keys::random_text(),
        started: Timestamp::from(SystemTime::now()).0,
    };
    let text = serde_json::to_vec(&kept).map_err(|error| error.to_string())?;
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).map_err(at)?;
    file.write_all(&text).map_err(at)?;
    Ok(kept)
}

fn configuration(options: &DemoOptions, keys_file: &Path, started: f64) -> String {
    // Debug's escapes are TOML's for every path without control characters; others are refused as a mistake.
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let mut text = format!(
        "[server]\nlisten = \"{}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[tls]\nmode = \"{}\"\n[data]\ndir = {}\n\
         [auth]\nkeys_file = {}\n[poll]\ninterval = \"1s\"\nidle_interval = \"5s\"\n[log]\nlevel = \"warn\"\n",
        options.listen,
        if options.tls { "dev" } else { "off" },
        quoted(&options.data_dir),
        quoted(keys_file),
    );
    for index in 0..options.vms {
        // The second one stops answering for a while in each round, and recovers.
        let (trouble, dialect) = (index % 10 == 1, if index % 2 == 1 { "waa" } else { "openadapt" });
        let _ = write!(
            text,
            "[[vm]]\nname = \"demo-{}\"\ntransport = \"simulated\"\nvnc_url = \"http://192.0.2.{}:8006\"\n\
             [vm.simulated]\nspeed = \"{}\"\nstart_at = \"{}s\"\nstarted = \"{started}\"\ndialect = \"{dialect}\"\ntrouble = {trouble}\n",
            index + 1,
            10 + index % 200,
            options.speed,
            u64::from(index) * APART,
        );
    }
    text
}
