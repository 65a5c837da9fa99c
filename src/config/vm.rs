//! `[[vm]]`: one VM to watch.

use std::path::PathBuf;

use super::files;
use super::issue::quoted;
use super::keys::{Default, Key, words};
use super::listed::{
    VM_BENCHMARK_LOG, VM_CONTAINER, VM_HOST, VM_HOST_KEY, VM_IDENTITY_FILE, VM_KNOWN_HOSTS, VM_LOG_DIALECT, VM_NAME,
    VM_PORT, VM_PROBE_URL, VM_PROCESS, VM_RENAMED_FROM, VM_TOTAL_TASKS, VM_TRANSPORT, VM_USER, VM_VNC_URL,
};
use super::table::Table;
use super::tree::{Node, Value};
use super::{CustomDialect, HttpUrl, PowerConfig, SimulatedConfig, rules};
use crate::model::{SshHost, SshUser, VmFacts, VmName};

/// The words of `vm.transport`.
pub(super) static TRANSPORTS: &[&str] = &["ssh", "local", "simulated"];

/// One VM to watch.
#[derive(Clone, Debug, PartialEq)]
pub struct VmConfig {
    /// For people and grants; unique among the VMs of the file.
    pub name: VmName,
    /// The name that it had before; neither its own nor that of another VM of the file.
    pub renamed_from: Option<VmName>,
    /// How it is reached.
    pub transport: Transport,
    /// The container that runs Windows; `None`: there is none.
    pub container: Option<String>,
    /// Where the benchmark server answers, as seen from the VM.
    pub probe_url: Option<HttpUrl>,
    /// `pgrep -f` pattern of the benchmark process: at most 200 characters, no control characters; not quoted for a shell.
    pub process: String,
    /// Absolute paths on the VM, 1 to 16, all different, no control characters; not quoted for a shell.
    pub benchmark_log: Vec<String>,
    /// How these logs are written.
    pub log_dialect: LogDialect,
    /// Present exactly if `log_dialect` is `Custom`.
    pub dialect: Option<CustomDialect>,
    /// Tasks of a run, where the log does not say: 1 to 1,000,000.
    pub total_tasks: Option<u64>,
    /// The VNC page, as seen from gatewatch.
    pub vnc_url: Option<HttpUrl>,
    /// How its power state is found out; `None`: reachable means on.
    pub power: Option<PowerConfig>,
}

/// How a VM is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum Transport {
    /// Over one kept SSH connection.
    Ssh(SshConfig),
    /// gatewatch runs on the VM.
    Local,
    /// A scripted VM.
    Simulated(SimulatedConfig),
}

/// What ssh needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct SshConfig {
    /// Where it connects.
    pub host: SshHost,
    /// Remote user.
    pub user: SshUser,
    /// Port of sshd, 1 to 65535.
    pub port: u16,
    /// Private key; `None`: ssh's agent and its default keys. It was readable, and by nobody else, when loaded.
    pub identity_file: Option<PathBuf>,
    /// Known host keys; `None`: the user's own file. With `Strict` it existed when loaded.
    pub known_hosts: Option<PathBuf>,
    /// What is done with an unknown host key. A changed one is always refused (G66).
    pub host_key: HostKeyPolicy,
}

words! {
    /// What is done with an unknown host key.
    HostKeyPolicy {
        /// Refused.
        Strict = "strict",
        /// Believed the first time, and remembered.
        AcceptNew = "accept-new",
    }
}

words! {
    /// How a benchmark log is written.
    LogDialect {
        /// Found out from its lines: `Openadapt` or `Waa`.
        Auto = "auto",
        /// `Task 5/30: notepad_1`.
        Openadapt = "openadapt",
        /// Windows Agent Arena's own `run.py`.
        Waa = "waa",
        /// As `[vm.dialect]` says.
        Custom = "custom",
    }
}

impl VmConfig {
    /// What clients may know of it.
    pub fn facts(&self) -> VmFacts {
        let (host, user) = match &self.transport {
            Transport::Ssh(ssh) => (ssh.host.to_string(), ssh.user.to_string()),
            Transport::Local | Transport::Simulated(_) => (String::new(), String::new()),
        };
        VmFacts {
            host,
            user,
            container: self.container.clone().unwrap_or_default(),
            internal_ip: self.probe_url.as_ref().map(|url| url.host().to_owned()).unwrap_or_default(),
            waa_port: self.probe_url.as_ref().map_or(0, HttpUrl::port),
            vnc_url: self.vnc_url.as_ref().map(ToString::to_string),
        }
    }
}

/// Reads one `[[vm]]`; `None` if what it cannot do without is missing or wrong, which is then reported.
pub(super) fn read(table: &Table<'_>) -> Option<VmConfig> {
    let name = table.parsed(&VM_NAME, VmName::new);
    let renamed_from = table.parsed(&VM_RENAMED_FROM, VmName::new);
    let transport = transport(table);
    let log_dialect = table.word(&VM_LOG_DIALECT, LogDialect::from_word, LogDialect::Auto);
    let process = process(table);
    let total_tasks = table.integer::<u64>(&VM_TOTAL_TASKS);
    let dialect = super::dialect::read(&table.table("dialect"), log_dialect);
    let vm = VmConfig {
        container: table.parsed(&VM_CONTAINER, rules::container),
        probe_url: table.parsed(&VM_PROBE_URL, HttpUrl::parse),
        benchmark_log: logs(table),
        log_dialect,
        dialect,
        total_tasks: (total_tasks > 0).then_some(total_tasks),
        vnc_url: table.parsed(&VM_VNC_URL, HttpUrl::parse),
        power: super::power::read(&table.table("power"), name.as_ref()),
        process: process?,
        transport: transport?,
        renamed_from,
        name: name?,
    };
    Some(vm)
}

