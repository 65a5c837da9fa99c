//! A report as JSON for people who ask for one poll.

use serde_json::{Value, json};

use crate::model::{ContainerSeen, LogRead, Observation, PollFailure, ProbeReply, ProcessCheck, Report};

/// `report` as JSON, in the words of the model.
pub fn describe(report: &Report) -> Value {
    let (answered, rest) = match &report.outcome {
        Ok(seen) => (true, observation(seen)),
        Err(failure) => (false, failed(failure)),
    };
    json!({
        "answered": answered,
        "took_ms": report.took.as_millis() as u64,
        "power": report.power,
        "power_failure": report.power_failure.as_ref().map(failed),
        if answered { "observation" } else { "failure" }: rest,
    })
}

fn failed(failure: &PollFailure) -> Value {
    let code = failure.code;
    json!({"code": code, "whose": code.whose(), "retryable": code.retryable(), "message": failure.message})
}

fn observation(seen: &Observation) -> Value {
    let container = match &seen.container {
        ContainerSeen::NotConfigured => json!("not configured"),
        ContainerSeen::DockerUnavailable(why) => json!({"docker_unavailable": why}),
        ContainerSeen::Missing => json!("missing"),
        ContainerSeen::Found(container) => json!(container),
    };
    let process = match &seen.process {
        None => Value::Null,
        Some(ProcessCheck::Failed(why)) => json!({"failed": why}),
        Some(ProcessCheck::Absent) => json!("absent"),
        Some(ProcessCheck::Present(process)) => json!(process),
    };
    let probe = match &seen.probe {
        ProbeReply::NotConfigured => json!("not configured"),
        ProbeReply::Silent => json!("silent"),
        ProbeReply::Answered(body) => json!({"answered": body}),
    };
    json!({
        "clock": seen.clock,
        "container": container,
        "boot": seen.boot,
        "container_log_tail": seen.container_log_tail,
        "process": process,
        "probe": probe,
        "storage": seen.storage,
        "memory": seen.memory,
        "qemu_monitor": seen.qemu_monitor,
        "logs": seen.logs.iter().map(log).collect::<Vec<_>>(),
    })
}

fn log(read: &LogRead) -> Value {
    let facts = read.parts.iter().flat_map(|part| &part.facts);
    let told: Vec<Value> = facts
        .map(|fact| json!({"offset": fact.offset, "worker": &*fact.worker, "fact": format!("{:?}", fact.kind)}))
        .collect();
    json!({
        "source": &*read.source,
        "exists": read.exists,
        "size": read.size,
        "unread": read.unread,
        "facts": told,
        "problems": read.problems.iter().map(|p| json!({"code": p.code, "message": p.message})).collect::<Vec<_>>(),
    })
}
