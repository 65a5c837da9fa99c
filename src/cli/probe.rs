//! `gatewatch probe VM`.

use std::process::ExitCode;

use super::{ConfigArgs, Failure, block_on, say_bytes};
use crate::app;

/// Flags of `probe`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The VM's name in the configuration.
    vm: String,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print the reply's bytes as they came, instead of JSON.
    #[arg(long)]
    raw: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let config = args.config.load()?;
    let Some(vm) = config.vms.iter().find(|vm| vm.name.as_str() == args.vm) else {
        let names: Vec<&str> = config.vms.iter().map(|vm| vm.name.as_str()).collect();
        return Err(Failure::Usage(format!("no VM named {:?}; configured: {}", args.vm, names.join(", "))));
    };
    let (text, answered) =
        block_on(async { app::probe_once(vm, config.poll.timeout, args.raw).await.map_err(Failure::Other) })?;
    say_bytes(&text)?;
    Ok(if answered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
