//! `gatewatch journal`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::{ConfigArgs, Failure, block_on, say};
use crate::app;

/// Flags of `journal`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Copy a journal of kind "embedded", which no process has open, into the empty stream of a configuration of kind
    /// "jetstream". Clients that come back begin anew: ids count from a new epoch.
    Import {
        /// The file: journal.db in the data folder of the gatewatch that wrote it.
        file: PathBuf,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let Command::Import { file, config } = &args.command;
    let config = config.load()?;
    let imported = block_on(async { app::import_journal(&config, file).await.map_err(Failure::Other) })?;
    say(&format!("imported {} VMs, {} commits, {} events", imported.vms, imported.commits, imported.events));
    Ok(ExitCode::SUCCESS)
}
