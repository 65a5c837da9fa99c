//! The configuration as the other rooms see it: typed, checked, with every default filled in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use super::keys::words;
use super::{Cidr, ConfigIssue, HostKeyPolicy, HttpUrl, VmConfig};
use crate::model::{Scopes, Secret, SshUser, VmGrant};

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[admin]`
    pub admin: AdminConfig,
    /// `[tls]`
    pub tls: TlsConfig,
    /// `[proxy]`
    pub proxy: ProxyConfig,
    /// `[limits]`
    pub limits: LimitsConfig,
    /// `[cors]`
    pub cors: CorsConfig,
    /// `[auth]`
    pub auth: AuthConfig,
    /// `[poll]`
    pub poll: PollConfig,
    /// `[journal]`
    pub journal: JournalConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[trace]`
    pub trace: TraceConfig,
    /// `[[vm]]`, in the order of the file; names are unique; at most 10,000.
    pub vms: Vec<VmConfig>,
    /// `[files]`
    pub files: FilesConfig,
    /// `[data]`
    pub data: DataConfig,
    /// `[register]`
    pub register: Register,
    pub(super) warnings: Vec<ConfigIssue>,
}

impl Config {
    /// Choices that are allowed but weaken security, each with its key, in the order of the file.
    pub fn warnings(&self) -> Vec<ConfigIssue> {
        self.warnings.clone()
    }
}

/// `[server]`: where clients connect.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// Address and port; port 0 lets the system choose.
    pub listen: SocketAddr,
}

/// `[admin]`: metrics and health without a key.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminConfig {
    /// A loopback address, unless it is `open`; `None`: no such listener.
    pub listen: Option<SocketAddr>,
    /// Whether others than this machine may reach it.
    pub open: bool,
}

/// `[tls]`.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsConfig {
    /// Where the certificate comes from.
    pub mode: TlsMode,
    /// The lowest version spoken.
    pub min_version: TlsVersion,
    /// CAs of clients' certificates; with them no client comes in without one.
    pub client_ca: Option<PathBuf>,
    /// Whether browsers are told to come over TLS only.
    pub hsts: bool,
    /// Further pairs, chosen by the name that a client asks for; only with [`TlsMode::Files`]. At most 64.
    pub certificates: Vec<CertificateFiles>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Certificate and chain, PEM.
    pub cert: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum TlsMode {
    /// Two PEM files, both readable when the configuration was loaded.
    Files(CertificateFiles),
    /// A leaf of gatewatch's own CA, kept in `data.dir`.
    Dev,
    /// No TLS.
    Off,
}

words! {
    /// A TLS version.
    TlsVersion {
        /// TLS 1.2.
        V1_2 = "1.2",
        /// TLS 1.3.
        V1_3 = "1.3",
    }
}

/// `[proxy]`: load balancers in front.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxyConfig {
    /// Peers whose forwarding headers are believed.
    pub trusted: Vec<Cidr>,
    /// Whether they send a PROXY header.
    pub protocol: ProxyProtocol,
    /// Which of their headers names the client.
    pub header: ForwardedHeader,
}

words! {
    /// Whether trusted peers begin a connection with a PROXY header (G11).
    ProxyProtocol {
        /// Never.
        Off = "off",
        /// They must; everybody else connects directly.
        Optional = "optional",
        /// They must; everybody else is closed.
        Required = "required",
    }
}

words! {
    /// The one header in which trusted peers name the client (G10).
    ForwardedHeader {
        /// `X-Forwarded-For`.
        XForwardedFor = "x-forwarded-for",
        /// `Forwarded` (RFC 7239).
        Forwarded = "forwarded",
    }
}

/// `[limits]`: all at least 1.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitsConfig {
    /// Open connections in all.
    pub connections: usize,
    /// Open connections of one address.
    pub connections_per_ip: usize,
    /// Open streams of one address.
    pub streams_per_ip: usize,
    /// Open streams of one principal.
    pub streams_per_principal: usize,
    /// Requests that wait for the head of their answer, in all.
    pub requests_in_flight: usize,
    /// Requests per second of one address.
    pub requests_per_second: u32,
    /// Requests of one address at once; at least `requests_per_second`.
    pub burst: u32,
    /// Requests per second of one principal.
    pub principal_requests_per_second: u32,
    /// Requests of one principal at once; at least `principal_requests_per_second`.
    pub principal_burst: u32,
    /// Whether answers carry `RateLimit` and `RateLimit-Policy`.
    pub rate_limit_headers: bool,
    /// Failed logins of one address per minute.
    pub auth_failures_per_minute: u32,
}

/// `[cors]`.
#[derive(Clone, Debug, PartialEq)]
pub struct CorsConfig {
    /// Origins: scheme, host and port, as browsers send them.
    pub origins: Vec<String>,
}

/// `[auth]`.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthConfig {
    /// Who is let in.
    pub access: Access,
    /// `[[auth.jwt]]`; at most 16, each with an issuer of its own.
    pub jwt: Vec<JwtConfig>,
    /// How long a browser session lasts, 5 min to 30 d.
    pub session_ttl: Duration,
    /// What session cookies are signed with; `None`: a file in `data.dir`.
    pub session_secret_file: Option<PathBuf>,
}

/// Who is let in.
#[derive(Clone, Debug, PartialEq)]
pub enum Access {
    /// Those with a key of this file ([`super::KeysFile`]); it was readable and had a key when the configuration was
    /// loaded.
    Keys(PathBuf),
    /// Those with a JWT of one of the issuers; there are no API keys.
    Tokens,
    /// Everybody; `server.listen` is a loopback address.
    Open,
}

