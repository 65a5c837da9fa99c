//! Whose fault a failed connect was, from the words of ssh (in English: it runs with `LC_ALL=C`).

use super::SshConfig;
use crate::model::{ErrorCode, PollFailure};

/// Words of ssh and what they mean; the first that occurs decides. Local troubles stand before what follows from them.
const WORDS: &[(&str, ErrorCode)] = &[
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", ErrorCode::HostKey),
    ("host key is known for", ErrorCode::HostKey),
    ("Host key verification failed", ErrorCode::HostKey),
    ("UNPROTECTED PRIVATE KEY FILE", ErrorCode::SshSetup),
    ("Load key", ErrorCode::SshSetup),
    ("Bad configuration option", ErrorCode::SshSetup),
    ("terminating, 1 bad", ErrorCode::SshSetup),
    ("Bad owner or permissions", ErrorCode::SshSetup),
    ("No user exists for uid", ErrorCode::SshSetup),
    ("You don't exist", ErrorCode::SshSetup),
    ("ControlPath", ErrorCode::SshSetup),
    ("ControlSocket", ErrorCode::SshSetup),
    ("unix_listener", ErrorCode::SshSetup),
    ("Unable to negotiate", ErrorCode::SshSetup),
    ("Permission denied", ErrorCode::SshAuth),
    ("Too many authentication failures", ErrorCode::SshAuth),
    ("No more authentication methods", ErrorCode::SshAuth),
    ("timed out", ErrorCode::SshTimeout),
    ("Timeout", ErrorCode::SshTimeout),
];

/// The failure of a connect whose ssh ended with `complaints`. What no rule knows counts as unreachable: refused, no
/// route, unknown name, closed before the login.
pub(super) fn of_connect(complaints: &str, config: &SshConfig) -> PollFailure {
    let code =
        WORDS.iter().find(|(words, _)| complaints.contains(words)).map_or(ErrorCode::SshUnreachable, |rule| rule.1);
    // Frames of `@` and blank lines around warnings say nothing.
    let said = complaints.lines().map(|line| line.trim_matches(['@', ' ', '\r'])).filter(|line| !line.is_empty());
    let said = said.collect::<Vec<_>>().join(" ");
    let target = format!("{}@{} port {}", config.user, config.host, config.port);
    let message = match code {
        ErrorCode::HostKey => host_key(complaints, config),
        ErrorCode::SshAuth => format!("{target} rejects the key: {said}"),
        _ if said.is_empty() => format!("{target} ended the connection before the login"),
        _ => format!("{target}: {said}"),
    };
    PollFailure::new(code, message)
}

fn host_key(complaints: &str, config: &SshConfig) -> String {
    let file = match &config.known_hosts {
        Some(file) => file.display().to_string(),
        None => "~/.ssh/known_hosts".to_owned(),
    };
    let (host, port) = (&config.host, config.port);
    let scan = format!("ssh-keyscan -p {port} {host} >> {file}");
    if complaints.contains("HAS CHANGED") {
        let entry = if port == 22 { host.to_string() } else { format!("[{host}]:{port}") };
        format!(
            "the host key of {entry} is not the one in {file}: somebody may be in between. If the VM was made anew, \
             compare the fingerprint on its console, then run: ssh-keygen -f {file} -R '{entry}' && {scan}"
        )
    } else {
        format!(
            "the host key of {host} port {port} is not in {file}. Compare its fingerprint on the VM's console, then \
             run: {scan}"
        )
    }
}
