//! Every key of the configuration file, on a few screens: path, type and range, default, meaning.

use super::keys::{Default, Key, Kind, Schema, keys};
use super::simulated::SimulatedDialect;
use super::types::{ForwardedHeader, JournalKind, LogFormat, LogLevel, ProxyProtocol, TlsVersion};
use super::vm::{HostKeyPolicy, LogDialect, TRANSPORTS};

/// The configuration file.
pub(super) static CONFIG: Schema = Schema { keys: KEYS, sections: SECTIONS };

/// The words of `tls.mode`.
pub(super) static TLS_MODES: &[&str] = &["files", "dev", "off"];
/// The words of `vm.power.preset`.
pub(super) static PRESETS: &[&str] = &["azure", "aws", "gcloud", "command"];
/// The algorithms a JWT may be signed with.
pub(super) static ALGORITHMS: &[&str] =
    &["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

static SECTIONS: &[(&str, &str)] = &[
    ("server", "Where clients connect."),
    ("admin", "Metrics and health, without a key: for this machine only, unless told otherwise."),
    ("tls", "Encryption between clients and gatewatch."),
    (
        "tls.certificate[]",
        "Further certificates, one entry each; at most 64. A client is shown the one that has the name it asks for \
         (SNI), an exact name before a wildcard, and that of `[tls]` if none has.",
    ),
    ("proxy", "Load balancers in front of gatewatch."),
    ("limits", "Caps on what one address, one key and all of them together may use. The defaults suit a team of 50."),
    ("cors", "Pages of other origins that may call the API."),
    ("auth", "Who may call. `keys_file`, an `[[auth.jwt]]` or `none = true` must be written out."),
    (
        "auth.jwt[]",
        "Issuers of JWTs to trust, one entry each; at most 16. One of `jwks_url`, `jwks_file` and `secret_file` is needed.",
    ),
    ("auth.session", "Browser sessions."),
    ("poll", "How often VMs are asked. The interval in force is the smallest that an open stream asked for."),
    ("journal", "Where durable events are kept."),
    ("log", "What gatewatch writes about itself."),
    ("trace", "OpenTelemetry traces of requests and polls, sent to a collector. Off without `endpoint`."),
    ("vm[]", "A VM to watch, one entry each; at most 10000."),
    (
        "vm[].simulated",
        "What a VM with `transport = \"simulated\"` plays: off, starting, boot, ready, a run, complete.",
    ),
    ("vm[].power", "How to find out whether the VM is powered. Absent: reachable means on."),
    (
        "vm[].dialect",
        "Regular expressions that read the log when `log_dialect = \"custom\"`; one of `task_start` and `task` is \
         needed. \
      What an expression finds is in its named groups, such as `(?<task>...)`.",
    ),
    ("files", "Local files that are watched like a VM named `local`."),
    ("data", "What gatewatch itself keeps."),
    ("register", "VMs added while gatewatch runs, by `POST /api/vms/register`."),
];

const PORT: Kind = Kind::Integer { min: 1, max: 65_535 };
const ADDRESS: Kind = Kind::Text("IP address and port");
const URL: Kind = Kind::Text("http or https URL");
const HOST: Kind = Kind::Text("host name or IP address");
const USER: Kind = Kind::Text("user name");
const CLOUD_NAME: Kind = Kind::Text("name");
const REGEX: Kind = Kind::Text("regular expression");
const POLL_RANGE: Kind = Kind::Duration { min: 1, max: 60 };

keys! { KEYS:
    SERVER_LISTEN = Key::new("server.listen", ADDRESS, Default::Text("127.0.0.1:8765"),
        "Where clients connect. The default is reachable from this machine only; `0.0.0.0:8765` from everywhere.");

    ADMIN_LISTEN = Key::new("admin.listen", ADDRESS, Default::Text("127.0.0.1:9765"),
        "Where metrics and health are served without a key; so it must be a loopback address, unless `open` is set. \
         `\"\"`: nowhere.");
    ADMIN_OPEN = Key::new("admin.open", Kind::Bool, Default::Bool(false),
        "Lets `listen` be an address that others reach, in clear text and without a key: names, stages and progress of all \
         VMs are then for everybody on that network. For a container or a private network; elsewhere give Prometheus a key \
         with `metrics:read` and the public listener.");

    TLS_MODE = Key::new("tls.mode", Kind::OneOf(TLS_MODES), Default::None,
        "`files`: the certificate in `cert` and `key`. `dev`: a certificate of gatewatch's own CA, made in `data.dir`. \
         `off`: clear text. Not written: `files` if `cert` or `key` is, otherwise `dev` on a loopback address; on any \
         other address it must be written.");
    TLS_CERT = Key::new("tls.cert", Kind::Path, Default::None,
        "The certificate and its chain, PEM. Needed with `mode = \"files\"`.");
    TLS_KEY = Key::new("tls.key", Kind::Path, Default::None,
        "The certificate's private key, PEM. Needed with `mode = \"files\"`.");
    TLS_CLIENT_CA = Key::new("tls.client_ca", Kind::Path, Default::None,
        "The CAs that clients' certificates must come from (mutual TLS), PEM. With it no client comes in without one, and \
         no session is resumed.");
    TLS_MIN_VERSION = Key::new("tls.min_version", Kind::OneOf(TlsVersion::WORDS), Default::Text("1.2"),
        "The lowest TLS version spoken.");
    TLS_HSTS = Key::new("tls.hsts", Kind::Bool, Default::Bool(true),
        "Whether `Strict-Transport-Security` (one year) goes with every answer. Never with the development certificate.");
    TLS_CERTIFICATE_CERT = Key::new("tls.certificate[].cert", Kind::Path, Default::Required,
        "As `tls.cert`.");
    TLS_CERTIFICATE_KEY = Key::new("tls.certificate[].key", Kind::Path, Default::Required,
        "As `tls.key`.");

    PROXY_TRUSTED = Key::new("proxy.trusted", Kind::List { of: "CIDR range", max: 256 }, Default::List(&[]),
        "Addresses of load balancers whose `X-Forwarded-For` and PROXY headers are believed. A range of everybody \
         (`/0`) is refused.");
    PROXY_PROTOCOL = Key::new("proxy.protocol", Kind::OneOf(ProxyProtocol::WORDS), Default::Text("off"),
        "PROXY v1 or v2 in front of TLS. `optional`: trusted peers must begin with one, everybody else connects \
         directly. `required`: nobody else connects at all. It needs `trusted`.");
    PROXY_HEADER = Key::new("proxy.header", Kind::OneOf(ForwardedHeader::WORDS), Default::Text("x-forwarded-for"),
        "Which header of trusted peers names the client (`forwarded`: RFC 7239). The other one is ignored.");

    LIMITS_CONNECTIONS = Key::new("limits.connections", Kind::Integer { min: 1, max: 100_000 }, Default::Integer(4096),
        "Open connections, all together. One over it is closed before TLS.");
    LIMITS_CONNECTIONS_PER_IP = Key::new("limits.connections_per_ip", Kind::Integer { min: 1, max: 100_000 },
        Default::Integer(512),
        "Open connections of one address (IPv6: of one /64). An office behind one address is one address.");
    LIMITS_STREAMS_PER_IP = Key::new("limits.streams_per_ip", Kind::Integer { min: 1, max: 100_000 },
        Default::Integer(500),
        "Open streams of one address (IPv6: of one /64).");
    LIMITS_STREAMS_PER_PRINCIPAL = Key::new("limits.streams_per_principal", Kind::Integer { min: 1, max: 100_000 },
        Default::Integer(500),
        "Open streams of one principal. Of several replicas each counts its own and those that the others told of last, \
         some seconds ago: approximately.");
    LIMITS_REQUESTS_IN_FLIGHT = Key::new("limits.requests_in_flight", Kind::Integer { min: 1, max: 100_000 },
        Default::Integer(512),
        "Requests that may wait for the head of their answer at once, all together; one more is answered 503.");
    LIMITS_REQUESTS_PER_SECOND = Key::new("limits.requests_per_second", Kind::Integer { min: 1, max: 10_000 },
        Default::Integer(100),
        "Requests per second of one address (IPv6: of one /64), in the long run.");
    LIMITS_BURST = Key::new("limits.burst", Kind::Integer { min: 1, max: 100_000 }, Default::Integer(1000),
        "Requests of one address that may come at once before `requests_per_second` slows it down; not less than that.");
    LIMITS_PRINCIPAL_REQUESTS = Key::new("limits.principal_requests_per_second", Kind::Integer { min: 1, max: 10_000 },
        Default::Integer(200),
        "Requests per second of one principal, in the long run.");
    LIMITS_PRINCIPAL_BURST = Key::new("limits.principal_burst", Kind::Integer { min: 1, max: 100_000 },
        Default::Integer(2000),
        "As `burst`, for one principal.");
    LIMITS_RATE_LIMIT_HEADERS = Key::new("limits.rate_limit_headers", Kind::Bool, Default::Bool(true),
        "Whether answers carry `RateLimit` and `RateLimit-Policy` (an IETF draft). `Retry-After` is there in any case.");
    LIMITS_AUTH_FAILURES = Key::new("limits.auth_failures_per_minute", Kind::Integer { min: 1, max: 1000 },
        Default::Integer(10),
        "Failed logins per minute of one address, before it is refused without a look at its credential.");

    CORS_ORIGINS = Key::new("cors.origins", Kind::List { of: "origin", max: 64 }, Default::List(&[]),
        "Origins such as `https://dash.example.org`; no wildcard.");

    AUTH_KEYS_FILE = Key::new("auth.keys_file", Kind::Path, Default::None,
        "The file of API keys (hashes only); nobody else may be able to read it (mode 0600).");
    AUTH_NONE = Key::new("auth.none", Kind::Bool, Default::Bool(false),
        "`true`: everybody who reaches the address may do everything; only on a loopback address.");
    JWT_ISSUER = Key::new("auth.jwt[].issuer", Kind::Text("text"), Default::Required,
        "What `iss` must be; each issuer once.");
    JWT_AUDIENCE = Key::new("auth.jwt[].audience", Kind::List { of: "text", max: 16 }, Default::Required,
        "What `aud` must contain one of.");
    JWT_ALGORITHMS = Key::new("auth.jwt[].algorithms", Kind::List { of: "algorithm", max: 12 }, Default::Required,
        "The algorithms accepted: HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, \
         EdDSA. HS algorithms go with `secret_file`, the others with keys.");
    JWT_JWKS_URL = Key::new("auth.jwt[].jwks_url", URL, Default::None,
        "Where the issuer publishes its keys; https.");
    JWT_JWKS_CA = Key::new("auth.jwt[].jwks_ca", Kind::Path, Default::None,
        "The CAs that the server of `jwks_url` is trusted by, PEM. Not written: those of the system.");
    JWT_JWKS_FILE = Key::new("auth.jwt[].jwks_file", Kind::Path, Default::None,
        "A file with the issuer's keys (a JWK set).");
    JWT_SECRET_FILE = Key::new("auth.jwt[].secret_file", Kind::Path, Default::None,
        "A file with the secret of the HS algorithms: at least 32 bytes, mode 0600. A line break at its end does not count.");
    JWT_SCOPE_CLAIM = Key::new("auth.jwt[].scope_claim", Kind::Text("text"), Default::None,
        "The claim that holds scopes, a text with spaces between them or a list. Not written: `scope`, and `scp` if there \
         is none.");
    JWT_VMS_CLAIM = Key::new("auth.jwt[].vms_claim", Kind::Text("text"), Default::Text("vms"),
        "The claim that holds VM names in which `*` stands for anything, likewise.");
    JWT_SCOPES = Key::new("auth.jwt[].scopes", Kind::List { of: "scope", max: 16 }, Default::List(&[]),
        "The scopes of a token without that claim.");
    JWT_VMS = Key::new("auth.jwt[].vms", Kind::List { of: "glob over VM names", max: 256 }, Default::List(&[]),
        "The VMs of a token without that claim.");
    JWT_MAX_LIFETIME = Key::new("auth.jwt[].max_lifetime", Kind::Duration { min: 60, max: 365 * 86_400 },
        Default::Text("1d"),
        "The longest time between `iat` (now, if there is none) and `exp` of a token that is taken.");
    SESSION_TTL = Key::new("auth.session.ttl", Kind::Duration { min: 300, max: 30 * 86_400 }, Default::Text("12h"),
        "How long a browser session lasts.");
    SESSION_SECRET_FILE = Key::new("auth.session.secret_file", Kind::Path, Default::None,
        "What session cookies are signed with: a line of at least 32 characters, mode 0600, the same file for every \
         replica. Of several lines the first signs and all are accepted, so that it can be rotated. Not written: one of \
         its own, kept in `data.dir`; with a journal of kind `jetstream` one of the fleet's, kept in NATS.");

    POLL_INTERVAL = Key::new("poll.interval", POLL_RANGE, Default::Text("5s"),
        "The interval of streams that ask for none.");
    POLL_IDLE_INTERVAL = Key::new("poll.idle_interval", POLL_RANGE, Default::Text("30s"),
        "The interval while nobody watches; not less than `interval`.");
    POLL_TIMEOUT = Key::new("poll.timeout", POLL_RANGE, Default::Text("10s"),
        "How long one poll may take, connecting included.");

    JOURNAL_KIND = Key::new("journal.kind", Kind::OneOf(JournalKind::WORDS), Default::Text("embedded"),
        "`embedded`: a SQLite file of this process's own. `memory`: gone when gatewatch stops; VMs' logs are read anew at \
         the next start. `jetstream`: a stream of NATS, which several replicas share.");
    JOURNAL_PATH = Key::new("journal.path", Kind::Path, Default::None,
        "The SQLite file of `embedded`, on a local disk; of `jetstream` this replica's copy of the stream, which is made \
         anew whenever it is missing. Not written: `journal.db` or `mirror.db` in `data.dir`.");
    JOURNAL_KEEP_FOR = Key::new("journal.keep_for", Kind::Duration { min: 7 * 86_400, max: 3650 * 86_400 },
        Default::Text("30d"),
        "How long events can be resumed from and runs are listed (not `memory`). The latest run of each log is kept \
         however old it is. The same for every replica.");
    JOURNAL_KEEP_EVENTS = Key::new("journal.keep_events", Kind::Integer { min: 100_000, max: 1_000_000_000 },
        Default::Integer(1_000_000),
        "How many events are kept (not `memory`): of more the oldest are removed, but none younger than seven days. The \
         same for every replica.");
    JOURNAL_SERVERS = Key::new("journal.servers", Kind::List { of: "NATS URL", max: 16 }, Default::List(&[]),
        "The NATS servers of `jetstream`, such as `tls://nats-1.example.org:4222`: version 2.11 or newer, with JetStream. \
         A secret, as URLs may carry user and password, or a token: those of the first that does are shown to all.")
        .secret();
    JOURNAL_FLEET = Key::new("journal.fleet", Kind::Text("name"), Default::None,
        "The fleet's name in `jetstream`: replicas of one name are one fleet. It names the stream `gatewatch-FLEET`, the \
         buckets and the subjects below `gatewatch.FLEET`.");
    JOURNAL_REPLICAS = Key::new("journal.replicas", Kind::Integer { min: 1, max: 5 }, Default::Integer(3),
        "On how many NATS servers the stream and the buckets are kept, when they are made. With 1 an acknowledged commit \
         is as safe as that server's disk: set its `sync_interval` to `always`.");
    JOURNAL_CA = Key::new("journal.ca", Kind::Path, Default::None,
        "The CA that the certificates of the NATS servers are checked against. Not written: those of the system.");
    JOURNAL_CERT = Key::new("journal.cert", Kind::Path, Default::None,
        "A certificate that the NATS servers are shown; PEM.");
    JOURNAL_KEY = Key::new("journal.key", Kind::Path, Default::None,
        "The private key of `cert`.");
    JOURNAL_CREDENTIALS = Key::new("journal.credentials", Kind::Path, Default::None,
        "A NATS credentials file: a JWT and the seed of its nkey.");
    JOURNAL_NKEY = Key::new("journal.nkey", Kind::Text("nkey seed"), Default::None,
        "The seed of a NATS user's nkey, instead of credentials. Better given by a file than written here.").secret();
    JOURNAL_TOKEN = Key::new("journal.token", Kind::Text("token"), Default::None,
        "A NATS token, instead of credentials. Better given by a file than written here.").secret();

    LOG_FORMAT = Key::new("log.format", Kind::OneOf(LogFormat::WORDS), Default::Text("text"),
        "Lines for people or for machines.");
    LOG_LEVEL = Key::new("log.level", Kind::OneOf(LogLevel::WORDS), Default::Text("info"),
        "The least severe lines that are written.");

    TRACE_ENDPOINT = Key::new("trace.endpoint", URL, Default::None,
        "A collector that takes OTLP over HTTP, such as `http://127.0.0.1:4318`; `/v1/traces` is put behind it. Its \
         certificate is checked against the CAs of the system. Not written: no spans are made.");
    TRACE_SAMPLE = Key::new("trace.sample", Kind::Text("number, 0 to 1"), Default::Text("1"),
        "The share of traces that are sent. A caller with a credential whose `traceparent` says whether its trace is \
         recorded is followed in that.");
    TRACE_HEADERS = Key::new("trace.headers", Kind::List { of: "name=value", max: 16 }, Default::List(&[]),
        "Headers for the collector, such as a vendor's key: `x-api-key=...`. A secret. They need `endpoint`.").secret();

    VM_NAME = Key::new("vm[].name", Kind::Text("name"), Default::Required,
        "For people and grants: 1 to 63 characters of a-z, 0-9 and `-`, the first not `-`. No two VMs share one.");
    VM_RENAMED_FROM = Key::new("vm[].renamed_from", Kind::Text("name"), Default::None,
        "The name that this VM had before: its runs go on under the new one, and nobody is told that it was removed. Of no \
         effect once it is renamed, so it may stay; the old name must not be given to another VM meanwhile.");
    VM_TRANSPORT = Key::new("vm[].transport", Kind::OneOf(TRANSPORTS), Default::Text("ssh"),
        "`ssh`. `local`: gatewatch runs on the VM itself. `simulated`: a scripted VM.");
    VM_HOST = Key::new("vm[].host", HOST, Default::None,
        "Where ssh connects. Needed with `ssh`; the six keys from here to `host_key` are for `ssh` only.");
    VM_USER = Key::new("vm[].user", USER, Default::Text("azureuser"), "Remote user.");
    VM_PORT = Key::new("vm[].port", PORT, Default::Integer(22), "Port of sshd.");
    VM_IDENTITY_FILE = Key::new("vm[].identity_file", Kind::Path, Default::None,
        "Private key; nobody else may be able to read it. Not written: ssh's agent and its default keys.");
    VM_KNOWN_HOSTS = Key::new("vm[].known_hosts", Kind::Path, Default::None,
        "File of known host keys. Not written: `~/.ssh/known_hosts`. With `host_key = \"strict\"` it must exist.");
    VM_HOST_KEY = Key::new("vm[].host_key", Kind::OneOf(HostKeyPolicy::WORDS), Default::Text("strict"),
        "`strict`: only a known host key. `accept-new`: the first one seen is believed and remembered; a changed one \
         never is.");
    VM_CONTAINER = Key::new("vm[].container", Kind::Text("container name"), Default::Text("winarena"),
        "The container that runs Windows. `\"\"`: none.");
    VM_PROBE_URL = Key::new("vm[].probe_url", URL, Default::Text("http://172.30.0.2:5000/probe"),
        "Where the benchmark server answers, as seen from the VM. `\"\"`: nowhere.");
    VM_PROCESS = Key::new("vm[].process", REGEX, Default::Text("python.*run.py"),
        "What `pgrep -f` finds the benchmark process by (extended regular expression, at most 200 characters).");
    VM_BENCHMARK_LOG = Key::new("vm[].benchmark_log", Kind::List { of: "absolute path on the VM", max: 16 },
        Default::List(&["/tmp/waa_benchmark.log"]), "The benchmark's log, or the logs of several workers.");
    VM_LOG_DIALECT = Key::new("vm[].log_dialect", Kind::OneOf(LogDialect::WORDS), Default::Text("auto"),
        "How the log is written. `auto` finds out between `openadapt` and `waa`; `custom` is described in \
         `[vm.dialect]`.");
    VM_TOTAL_TASKS = Key::new("vm[].total_tasks", Kind::Integer { min: 0, max: 1_000_000 }, Default::Integer(0),
        "How many tasks a run has, where the log does not say. 0: unknown.");
    VM_VNC_URL = Key::new("vm[].vnc_url", URL, Default::None, "The VM's VNC page, as seen from gatewatch.");

    SIMULATED_STARTED = Key::new("vm[].simulated.started", Kind::Text("epoch seconds"), Default::None,
        "When the script began. Not written: when gatewatch starts.");
    SIMULATED_SPEED = Key::new("vm[].simulated.speed", Kind::Text("number, 0.1 to 60"), Default::Text("1"),
        "Seconds of the script per second of the clock.");
    SIMULATED_START_AT = Key::new("vm[].simulated.start_at", Kind::Duration { min: 0, max: 86_400 }, Default::Text("0s"),
        "Where in the script it begins.");
    SIMULATED_TASKS = Key::new("vm[].simulated.tasks", Kind::Integer { min: 2, max: 1_000 }, Default::Integer(30),
        "Tasks per run.");
    SIMULATED_DIALECT = Key::new("vm[].simulated.dialect", Kind::OneOf(SimulatedDialect::WORDS), Default::Text("openadapt"),
        "How its log is written.");
    SIMULATED_TROUBLE = Key::new("vm[].simulated.trouble", Kind::Bool, Default::Bool(false),
        "Whether it stops answering for a while in each round.");
    SIMULATED_ONCE = Key::new("vm[].simulated.once", Kind::Bool, Default::Bool(false),
        "Whether it plays one round and then stays complete.");

    POWER_PRESET = Key::new("vm[].power.preset", Kind::OneOf(PRESETS), Default::Required, "Whose command line tells.");
    POWER_NAME = Key::new("vm[].power.name", CLOUD_NAME, Default::None,
        "Name of the VM at `azure` or `gcloud`. Not written: the VM's `name`.");
    POWER_RESOURCE_GROUP = Key::new("vm[].power.resource_group", CLOUD_NAME, Default::None, "Needed with `azure`.");
    POWER_INSTANCE_ID = Key::new("vm[].power.instance_id", CLOUD_NAME, Default::None,
        "Needed with `aws`, such as `i-0abc1234`.");
    POWER_REGION = Key::new("vm[].power.region", CLOUD_NAME, Default::None,
        "For `aws`. Not written: as the CLI's own configuration says.");
    POWER_ZONE = Key::new("vm[].power.zone", CLOUD_NAME, Default::None, "Needed with `gcloud`.");
    POWER_PROJECT = Key::new("vm[].power.project", CLOUD_NAME, Default::None,
        "For `gcloud`. Not written: as the CLI's own configuration says.");
    POWER_COMMAND = Key::new("vm[].power.command", Kind::List { of: "argument", max: 32 }, Default::List(&[]),
        "Needed with `command`: a program and its arguments, run without a shell.");

    DIALECT_TASK_START = Key::new("vm[].dialect.task_start", REGEX, Default::None,
        "A task begins. One of the groups `number`, `task` and `title` is needed; `total` may be there.");
    DIALECT_TASK = Key::new("vm[].dialect.task", REGEX, Default::None,
        "The id of the task that runs, or that begins if another one ran. Group `task` is needed.");
    DIALECT_STEP = Key::new("vm[].dialect.step", REGEX, Default::None,
        "A step. Group `step` is needed; `action` may be there.");
    DIALECT_OUTCOME = Key::new("vm[].dialect.outcome", REGEX, Default::None,
        "How a task went. One of the groups `pass` and `fail` is needed: the one that matched decides; `task` may be \
         there.");
    DIALECT_SCORE = Key::new("vm[].dialect.score", REGEX, Default::None,
        "The score of the task that runs. Group `score` is needed.");
    DIALECT_TASK_END = Key::new("vm[].dialect.task_end", REGEX, Default::None,
        "A task is over. Groups `task`, `pass` and `fail` may be there.");
    DIALECT_TOTAL = Key::new("vm[].dialect.total", REGEX, Default::None,
        "How many tasks the run has. Group `total` is needed.");
    DIALECT_MODEL = Key::new("vm[].dialect.model", REGEX, Default::None,
        "The model under test. Group `model` is needed.");

    FILES_PROGRESS = Key::new("files.progress", Kind::Path, Default::None,
        "A `benchmark_progress.json`: a second source of progress.");
    FILES_LIVE = Key::new("files.live", Kind::Path, Default::None,
        "A `benchmark_live.json`, served at `/api/benchmark-live`.");

    DATA_DIR = Key::new("data.dir", Kind::Path, Default::Text("data"),
        "Where registered VMs and the development CA are kept. With a journal of kind `jetstream` registered VMs are kept in \
         NATS, and the file here is not used.");

    REGISTER_ENABLED = Key::new("register.enabled", Kind::Bool, Default::Bool(true),
        "Whether VMs may be added while gatewatch runs.");
    REGISTER_USER = Key::new("register.user", USER, Default::Text("azureuser"),
        "Remote user of a VM whose registration names none.");
    REGISTER_IDENTITY_FILE = Key::new("register.identity_file", Kind::Path, Default::None,
        "As `vm.identity_file`, for registered VMs.");
    REGISTER_KNOWN_HOSTS = Key::new("register.known_hosts", Kind::Path, Default::None,
        "As `vm.known_hosts`, for registered VMs.");
    REGISTER_HOST_KEY = Key::new("register.host_key", Kind::OneOf(HostKeyPolicy::WORDS), Default::Text("strict"),
        "As `vm.host_key`, for registered VMs.");
}
