//! What the container's own log says of the boot, as a stage and a percent.

use serde::{Deserialize, Serialize};

use crate::model::{BootMark, Dependency, Stage};

use super::text::cut;

/// Dependencies that are told apart.
const MAX_DEPENDENCIES: usize = 32;

/// How far the container's own log says that Windows is, in the order of the boot table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    #[default]
    Nothing,
    Downloading,
    Extracting,
    Configuring,
    Building,
    Booting,
    Started,
}

/// What the log of one start of the container has said so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Boot {
    level: Level,
    /// 0 to 100, of the download.
    percent: f64,
    pub(super) seconds_left: Option<u64>,
    login_wait: bool,
    pub(super) setup_script: Option<String>,
    pub(super) dependencies: Vec<Dependency>,
}

impl Boot {
    pub(super) fn take(&mut self, mark: &BootMark) {
        let level = match mark {
            BootMark::Downloading { percent, seconds_left } => {
                self.percent = if percent.is_finite() { percent.clamp(0.0, 100.0) } else { 0.0 };
                self.seconds_left = *seconds_left;
                Level::Downloading
            }
            BootMark::Extracting => Level::Extracting,
            BootMark::Configuring => Level::Configuring,
            BootMark::Building => Level::Building,
            BootMark::Booting => Level::Booting,
            BootMark::LoginWait => {
                self.login_wait = true;
                Level::Nothing
            }
            BootMark::WindowsStarted => Level::Started,
            BootMark::SetupScript(name) => {
                self.setup_script = Some(cut(name));
                Level::Nothing
            }
            BootMark::Dependency(dependency) => {
                self.depend(dependency);
                Level::Nothing
            }
        };
        self.level = self.level.max(level);
    }

    fn depend(&mut self, dependency: &Dependency) {
        let name = cut(&dependency.name);
        match self.dependencies.iter().position(|known| known.name == name) {
            Some(at) => self.dependencies[at].complete = dependency.complete,
            None if self.dependencies.len() < MAX_DEPENDENCIES => {
                self.dependencies.push(Dependency { name, complete: dependency.complete });
            }
            None => {}
        }
    }

    /// Whether Windows has started.
    pub(super) fn started(&self) -> bool {
        self.level == Level::Started
    }

    /// The stage and percent that the log gives while the benchmark server is silent.
    pub(super) fn stage(&self) -> (Stage, f64) {
        match self.level {
            Level::Nothing => (Stage::Starting, 0.0),
            Level::Downloading => (Stage::Downloading, 0.30 * self.percent),
            Level::Extracting => (Stage::Extracting, 35.0),
            Level::Configuring => (Stage::Configuring, 50.0),
            Level::Building => (Stage::Building, 60.0),
            Level::Booting => (Stage::Booting, 70.0),
            Level::Started => (Stage::Oobe, if self.login_wait { 85.0 } else { 80.0 }),
        }
    }
}
