//! `[vm.power]`: how to find out whether a VM is powered.

use super::keys::Key;
use super::listed::{
    POWER_COMMAND, POWER_INSTANCE_ID, POWER_NAME, POWER_PRESET, POWER_PROJECT, POWER_REGION, POWER_RESOURCE_GROUP,
    POWER_ZONE, PRESETS,
};
use super::rules;
use super::table::Table;
use crate::model::VmName;

/// Whose command line tells. Names never begin with `-` and have no spaces; nothing of it passes through a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PowerConfig {
    /// `az vm get-instance-view`.
    Azure {
        /// The VM at Azure.
        name: String,
        /// Its resource group.
        resource_group: String,
    },
    /// `aws ec2 describe-instances`.
    Aws {
        /// Such as `i-0abc1234`.
        instance_id: String,
        /// `None`: as the CLI's own configuration says.
        region: Option<String>,
    },
    /// `gcloud compute instances describe`.
    Gcloud {
        /// The instance.
        name: String,
        /// Its zone.
        zone: String,
        /// `None`: as the CLI's own configuration says.
        project: Option<String>,
    },
    /// A program of the user's: 1 to 32 arguments, the first not empty.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
    },
}

/// Reads `[vm.power]`; `name` is the VM's own. `None` if it is not written or has a mistake, which is then reported.
pub(super) fn read(table: &Table<'_>, name: Option<&VmName>) -> Option<PowerConfig> {
    if !table.is_written() {
        return None;
    }
    let known = |word: &str| PRESETS.iter().find(|known| **known == word).copied();
    let preset = table.word(&POWER_PRESET, known, "");
    if preset.is_empty() {
        return None;
    }
    refuse_others(table, preset);
    let text = |key: &'static Key| table.parsed(key, rules::cloud_name);
    let needed = |key: &'static Key| {
        if !table.has(key) {
            table.refuse(key, format!("is missing: preset \"{preset}\" needs it"));
        }
        text(key)
    };
    let own_name = || if table.has(&POWER_NAME) { text(&POWER_NAME) } else { name.map(ToString::to_string) };
    match preset {
        "azure" => {
            let (name, resource_group) = (own_name(), needed(&POWER_RESOURCE_GROUP));
            Some(PowerConfig::Azure { name: name?, resource_group: resource_group? })
        }
        "aws" => {
            let (instance_id, region) = (needed(&POWER_INSTANCE_ID), text(&POWER_REGION));
            Some(PowerConfig::Aws { instance_id: instance_id?, region })
        }
        "gcloud" => {
            let (name, zone, project) = (own_name(), needed(&POWER_ZONE), text(&POWER_PROJECT));
            Some(PowerConfig::Gcloud { name: name?, zone: zone?, project })
        }
        _ => command(table),
    }
}

fn command(table: &Table<'_>) -> Option<PowerConfig> {
    let argv = table.list(&POWER_COMMAND, rules::argument);
    if argv.first().is_none_or(|program| program.trim().is_empty()) {
        table.refuse(&POWER_COMMAND, "is missing: preset \"command\" needs a program and its arguments");
        return None;
    }
    Some(PowerConfig::Command { argv })
}

/// Keys of another preset: they would do nothing, and who wrote them expects otherwise.
fn refuse_others(table: &Table<'_>, preset: &str) {
    let keys: [(&'static Key, &[&str]); 7] = [
        (&POWER_NAME, &["azure", "gcloud"]),
        (&POWER_RESOURCE_GROUP, &["azure"]),
        (&POWER_INSTANCE_ID, &["aws"]),
        (&POWER_REGION, &["aws"]),
        (&POWER_ZONE, &["gcloud"]),
        (&POWER_PROJECT, &["gcloud"]),
        (&POWER_COMMAND, &["command"]),
    ];
    for (key, presets) in keys {
        if table.has(key) && !presets.contains(&preset) {
            table.refuse(key, format!("is for preset \"{}\", but this one is \"{preset}\"", presets.join("\" or \"")));
        }
    }
}
