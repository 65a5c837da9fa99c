//! The clouds' answers, read. Each function takes the whole output and says in words what it could not understand.

use serde::Deserialize;

use crate::model::Power;

/// The JSON list of `az vm get-instance-view --query instanceView.statuses`.
pub(super) fn azure(output: &[u8]) -> Result<Power, String> {
    #[derive(Deserialize)]
    struct Status {
        code: String,
    }
    let statuses: Vec<Status> = json(output)?;
    let code = |kind: &str| statuses.iter().find_map(|status| status.code.strip_prefix(kind));
    match code("PowerState/") {
        Some("running") => Ok(Power::On),
        Some("starting") => Ok(Power::Starting),
        Some("stopping" | "deallocating") => Ok(Power::Stopping),
        Some("stopped" | "deallocated") => Ok(Power::Off),
        Some(other) => Err(format!("unknown power state {other:?}")),
        // A VM that is being made has no power state yet.
        None if code("ProvisioningState/") == Some("creating") => Ok(Power::Starting),
        None => Err("it names no power state".to_owned()),
    }
}

/// The JSON of `aws ec2 describe-instances` for one instance.
pub(super) fn aws(output: &[u8]) -> Result<Power, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        reservations: Vec<Reservation>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Reservation {
        instances: Vec<Instance>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Instance {
        state: State,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct State {
        name: String,
    }
    let answer: Answer = json(output)?;
    let instance = answer.reservations.iter().flat_map(|reservation| &reservation.instances).next();
    match instance.ok_or("it names no instance")?.state.name.as_str() {
        "running" => Ok(Power::On),
        "pending" => Ok(Power::Starting),
        "stopping" | "shutting-down" => Ok(Power::Stopping),
        "stopped" | "terminated" => Ok(Power::Off),
        other => Err(format!("unknown state {other:?}")),
    }
}

/// The JSON of `gcloud compute instances describe`.
pub(super) fn gcloud(output: &[u8]) -> Result<Power, String> {
    #[derive(Deserialize)]
    struct Instance {
        status: String,
    }
    let instance: Instance = json(output)?;
    match instance.status.as_str() {
        "RUNNING" => Ok(Power::On),
        "PENDING" | "PROVISIONING" | "STAGING" | "REPAIRING" => Ok(Power::Starting),
        "PENDING_STOP" | "STOPPING" | "SUSPENDING" => Ok(Power::Stopping),
        "STOPPED" | "SUSPENDED" | "TERMINATED" => Ok(Power::Off),
        other => Err(format!("unknown status {other:?}")),
    }
}

/// The first line of a command of the configuration: one of a few words, in whatever case.
pub(super) fn words(output: &[u8]) -> Result<Power, String> {
    let output = String::from_utf8_lossy(output);
    let said = output.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    match said.to_ascii_lowercase().as_str() {
        "on" | "running" => Ok(Power::On),
        "off" | "stopped" => Ok(Power::Off),
        "starting" => Ok(Power::Starting),
        "stopping" => Ok(Power::Stopping),
        _ => {
            let said: String = said.chars().take(60).collect();
            Err(format!("it says {said:?}, not one of on, running, off, stopped, starting, stopping"))
        }
    }
}

fn json<'a, T: Deserialize<'a>>(output: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(output).map_err(|error| format!("its answer is not understood: {error}"))
}