/// One `[[auth.jwt]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct JwtConfig {
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must contain one of; at least one.
    pub audience: Vec<String>,
    /// Names of accepted algorithms, at least one; all of the HS kind with [`JwtKeys::Secret`], none otherwise.
    pub algorithms: Vec<String>,
    /// Where keys come from.
    pub keys: JwtKeys,
    /// The claim that holds scopes; `None`: `scope`, else `scp`.
    pub scope_claim: Option<String>,
    /// The claim that holds VM globs.
    pub vms_claim: String,
    /// The scopes of a token without that claim.
    pub scopes: Scopes,
    /// The VMs of a token without that claim.
    pub vms: VmGrant,
    /// The longest time between `iat` and `exp`.
    pub max_lifetime: Duration,
}

/// Where the keys of an issuer come from.
#[derive(Clone, Debug, PartialEq)]
pub enum JwtKeys {
    /// An https URL of a JWK set, and the CAs that its server is trusted by (`None`: the system's).
    Url {
        /// Where.
        url: HttpUrl,
        /// PEM.
        ca: Option<PathBuf>,
    },
    /// A file with a JWK set.
    File(PathBuf),
    /// A file with a shared secret, of 32 bytes or more when the configuration was loaded.
    Secret(PathBuf),
}

/// `[poll]`: each 1 to 60 s.
#[derive(Clone, Debug, PartialEq)]
pub struct PollConfig {
    /// Of streams that ask for none.
    pub interval: Duration,
    /// While nobody watches; at least `interval`.
    pub idle_interval: Duration,
    /// Of one poll.
    pub timeout: Duration,
}

/// `[journal]`.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// Which.
    pub kind: JournalKind,
    /// File of `Embedded`, mirror of `Jetstream`.
    pub path: PathBuf,
    /// How long events are kept, at least 7 days; not by `Memory`.
    pub keep_for: Duration,
    /// How many events are kept, as far as they are older than 7 days; not by `Memory`.
    pub keep_events: u64,
    /// Where `Jetstream` is; `None` for every other kind.
    pub nats: Option<NatsConfig>,
}

/// The NATS servers of a journal of kind `Jetstream`, and what is kept there.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    /// URLs, which may carry a password. At least one.
    pub servers: Vec<Secret>,
    /// What stream, buckets and subjects are named after.
    pub fleet: String,
    /// On how many servers they are kept, 1 to 5.
    pub replicas: usize,
    /// What the servers' certificates are checked against; `None`: the system's CAs.
    pub ca: Option<PathBuf>,
    /// What the servers are shown.
    pub certificate: Option<CertificateFiles>,
    /// How gatewatch says who it is, beside what the URLs say.
    pub credentials: Option<NatsCredentials>,
}

/// What a NATS server lets a client in for.
#[derive(Clone, Debug)]
pub enum NatsCredentials {
    /// A file of a JWT and a seed.
    File(PathBuf),
    /// The seed of an nkey.
    Nkey(Secret),
    /// A token.
    Token(Secret),
}

words! {
    /// What keeps durable events.
    JournalKind {
        /// This process's memory.
        Memory = "memory",
        /// SQLite.
        Embedded = "embedded",
        /// NATS JetStream.
        Jetstream = "jetstream",
    }
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// For whom.
    pub format: LogFormat,
    /// From which severity on.
    pub level: LogLevel,
}

words! {
    /// For whom log lines are written.
    LogFormat {
        /// People.
        Text = "text",
        /// Machines.
        Json = "json",
    }
}

words! {
    /// Severity of a log line.
    LogLevel {
        /// What stopped working.
        Error = "error",
        /// What may soon.
        Warn = "warn",
        /// What an operator wants to know.
        Info = "info",
        /// What a developer wants to know.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

/// `[trace]`.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceConfig {
    /// The collector, as it was written; `None`: traces are off.
    pub endpoint: Option<HttpUrl>,
    /// The share of traces that are sent, 0 to 1.
    pub sample: f64,
    /// Headers for the collector. At most 16.
    pub headers: Vec<TraceHeader>,
}

impl TraceConfig {
    /// Where spans are posted to.
    pub fn url(&self) -> Option<String> {
        self.endpoint.as_ref().map(|endpoint| format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/')))
    }
}

/// A header for the collector.
#[derive(Clone, Debug)]
pub struct TraceHeader {
    /// Its name.
    pub name: HeaderName,
    /// Its value, which a header may have.
    pub value: Secret,
}

impl PartialEq for TraceHeader {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.value.matches(other.value.expose())
    }
}

/// `[files]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FilesConfig {
    /// `benchmark_progress.json`; need not exist yet.
    pub progress: Option<PathBuf>,
    /// `benchmark_live.json`; need not exist yet.
    pub live: Option<PathBuf>,
}

/// `[data]`.
#[derive(Clone, Debug, PartialEq)]
pub struct DataConfig {
    /// A directory; need not exist yet.
    pub dir: PathBuf,
}

/// `[register]`: what VMs added by request get.
#[derive(Clone, Debug, PartialEq)]
pub struct Register {
    /// Whether they may be added.
    pub enabled: bool,
    /// Remote user where a request names none.
    pub user: SshUser,
    /// Private key.
    pub identity_file: Option<PathBuf>,
    /// Known host keys.
    pub known_hosts: Option<PathBuf>,
    /// What is done with an unknown host key.
    pub host_key: HostKeyPolicy,
}
