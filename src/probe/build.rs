//! From a VM's configuration to its probe.

use std::path::Path;
use std::time::SystemTime;

use super::log::{CustomDialect, CustomError, Profile};
use super::poller::{LogSource, Probe, ProbeConfig};
use super::power::{PowerSource, is_installed};
use super::scenario::Scenario;
use super::transport::{HostKeys, Local, Simulated, Ssh, SshConfig, Transport};
use crate::config::{HostKeyPolicy, LogDialect, SimulatedConfig, SimulatedDialect, Transport as Way, VmConfig};
use crate::model::{Dialect, Timestamp};

/// Why a probe cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Expressions of a custom dialect; a configuration that was checked has none of these.
    #[error("the custom dialect: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Dialect(Vec<CustomError>),
}

impl Probe {
    /// The probe of `vm`, not connected yet. ssh's own files go below `runtime_dir`, which must be private and short.
    ///
    /// # Errors
    /// If a custom dialect does not compile.
    pub fn build(vm: &VmConfig, runtime_dir: &Path) -> Result<Self, BuildError> {
        let profile = match (vm.log_dialect, &vm.dialect) {
            (LogDialect::Custom, Some(patterns)) => {
                Profile::Custom(CustomDialect::new(patterns).map_err(BuildError::Dialect)?.into())
            }
            (LogDialect::Auto | LogDialect::Custom, _) => Profile::Auto,
            (LogDialect::Openadapt, _) => Profile::Openadapt,
            (LogDialect::Waa, _) => Profile::Waa,
        };
        let logs =
            vm.benchmark_log.iter().map(|path| LogSource { path: path.as_str().into(), profile: profile.clone() });
        let config = ProbeConfig {
            container: vm.container.clone(),
            probe_url: vm.probe_url.as_ref().map(ToString::to_string),
            process_pattern: vm.process.clone(),
            logs: logs.collect(),
        };
        let scenario = match &vm.transport {
            Way::Simulated(played) => Some(scenario(played)),
            Way::Ssh(_) | Way::Local => None,
        };
        let power = vm.power.clone().map(PowerSource::Command).or_else(|| scenario.clone().map(PowerSource::Simulated));
        let transport: Box<dyn Transport> = match (&vm.transport, scenario) {
            (Way::Ssh(ssh), _) => Box::new(Ssh::new(SshConfig {
                host: ssh.host.clone(),
                port: ssh.port,
                user: ssh.user.clone(),
                identity_file: ssh.identity_file.clone(),
                known_hosts: ssh.known_hosts.clone(),
                host_keys: match ssh.host_key {
                    HostKeyPolicy::Strict => HostKeys::Strict,
                    HostKeyPolicy::AcceptNew => HostKeys::AcceptNew,
                },
                runtime_dir: runtime_dir.to_owned(),
            })),
            (_, Some(scenario)) => Box::new(Simulated::new(scenario)),
            (_, None) => Box::new(Local::new()),
        };
        Ok(Self::new(config, transport, power))
    }

    /// What `vm` needs and this machine lacks, in words that name the key.
    pub fn missing_programs(vm: &VmConfig) -> Vec<String> {
        let program = vm.power.clone().map(PowerSource::Command).and_then(|power| power.missing_program());
        let power = program.map(|program| format!("power: the program {program:?} is not installed, or not in PATH"));
        let ssh = (matches!(vm.transport, Way::Ssh(_)) && !is_installed("ssh"))
            .then(|| "transport: there is no ssh program here: install openssh-client".to_owned());
        power.into_iter().chain(ssh).collect()
    }
}

fn scenario(played: &SimulatedConfig) -> Scenario {
    Scenario {
        started: played.started.unwrap_or_else(|| Timestamp::from(SystemTime::now()).0),
        speed: played.speed,
        start_at: played.start_at,
        tasks: played.tasks,
        dialect: match played.dialect {
            SimulatedDialect::Openadapt => Dialect::Openadapt,
            SimulatedDialect::Waa => Dialect::Waa,
        },
        trouble: played.trouble,
        once: played.once,
    }
}
