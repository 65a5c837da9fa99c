//! The sections, read one by one, and what must hold between them.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::listed::*;
use super::reader::{Document, Reader};
use super::rules::is_loopback;
use super::table::Table;
use super::types::*;
use super::vm::Trust;
use super::{HostKeyPolicy, VmConfig, rules};
use crate::model::VmName;

/// How many VMs one configuration may have.
const MAX_VMS: usize = 10_000;

/// Reads everything. Mistakes are collected by `reader`, so what is returned counts only if there were none.
pub(super) fn read(document: &Document, reader: &Reader<'_>) -> Option<Config> {
    let table = |name: &str| document.table(reader, name);
    let listen = table("server").parsed(&SERVER_LISTEN, rules::address);
    if listen.is_none() && !reader.has_issue_of(SERVER_LISTEN.path) {
        table("server").refuse(&SERVER_LISTEN, "is empty; clients need an address");
    }
    let files = files(&table("files"));
    let register = register(&table("register"));
    let data = data(&table("data"));
    let config = Config {
        admin: admin(&table("admin"), listen),
        tls: super::tls::read(&table("tls"), listen),
        proxy: proxy(&table("proxy")),
        limits: limits(&table("limits")),
        cors: CorsConfig { origins: table("cors").list(&CORS_ORIGINS, rules::origin) },
        auth: super::auth::read(&table("auth"), listen),
        poll: poll(&table("poll")),
        journal: super::journal::read(&table("journal"), &data.dir),
        log: log(&table("log")),
        trace: super::trace::read(&table("trace")),
        vms: vms(&document.entries(reader, "vm"), &files),
        data,
        files,
        // Every other section has been read by here, so no mistake goes unseen.
        register: register?,
        server: ServerConfig { listen: listen? },
        warnings: Vec::new(),
    };
    if config.vms.is_empty() && !config.register.enabled && config.files == FilesConfig::default() {
        table("register").warn(&REGISTER_ENABLED, "there is no [[vm]], and none can be registered: nothing is watched");
    }
    Some(config)
}

fn admin(table: &Table<'_>, server: Option<SocketAddr>) -> AdminConfig {
    let listen = table.parsed(&ADMIN_LISTEN, rules::address);
    let open = table.bool(&ADMIN_OPEN);
    if let Some(address) = listen {
        if Some(address) == server && address.port() != 0 {
            table.refuse(&ADMIN_LISTEN, format!("{address} is server.listen too"));
        } else if !is_loopback(address) && open {
            let warning = format!("whoever reaches {address} reads metrics and the names of all VMs, without a key");
            table.warn(&ADMIN_OPEN, warning);
        } else if !is_loopback(address) {
            let refusal =
                format!("{address} is not a loopback address; it is served without a key (or set admin.open)");
            table.refuse(&ADMIN_LISTEN, refusal);
        }
    }
    AdminConfig { listen, open }
}

fn proxy(table: &Table<'_>) -> ProxyConfig {
    let proxy = ProxyConfig {
        trusted: table.list(&PROXY_TRUSTED, rules::trusted_range),
        protocol: table.word(&PROXY_PROTOCOL, ProxyProtocol::from_word, ProxyProtocol::Off),
        header: table.word(&PROXY_HEADER, ForwardedHeader::from_word, ForwardedHeader::XForwardedFor),
    };
    if proxy.protocol != ProxyProtocol::Off && !table.has(&PROXY_TRUSTED) {
        let word = proxy.protocol.as_str();
        table.refuse(&PROXY_PROTOCOL, format!("\"{word}\", but proxy.trusted names nobody who could send one"));
    }
    proxy
}

fn limits(table: &Table<'_>) -> LimitsConfig {
    let limits = LimitsConfig {
        connections: table.integer(&LIMITS_CONNECTIONS),
        connections_per_ip: table.integer(&LIMITS_CONNECTIONS_PER_IP),
        streams_per_ip: table.integer(&LIMITS_STREAMS_PER_IP),
        streams_per_principal: table.integer(&LIMITS_STREAMS_PER_PRINCIPAL),
        requests_in_flight: table.integer(&LIMITS_REQUESTS_IN_FLIGHT),
        requests_per_second: table.integer(&LIMITS_REQUESTS_PER_SECOND),
        burst: table.integer(&LIMITS_BURST),
        principal_requests_per_second: table.integer(&LIMITS_PRINCIPAL_REQUESTS),
        principal_burst: table.integer(&LIMITS_PRINCIPAL_BURST),
        rate_limit_headers: table.bool(&LIMITS_RATE_LIMIT_HEADERS),
        auth_failures_per_minute: table.integer(&LIMITS_AUTH_FAILURES),
    };
    let not_less = |key, name: &str, burst, rate| {
        if burst < rate {
            table.refuse(key, format!("{burst} is less than {name}, which is {rate}"));
        }
    };
    not_less(&LIMITS_BURST, "requests_per_second", limits.burst, limits.requests_per_second);
    let (burst, rate) = (limits.principal_burst, limits.principal_requests_per_second);
    not_less(&LIMITS_PRINCIPAL_BURST, "principal_requests_per_second", burst, rate);
    limits
}

