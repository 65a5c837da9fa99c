//! Where a VM is in the state machine.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a VM is between off and a finished benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The power source says that it is off (or stopping), and it cannot be reached.
    Off,
    /// It starts: powered but not reachable yet, or reachable with no running container.
    Starting,
    /// The container downloads Windows.
    Downloading,
    /// The container unpacks the image.
    Extracting,
    /// Drivers are added to the image.
    Configuring,
    /// The image is rebuilt, or the disk is made.
    Building,
    /// QEMU boots Windows.
    Booting,
    /// Windows runs, its benchmark server does not answer yet.
    Oobe,
    /// The benchmark server answers.
    Ready,
    /// A benchmark process runs.
    Running,
    /// The last benchmark run ended, and none has begun since.
    Complete,
    /// Three polls in a row failed, or 15 s of them.
    Unreachable,
    /// It was taken out of the configuration.
    Removed,
}

impl Stage {
    /// Every stage, in the order of the timeline.
    pub const ALL: [Self; 13] = [
        Self::Off,
        Self::Starting,
        Self::Downloading,
        Self::Extracting,
        Self::Configuring,
        Self::Building,
        Self::Booting,
        Self::Oobe,
        Self::Ready,
        Self::Running,
        Self::Complete,
        Self::Unreachable,
        Self::Removed,
    ];

    /// The stage in its own words, as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Starting => "starting",
            Self::Downloading => "downloading",
            Self::Extracting => "extracting",
            Self::Configuring => "configuring",
            Self::Building => "building",
            Self::Booting => "booting",
            Self::Oobe => "oobe",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Unreachable => "unreachable",
            Self::Removed => "removed",
        }
    }

    /// The stage in the words that clients of the replaced server know: `ready` while a benchmark runs and after it.
    pub fn phase(self) -> &'static str {
        match self {
            Self::Starting => "booting",
            Self::Running | Self::Complete => "ready",
            other => other.as_str(),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
