//! `gatewatch key`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{Failure, say, say_bytes, say_error};
use crate::app::{self, KeyRow, aligned};

/// What to do with API keys.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: KeyCommand,
}

/// A gateway that runs takes a change of its keys file within a second.
#[derive(Debug, clap::Subcommand)]
enum KeyCommand {
    /// Make a key, add its hash to the keys file and show the key, this once.
    New(NewArgs),
    /// Show the keys: what each may do and how long. No secret is in the file.
    List(ListArgs),
    /// Take a key out of the keys file. Streams that it opened end within a second.
    Revoke(RevokeArgs),
    /// Make a new secret for a key and show the key, this once. The old secret opens too until --finish; again before
    /// that, it replaces the new secret, which may never have been seen, and not the old one.
    Rotate(RotateArgs),
}

#[derive(Debug, clap::Args)]
struct FileArgs {
    /// The keys file.
    #[arg(long, value_name = "FILE", default_value = "config/keys.toml")]
    keys_file: PathBuf,
}

#[derive(Debug, clap::Args)]
struct NewArgs {
    /// The keys file; made if it is not there.
    #[arg(long, value_name = "FILE", default_value = "config/keys.toml")]
    keys_file: PathBuf,
    /// What the key is for, for people.
    #[arg(long)]
    name: String,
    /// What the key may do: events:read, metrics:read, vms:write, vnc:view, admin.
    #[arg(long, value_delimiter = ',', default_value = "events:read")]
    scopes: Vec<String>,
    /// The VMs it may see: names, in which * stands for anything.
    #[arg(long, value_delimiter = ',', default_value = "*")]
    vms: Vec<String>,
    /// When it ends: an RFC 3339 time, or never.
    #[arg(long, default_value = "never")]
    expires: String,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    file: FileArgs,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct RevokeArgs {
    /// The key's id: what stands between `gw_` and the second `_`.
    id: String,
    #[command(flatten)]
    file: FileArgs,
    /// Even if no key is left: then no key opens the gateway that runs, and none starts on this file.
    #[arg(long)]
    last: bool,
}

#[derive(Debug, clap::Args)]
struct RotateArgs {
    /// The key's id: what stands between `gw_` and the second `_`.
    id: String,
    #[command(flatten)]
    file: FileArgs,
    /// Drop the old secret. Streams and sessions that it opened end.
    #[arg(long)]
    finish: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    match &args.command {
        KeyCommand::New(new) => {
            let key = app::new_key(&new.keys_file, &new.name, &new.scopes, &new.vms, &new.expires);
            show(key.map_err(Failure::Usage)?.expose(), &new.keys_file)?;
        }
        KeyCommand::List(list) => {
            let keys = app::list_keys(&list.file.keys_file).map_err(Failure::Usage)?;
            if list.json {
                let text = serde_json::to_vec(&keys).map_err(|error| Failure::Other(error.to_string()))?;
                say_bytes(&text)?;
            } else {
                say(&table(&keys));
            }
        }
        KeyCommand::Revoke(revoke) => {
            app::revoke_key(&revoke.file.keys_file, &revoke.id, revoke.last)
                .map_err(|why| Failure::Usage(why.to_string()))?;
            say_error(&format!("The key {} is taken out of {}.", revoke.id, revoke.file.keys_file.display()));
        }
        KeyCommand::Rotate(rotate) if rotate.finish => {
            app::finish_rotation(&rotate.file.keys_file, &rotate.id).map_err(Failure::Usage)?;
            say_error(&format!("The old secret of the key {} opens no more.", rotate.id));
        }
        KeyCommand::Rotate(rotate) => {
            let key = app::rotate_key(&rotate.file.keys_file, &rotate.id).map_err(Failure::Usage)?;
            show(key.expose(), &rotate.file.keys_file)?;
            say_error(
                "The old secret opens too, until you rotate with --finish. One of an earlier rotation that was \
                 not finished opens no more.",
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A key that nobody saw is of no use, so a full or closed output is a failure.
fn show(key: &str, keys_file: &Path) -> Result<(), Failure> {
    say_bytes(key.as_bytes())?;
    say_error(&format!("The key is shown this once; {} holds its hash alone.", keys_file.display()));
    Ok(())
}

/// The keys for people: a line each, in columns.
fn table(keys: &[KeyRow]) -> String {
    let head = ["ID", "NAME", "SCOPES", "VMS", "EXPIRES", "STATE"].map(str::to_owned);
    let row = |key: &KeyRow| {
        let state = format!("{}{}", key.state.as_str(), if key.rotating { ", rotating" } else { "" });
        [key.id.clone(), key.name.clone(), key.scopes.join(" "), key.vms.join(" "), key.expires.clone(), state]
    };
    aligned(&std::iter::once(head).chain(keys.iter().map(row)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::table;
    use crate::app::{KeyRow, KeyState};

    #[test]
    fn keys_stand_in_columns() {
        let key = |id: &str, name: &str, state, rotating| KeyRow {
            id: id.to_owned(),
            name: name.to_owned(),
            scopes: vec!["events:read", "vnc:view"],
            vms: vec!["waa-*".to_owned(), "lab".to_owned()],
            expires: "never".to_owned(),
            state,
            rotating,
        };
        let keys = [key("abc", "für Grafana", KeyState::Active, false), key("longer", "x", KeyState::Expired, true)];
        assert_eq!(
            table(&keys),
            "ID      NAME         SCOPES                VMS        EXPIRES  STATE\n\
             abc     für Grafana  events:read vnc:view  waa-* lab  never    active\n\
             longer  x            events:read vnc:view  waa-* lab  never    expired, rotating"
        );
    }
}
