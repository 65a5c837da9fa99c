//! VMs added by request: the same rules as for the file's.

use super::issue::{ConfigIssue, Place, quoted};
use super::{HttpUrl, LogDialect, Register, SshConfig, Transport, VmConfig, rules};
use crate::model::{RegisteredVm, SshHost, SshUser};

impl VmConfig {
    /// The VM that `request` names, with what `register` gives it; everything else as the defaults of `[[vm]]` are.
    ///
    /// The VNC page is taken to be at the VM's own address. Whether registration is enabled and the name is free is for
    /// the caller to check.
    ///
    /// # Errors
    /// Every mistake at once, with the request's field as the key.
    pub fn from_registered(request: &RegisteredVm, register: &Register) -> Result<Self, Vec<ConfigIssue>> {
        let mut issues = Vec::new();
        let mut refuse = |key: &str, text: &str, message: String| {
            let message = format!("{}: {message}", quoted(text));
            issues.push(ConfigIssue { place: Place::Request, key: key.to_owned(), message });
        };
        let host =
            SshHost::new(&request.ssh_host).map_err(|e| refuse("ssh_host", &request.ssh_host, e.to_string())).ok();
        let user = match request.ssh_user.as_str() {
            "" => Some(register.user.clone()),
            user => SshUser::new(user).map_err(|e| refuse("ssh_user", user, e.to_string())).ok(),
        };
        let inner = SshHost::new(&request.internal_ip);
        let inner = inner.map_err(|e| refuse("internal_ip", &request.internal_ip, e.to_string())).ok();
        let container = match request.docker_container.as_str() {
            "" => None,
            name => rules::container(name).map_err(|e| refuse("docker_container", name, e)).ok(),
        };
        for (key, port) in [("waa_port", request.waa_port), ("vnc_port", request.vnc_port)] {
            if port == 0 {
                refuse(key, "0", "is not between 1 and 65535".to_owned());
            }
        }
        let page = |host: Option<&SshHost>, port: u16, path: &str| {
            host.and_then(|host| HttpUrl::parse(&format!("http://{}:{port}{path}", host.in_url())).ok())
        };
        let vnc_url = page(host.as_ref(), request.vnc_port, "/");
        let probe_url = page(inner.as_ref(), request.waa_port, "/probe");
        match (host, user) {
            (Some(host), Some(user)) if issues.is_empty() => Ok(Self {
                name: request.name.clone(),
                renamed_from: None,
                transport: Transport::Ssh(SshConfig {
                    host,
                    user,
                    port: super::vm::default_port(),
                    identity_file: register.identity_file.clone(),
                    known_hosts: register.known_hosts.clone(),
                    host_key: register.host_key,
                }),
                container,
                probe_url,
                vnc_url,
                process: super::vm::default_process(),
                benchmark_log: super::vm::default_logs(),
                log_dialect: LogDialect::Auto,
                dialect: None,
                total_tasks: None,
                power: None,
            }),
            _ => Err(issues),
        }
    }
}
