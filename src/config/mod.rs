//! From text to a typed, checked configuration. Every mistake is reported at once, with its key, its place and what is
//! allowed.
//!
//! May import `model` only. The flow inside: `tree` parses TOML and keeps places, `environment` lays the variables over
//! it, `unknown` refuses what no key is named like, `table` turns nodes into values as `listed`, the one table of keys,
//! says, `reader` collects the mistakes, `sections`, `vm`, `power`, `dialect` and `tls` make the typed structs and check
//! what depends on more than one key. [`reference()`] renders the same table as `docs/CONFIG.md`, so a key cannot be
//! known and undocumented.

mod auth;
mod cidr;
mod dialect;
mod environment;
mod files;
mod issue;
mod journal;
mod keys;
mod keys_edit;
mod keys_file;
mod listed;
mod load;
mod power;
mod reader;
mod reference;
mod registered;
mod rules;
mod sections;
mod simulated;
mod table;
mod tls;
mod trace;
mod tree;
mod types;
mod unknown;
mod url;
mod vm;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_checks;
#[cfg(test)]
mod tests_fixtures;
#[cfg(test)]
mod tests_keys;

pub use cidr::Cidr;
pub use dialect::CustomDialect;
pub use environment::{Env, MapEnv, PREFIX, ProcessEnv};
pub use issue::{ConfigErrors, ConfigIssue, Place};
pub use keys_edit::KeyEditError;
pub use keys_file::{KeyEntry, KeysFile};
pub use load::MAX_CONFIG_BYTES;
pub use power::PowerConfig;
pub use reference::reference;
pub use simulated::{SimulatedConfig, SimulatedDialect};
pub use types::{
    Access, AdminConfig, AuthConfig, CertificateFiles, Config, CorsConfig, DataConfig, FilesConfig, ForwardedHeader,
    JournalConfig, JournalKind, JwtConfig, JwtKeys, LimitsConfig, LogConfig, LogFormat, LogLevel, NatsConfig,
    NatsCredentials, PollConfig, ProxyConfig, ProxyProtocol, Register, ServerConfig, TlsConfig, TlsMode, TlsVersion,
    TraceConfig, TraceHeader,
};
pub use url::HttpUrl;
pub use vm::{HostKeyPolicy, LogDialect, SshConfig, Transport, VmConfig};