fn poll(table: &Table<'_>) -> PollConfig {
    let poll = PollConfig {
        interval: table.duration(&POLL_INTERVAL),
        idle_interval: table.duration(&POLL_IDLE_INTERVAL),
        timeout: table.duration(&POLL_TIMEOUT),
    };
    if poll.idle_interval < poll.interval {
        let shown = |duration| humantime::format_duration(duration).to_string();
        let message =
            format!("{} is less than poll.interval, which is {}", shown(poll.idle_interval), shown(poll.interval));
        table.refuse(&POLL_IDLE_INTERVAL, message);
    }
    poll
}

fn log(table: &Table<'_>) -> LogConfig {
    LogConfig {
        format: table.word(&LOG_FORMAT, LogFormat::from_word, LogFormat::Text),
        level: table.word(&LOG_LEVEL, LogLevel::from_word, LogLevel::Info),
    }
}

fn vms(entries: &[Table<'_>], files: &FilesConfig) -> Vec<VmConfig> {
    if let Some(first_too_many) = entries.get(MAX_VMS) {
        first_too_many.refuse_here(format!("there are {} VMs, at most {MAX_VMS} are allowed", entries.len()));
    }
    let mut seen: HashMap<VmName, &Table<'_>> = HashMap::new();
    let mut vms = Vec::new();
    for entry in entries.iter().take(MAX_VMS) {
        let Some(vm) = super::vm::read(entry) else { continue };
        if vm.name.as_str() == "local" && *files != FilesConfig::default() {
            entry.refuse(&VM_NAME, "\"local\" is the name of the VM that [files] stands for");
        }
        match seen.get(&vm.name) {
            Some(first) => {
                entry.refuse(&VM_NAME, format!("\"{}\" is the name of the VM at {} too", vm.name, first.place()))
            }
            None => {
                seen.insert(vm.name.clone(), entry);
                vms.push(vm);
            }
        }
    }
    renames(&vms, &seen, files);
    vms
}

/// Refuses old names that are somebody's: an identity has one VM.
fn renames(vms: &[VmConfig], entries: &HashMap<VmName, &Table<'_>>, files: &FilesConfig) {
    let mut taken: HashMap<&VmName, &Table<'_>> = HashMap::new();
    for vm in vms {
        let (Some(old), Some(entry)) = (&vm.renamed_from, entries.get(&vm.name)) else { continue };
        let refuse = |message: String| entry.refuse(&VM_RENAMED_FROM, message);
        if *old == vm.name {
            refuse(format!("\"{old}\" is the VM's own name"));
        } else if let Some(other) = entries.get(old) {
            refuse(format!("\"{old}\" is the name of the VM at {}", other.place()));
        } else if old.as_str() == "local" && *files != FilesConfig::default() {
            refuse("\"local\" is the name of the VM that [files] stands for".to_owned());
        } else if let Some(first) = taken.insert(old, entry) {
            refuse(format!("\"{old}\" is the old name of the VM at {} too", first.place()));
        }
    }
}

fn files(table: &Table<'_>) -> FilesConfig {
    FilesConfig { progress: table.path(&FILES_PROGRESS), live: table.path(&FILES_LIVE) }
}

fn data(table: &Table<'_>) -> DataConfig {
    let dir = table.path(&DATA_DIR);
    match &dir {
        Some(dir) if dir.exists() && !dir.is_dir() => table.refuse(&DATA_DIR, "is there, but is not a directory"),
        None if !table.has(&DATA_DIR) => table.refuse(&DATA_DIR, "is empty; a directory is needed"),
        _ => {}
    }
    DataConfig { dir: dir.unwrap_or_default() }
}

/// `None` after a mistake, which is then reported.
fn register(table: &Table<'_>) -> Option<Register> {
    let user = super::vm::user(table, &REGISTER_USER);
    let host_key = table.word(&REGISTER_HOST_KEY, HostKeyPolicy::from_word, HostKeyPolicy::Strict);
    let trust = Trust::read(table, &REGISTER_IDENTITY_FILE, &REGISTER_KNOWN_HOSTS, &REGISTER_HOST_KEY, host_key);
    Some(Register {
        enabled: table.bool(&REGISTER_ENABLED),
        user: user?,
        identity_file: trust.identity_file,
        known_hosts: trust.known_hosts,
        host_key,
    })
}
