//! `gatewatch key`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Failure, say_bytes, say_error};
use crate::app;

/// What to do with API keys.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeyCommand {
    /// Make a key, add its hash to the keys file and show the key, this once.
    New(NewArgs),
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

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let KeyCommand::New(new) = &args.command;
    let key = app::new_key(&new.keys_file, &new.name, &new.scopes, &new.vms, &new.expires).map_err(Failure::Usage)?;
    // A key that nobody saw is of no use, so a full or closed output is a failure.
    say_bytes(key.expose().as_bytes())?;
    say_error(&format!("The key is shown this once; {} holds its hash alone.", new.keys_file.display()));
    Ok(ExitCode::SUCCESS)
}
