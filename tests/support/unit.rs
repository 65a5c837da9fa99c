//! What `packaging/gatewatch.service` lets the process ask of the kernel, as a profile that Docker takes: systemd itself does
//! not run where the tests do.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::lab::Result;
use crate::lab::command::output;

/// `PROT_WRITE` and `PROT_EXEC` of mmap(2).
const WRITE: u32 = 2;
const EXEC: u32 = 4;
/// Groups within groups, at most.
const MAX_DEPTH: usize = 8;

/// The profile of the unit's `SystemCallFilter`, `MemoryDenyWriteExecute` and `RestrictAddressFamilies`.
pub async fn seccomp_profile() -> Result<Value> {
    let unit = fs::read_to_string("packaging/gatewatch.service")?;
    let setting = |name: &str| {
        let prefix = format!("{name}=");
        unit.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect::<Vec<_>>()
    };
    // What starts a program, and ends it, is allowed in any unit.
    let mut allowed: BTreeSet<String> = ["execve", "exit", "exit_group"].map(str::to_owned).into();
    for filter in setting("SystemCallFilter") {
        let (denies, groups) = filter.strip_prefix('~').map_or((false, filter.as_str()), |groups| (true, groups));
        for group in groups.split_whitespace() {
            for call in calls(group).await? {
                if denies {
                    allowed.remove(&call)
                } else {
                    allowed.insert(call)
                };
            }
        }
    }
    assert!(allowed.len() > 100 && setting("MemoryDenyWriteExecute") == ["yes"], "the unit has no such filter");
    let protection =
        |mask: u32, value: u32| json!([{"index": 2, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}]);
    let mut rules = vec![
        json!({"names": ["mmap", "mprotect"], "args": protection(EXEC, 0)}),
        json!({"names": ["mmap"], "args": protection(EXEC | WRITE, EXEC)}),
    ];
    for call in ["mmap", "mprotect", "socket"] {
        assert!(allowed.remove(call), "the unit does not allow {call} at all");
    }
    for family in setting("RestrictAddressFamilies").iter().flat_map(|families| families.split_whitespace()) {
        let number = match family {
            "AF_UNIX" => 1,
            "AF_INET" => 2,
            "AF_INET6" => 10,
            other => return Err(format!("{other} has no number here").into()),
        };
        rules.push(json!({"names": ["socket"], "args": [{"index": 0, "value": number, "op": "SCMP_CMP_EQ"}]}));
    }
    rules.push(json!({"names": allowed}));
    for rule in &mut rules {
        rule["action"] = json!("SCMP_ACT_ALLOW");
    }
    Ok(json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "syscalls": rules}))
}

/// The calls of a group like `@system-service`, or the one call.
async fn calls(group: &str) -> Result<BTreeSet<String>> {
    let (mut open, mut found) = (vec![group.to_owned()], BTreeSet::new());
    for _ in 0..MAX_DEPTH {
        let mut next = Vec::new();
        for name in open {
            if !name.starts_with('@') {
                found.insert(name);
                continue;
            }
            let listed = output("systemd-analyze", ["syscall-filter", &name]).await?;
            let lines = listed.lines().skip(1).map(str::trim);
            next.extend(lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned));
        }
        if next.is_empty() {
            return Ok(found);
        }
        open = next;
    }
    Err(format!("{group} is nested too deep").into())
}
