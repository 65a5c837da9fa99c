//! What commands do that start no gateway.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::keys;
use crate::config::{Config, ProxyProtocol, TlsMode, VmConfig};
use crate::journal::{self, Engine, Imported};
use crate::lifecycle::Signals;
use crate::model::{LogCursor, Timestamp};
use crate::probe::{Probe, describe, runtime_dir};
use crate::server::{DevCertificate, TlsSettings, dev_certificate, install_crypto};

/// How long a health check may take.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

/// Mistakes that only this machine can show: programs that are configured and not installed, a certificate that does
/// not belong to its key, a keys file that lets nobody in. One line each.
pub fn missing_parts(config: &Config) -> Vec<String> {
    let mut missing: Vec<String> = config
        .vms
        .iter()
        .enumerate()
        .flat_map(|(index, vm)| {
            Probe::missing_programs(vm).into_iter().map(move |what| format!("vm[{index}] ({}): {what}", vm.name))
        })
        .collect();
    if let Err(error) = TlsSettings::check(&config.tls) {
        missing.push(format!("tls: {error}"));
    }
    if let Err(error) = super::session::check(config) {
        missing.push(format!("auth.session.secret_file: {error}"));
    }
    if let Err(error) = keys::load(&config.auth) {
        missing.push(format!("auth.keys_file: {error}"));
    }
    missing
}

/// What is allowed and weakens security, and keys that ended or end soon. One line each.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut warnings: Vec<String> = config.warnings().iter().map(ToString::to_string).collect();
    warnings.extend(keys::hints(&config.auth, Timestamp::from(SystemTime::now())));
    warnings
}

/// A local CA and a leaf in `dir`, made if there are none that are good for the next 30 days.
///
/// # Errors
/// One readable line.
pub fn make_dev_certificate(dir: &Path) -> Result<DevCertificate, String> {
    install_crypto();
    dev_certificate(dir).map_err(|error| error.to_string())
}

/// Polls `vm` once. Gives the report as JSON (or, if `raw`, the reply as it came) and whether the VM answered.
///
/// # Errors
/// One readable line, if no poll could be made at all.
pub async fn probe_once(vm: &VmConfig, timeout: Duration, raw: bool) -> Result<(Vec<u8>, bool), String> {
    let dir = runtime_dir().map_err(|error| error.to_string())?;
    let mut probe = Probe::build(vm, &dir).map_err(|error| error.to_string())?;
    let cursors: Vec<LogCursor> = vm.benchmark_log.iter().map(|path| LogCursor::start(path)).collect();
    let mut signals = Signals::install().map_err(|error| error.to_string())?;
    let outcome = tokio::select! {
        outcome = ask(&mut probe, &cursors, timeout, raw) => outcome,
        // The connection is closed below all the same: nothing of it may stay.
        _ = signals.next() => Err("interrupted".to_owned()),
    };
    probe.close().await;
    outcome
}

async fn ask(probe: &mut Probe, cursors: &[LogCursor], limit: Duration, raw: bool) -> Result<(Vec<u8>, bool), String> {
    if raw {
        return Ok(match probe.raw(cursors, limit).await {
            Ok(bytes) => (bytes, true),
            Err(failure) => (failure.to_string().into_bytes(), false),
        });
    }
    let report = probe.poll(1, cursors, false, limit).await;
    let answered = report.outcome.is_ok();
    Ok((serde_json::to_vec_pretty(&describe(&report)).map_err(|error| error.to_string())?, answered))
}

/// Where a process that runs by `config` can be asked whether it is alive: at the administration listener, else at the public
/// one, as far as that answers whoever is on this machine.
///
/// # Errors
/// One readable line that says what to do, if nobody can be asked.
pub fn health_address(config: &Config) -> Result<SocketAddr, String> {
    let why = match config.admin.listen {
        Some(listen) => return Ok(listen),
        None if config.tls.mode != TlsMode::Off => "speaks TLS",
        None if config.proxy.protocol != ProxyProtocol::Off => "may want a PROXY header",
        None => return Ok(config.server.listen),
    };
    Err(format!(
        "there is nobody to ask: admin.listen is off, and the public listener {why}; give admin.listen an address, or switch \
         this check off (docker run --no-healthcheck)"
    ))
}

/// Asks the listener at `listen` whether the process is alive.
///
/// # Errors
/// One readable line that says what is wrong.
pub async fn healthcheck(listen: SocketAddr) -> Result<(), String> {
    let ask = async {
        let mut stream = TcpStream::connect(listen).await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut head = [0; 32];
        let mut filled = 0;
        while filled < head.len() {
            match stream.read(&mut head[filled..]).await? {
                0 => break,
                n => filled += n,
            }
        }
        Ok::<_, io::Error>(String::from_utf8_lossy(&head[..filled]).into_owned())
    };
    match tokio::time::timeout(HEALTH_TIMEOUT, ask).await {
        Err(_) => Err(format!("{listen} did not answer within {HEALTH_TIMEOUT:?}")),
        Ok(Err(error)) => Err(format!("{listen}: {error}")),
        Ok(Ok(head)) if head.starts_with("HTTP/1.1 200") => Ok(()),
        Ok(Ok(head)) => Err(format!("{listen} answered {:?}", head.lines().next().unwrap_or_default())),
    }
}

/// Copies the embedded journal at `file` into the empty stream that `config` names.
///
/// # Errors
/// One readable line.
pub async fn import_journal(config: &Config, file: &Path) -> Result<Imported, String> {
    let Some(nats) = &config.journal.nats else {
        return Err("the configuration keeps no journal in NATS: set journal.kind = \"jetstream\"".to_owned());
    };
    install_crypto();
    let engine = Engine::open(nats, "gatewatch journal import").await.map_err(|error| error.to_string())?;
    journal::import(&engine, file).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::health_address;
    use crate::config::{Config, MapEnv};

    #[test]
    fn without_an_administration_listener_the_public_one_is_asked_where_it_answers() {
        let address = |lines: &str| {
            let text = format!("server.listen = \"127.0.0.1:18765\"\nauth.none = true\n{lines}\n");
            health_address(&Config::parse(&text, "test", &MapEnv::default()).expect("a configuration"))
        };
        assert_eq!(address("tls.mode = \"off\"").unwrap(), "127.0.0.1:9765".parse().unwrap());
        let none = "admin.listen = \"\"";
        assert_eq!(address(&format!("{none}\ntls.mode = \"off\"")).unwrap(), "127.0.0.1:18765".parse().unwrap());
        assert!(address(&format!("{none}\ntls.mode = \"dev\"")).unwrap_err().contains("speaks TLS"));
        let proxy = "proxy.protocol = \"required\"\nproxy.trusted = [\"192.0.2.1\"]";
        let refused = address(&format!("{none}\ntls.mode = \"off\"\n{proxy}")).unwrap_err();
        assert!(refused.contains("PROXY header") && refused.lines().count() == 1, "{refused}");
    }
}
