//! The list of VMs, and a new one.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;

use super::ApiState;
use super::caller::Caller;
use super::poll::answer;
use super::problem::ApiError;
use super::runs::iso;
use crate::hub::VmEntry;
use crate::model::{RegisteredVm, Stage, VmId, VmName};

/// How long a caller waits for a VM to be registered.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);

/// Port of the VNC page where none is configured.
const DEFAULT_VNC_PORT: u16 = 8006;

/// A VM to be added to the fleet and kept across restarts.
#[derive(Debug)]
pub struct RegisterVm {
    /// The VM. Its name is well formed; everything else must be checked by the receiver, as if read from the
    /// configuration file.
    pub vm: RegisteredVm,
    /// Told once the VM is kept, with every default filled in, or why it is not.
    pub reply: oneshot::Sender<Result<RegisteredVm, RegisterError>>,
}

/// Why a VM was not registered. The texts are shown to the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The name is taken.
    #[error("the name is taken")]
    NameTaken,
    /// A field has a value that no VM can have.
    #[error("{0}")]
    Invalid(String),
    /// It could not be kept now; the same request may succeed later.
    #[error("{0}")]
    Unavailable(String),
}

/// One VM in the shape of the server this replaces, with our own fields at the end.
#[derive(Debug, Serialize)]
struct VmRow<'a> {
    name: &'a VmName,
    ssh_host: &'a str,
    ssh_user: &'a str,
    vnc_port: u16,
    waa_port: u16,
    docker_container: &'a str,
    internal_ip: &'a str,
    status: &'static str,
    last_checked: Option<String>,
    vnc_reachable: bool,
    waa_probe_status: &'static str,
    vm_id: Option<&'a VmId>,
    stage: Option<Stage>,
    stale: bool,
}

impl<'a> VmRow<'a> {
    fn seen(entry: &'a VmEntry) -> Self {
        let (facts, view) = (&*entry.facts, entry.view.as_deref());
        Self {
            name: &entry.vm,
            ssh_host: &facts.host,
            ssh_user: &facts.user,
            vnc_port: facts.vnc_url.as_deref().and_then(port).unwrap_or(DEFAULT_VNC_PORT),
            waa_port: facts.waa_port,
            docker_container: &facts.container,
            internal_ip: &facts.internal_ip,
            status: match view {
                None => "unknown",
                Some(view) if view.reachable => "online",
                Some(view) => match view.stage {
                    Stage::Off | Stage::Starting | Stage::Unreachable | Stage::Removed => "offline",
                    // One lost poll is not an event (SEMANTICS, section 3).
                    _ => "online",
                },
            },
            last_checked: view.and_then(|view| iso(view.reported_at)),
            // The page is the container's; nothing here dials it.
            vnc_reachable: facts.vnc_url.is_some() && view.is_some_and(|view| view.reachable && view.connected),
            waa_probe_status: match view {
                None => "unknown",
                Some(view) if view.waa_ready => "ready",
                Some(view) if view.reachable => "not responding",
                Some(_) => "ssh failed",
            },
            vm_id: Some(&entry.vm_id),
            stage: view.map(|view| view.stage),
            stale: entry.stale,
        }
    }

    fn registered(vm: &'a RegisteredVm) -> Self {
        Self {
            name: &vm.name,
            ssh_host: &vm.ssh_host,
            ssh_user: &vm.ssh_user,
            vnc_port: vm.vnc_port,
            waa_port: vm.waa_port,
            docker_container: &vm.docker_container,
            internal_ip: &vm.internal_ip,
            status: "unknown",
            last_checked: None,
            vnc_reachable: false,
            waa_probe_status: "unknown",
            vm_id: None,
            stage: None,
            stale: false,
        }
    }
}

/// The port that a URL names or its scheme implies.
fn port(url: &str) -> Option<u16> {
    let url: axum::http::Uri = url.parse().ok()?;
    url.port_u16().or(match url.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    })
}

/// `/api/vms`: every VM that the caller may see, by name.
pub(super) async fn list(State(state): State<ApiState>, Caller(principal): Caller) -> Response {
    let entries = state.hub.vms(&principal.vms);
    answer(entries.iter().map(VmRow::seen).collect::<Vec<_>>()).into_response()
}

/// `POST /api/vms/register`.
pub(super) async fn register(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct Registered<'a> {
        status: &'static str,
        vm: VmRow<'a>,
    }
    // A form on another site can send text/plain with the browser's cookie, but not this.
    if !is_json(&headers) {
        return Err(ApiError::NotJson);
    }
    let body = body.map_err(|error| ApiError::UnreadableBody(error.status(), error.body_text()))?;
    let vm = requested(&body)?;
    // Before any look at what exists: the answer must not tell of VMs that are not granted.
    if !principal.vms.allows(&vm.name) {
        return Err(ApiError::NotGranted(vm.name));
    }
    if state.hub.has_vm(&principal.vms, &vm.name) {
        return Err(ApiError::VmExists(vm.name));
    }
    let vm = keep(&state, vm).await?;
    tracing::info!(vm = %vm.name, host = %vm.ssh_host.escape_debug(), by = %principal.name.escape_debug(), "VM registered");
    let body = Registered { status: "success", vm: VmRow::registered(&vm) };
    // 200 and not 201: what the server this replaces answers, and its clients compare.
    Ok(answer(body).into_response())
}

/// The VM that a body describes. What `GET /api/vms` tells of a VM beside its registration is passed over, so that a row
/// of one gateway can be given to another.
fn requested(body: &[u8]) -> Result<RegisteredVm, ApiError> {
    const TOLD: [&str; 7] = ["status", "last_checked", "vnc_reachable", "waa_probe_status", "vm_id", "stage", "stale"];
    let mut value: Value = serde_json::from_slice(body).map_err(|error| ApiError::MalformedBody(error.to_string()))?;
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|name, _| !TOLD.contains(&name.as_str()));
    }
    serde_json::from_value(value).map_err(|error| ApiError::InvalidVm(error.to_string()))
}

async fn keep(state: &ApiState, vm: RegisteredVm) -> Result<RegisteredVm, ApiError> {
    let name = vm.name.clone();
    let (reply, answer) = oneshot::channel();
    state
        .register
        .try_send(RegisterVm { vm, reply })
        .map_err(|_| ApiError::Unavailable("too many VMs are being registered, or the fleet is stopping".into()))?;
    match tokio::time::timeout(REGISTER_TIMEOUT, answer).await {
        Ok(Ok(Ok(kept))) => Ok(kept),
        Ok(Ok(Err(RegisterError::NameTaken))) => Err(ApiError::VmExists(name)),
        Ok(Ok(Err(RegisterError::Invalid(why)))) => Err(ApiError::InvalidVm(why)),
        Ok(Ok(Err(RegisterError::Unavailable(why)))) => Err(ApiError::Unavailable(why)),
        Ok(Err(_)) => Err(ApiError::Unavailable("the fleet is stopping".into())),
        Err(_) => Err(ApiError::Unavailable("the fleet did not answer in time; look whether the VM is listed".into())),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}