fn process(table: &Table<'_>) -> Option<String> {
    match table.look(&VM_PROCESS) {
        // Compiled only if written: ten thousand VMs at the default need no proof that it compiles.
        None => Some(default_process()),
        Some(_) if table.has(&VM_PROCESS) => table.parsed(&VM_PROCESS, rules::process),
        Some(_) => {
            table.refuse(&VM_PROCESS, "is empty, which every process would match");
            None
        }
    }
}

fn logs(table: &Table<'_>) -> Vec<String> {
    let logs = table.list(&VM_BENCHMARK_LOG, rules::log_path);
    for (i, log) in logs.iter().enumerate() {
        if logs[..i].contains(log) {
            table.refuse(&VM_BENCHMARK_LOG, format!("names {} twice", quoted(log)));
        }
    }
    if table.look(&VM_BENCHMARK_LOG).is_some_and(is_empty_list) {
        table.refuse(&VM_BENCHMARK_LOG, "is empty; at least one log is needed");
    }
    logs
}

/// Whether a list is written, but with nothing in it.
pub(super) fn is_empty_list(node: &Node) -> bool {
    match &node.value {
        Value::List(items) => items.is_empty(),
        Value::Text(text) => text.is_empty(),
        _ => false,
    }
}

fn transport(table: &Table<'_>) -> Option<Transport> {
    let known = |word: &str| TRANSPORTS.iter().find(|known| **known == word).copied();
    let word = table.word(&VM_TRANSPORT, known, "");
    let played = table.table("simulated");
    if word != "simulated" && played.is_written() {
        played.refuse_here(format!("is for transport \"simulated\", but this VM's is \"{word}\""));
    }
    match word {
        "ssh" => ssh(table).map(Transport::Ssh),
        "local" => without_ssh(table, "local", Transport::Local),
        "simulated" => {
            let played = super::simulated::read(&table.table("simulated"));
            without_ssh(table, "simulated", Transport::Simulated(played))
        }
        _ => None,
    }
}

/// Keys of ssh beside another transport: they would do nothing, and who wrote them expects otherwise.
fn without_ssh(table: &Table<'_>, word: &str, transport: Transport) -> Option<Transport> {
    let keys: [&'static Key; 6] = [&VM_HOST, &VM_USER, &VM_PORT, &VM_IDENTITY_FILE, &VM_KNOWN_HOSTS, &VM_HOST_KEY];
    for key in keys.into_iter().filter(|key| table.has(key)) {
        table.refuse(key, format!("is for transport \"ssh\", but this VM's is \"{word}\""));
    }
    Some(transport)
}

fn ssh(table: &Table<'_>) -> Option<SshConfig> {
    let host = table.parsed(&VM_HOST, SshHost::new);
    if !table.has(&VM_HOST) {
        table.refuse(&VM_HOST, "is missing: transport \"ssh\" needs a host name or IP address");
    }
    let host_key = table.word(&VM_HOST_KEY, HostKeyPolicy::from_word, HostKeyPolicy::Strict);
    let trust = Trust::read(table, &VM_IDENTITY_FILE, &VM_KNOWN_HOSTS, &VM_HOST_KEY, host_key);
    let user = user(table, &VM_USER);
    let port = table.integer(&VM_PORT);
    Some(SshConfig {
        host: host?,
        user: user?,
        port,
        identity_file: trust.identity_file,
        known_hosts: trust.known_hosts,
        host_key,
    })
}

/// The remote user, which there must be.
pub(super) fn user(table: &Table<'_>, key: &'static Key) -> Option<SshUser> {
    let user = table.parsed(key, SshUser::new);
    if table.look(key).is_some_and(|node| matches!(&node.value, Value::Text(text) if text.is_empty())) {
        table.refuse(key, "is empty; ssh needs a user");
    }
    user
}

/// The files that ssh proves itself and its peer by.
pub(super) struct Trust {
    pub(super) identity_file: Option<PathBuf>,
    pub(super) known_hosts: Option<PathBuf>,
}

impl Trust {
    /// Reads and checks them; for `[[vm]]` and `[register]` alike.
    pub(super) fn read(
        table: &Table<'_>,
        identity: &'static Key,
        hosts: &'static Key,
        policy_key: &'static Key,
        policy: HostKeyPolicy,
    ) -> Self {
        let identity_file = table.path(identity);
        if let Some(Err(message)) = identity_file.as_deref().map(files::identity) {
            table.refuse(identity, message);
        }
        let known_hosts = table.path(hosts);
        match (policy, known_hosts.as_deref()) {
            (HostKeyPolicy::Strict, Some(path)) => {
                if let Err(message) = files::readable(path) {
                    table.refuse(hosts, format!("{message}; host_key = \"strict\" needs it"));
                }
            }
            (HostKeyPolicy::Strict, None) => {}
            (HostKeyPolicy::AcceptNew, _) => {
                table.warn(policy_key, "whoever answers at the first contact is believed to be the VM");
            }
        }
        Self { identity_file, known_hosts }
    }
}

/// The default of `vm.port`.
pub(super) fn default_port() -> u16 {
    if let Default::Integer(port) = VM_PORT.default { u16::try_from(port).unwrap_or_default() } else { 0 }
}

/// The default of `vm.process`.
pub(super) fn default_process() -> String {
    if let Default::Text(pattern) = VM_PROCESS.default { pattern.to_owned() } else { String::new() }
}

/// The default of `vm.benchmark_log`.
pub(super) fn default_logs() -> Vec<String> {
    if let Default::List(logs) = VM_BENCHMARK_LOG.default {
        logs.iter().map(|log| (*log).to_owned()).collect()
    } else {
        Vec::new()
    }
}
