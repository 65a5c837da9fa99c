//! `gatewatch check`.

use std::process::ExitCode;

use super::{ConfigArgs, Failure, say, say_error};
use crate::app;

/// Flags of `check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let config = args.config.load()?;
    let mistakes = app::missing_parts(&config);
    if !mistakes.is_empty() {
        return Err(Failure::Usage(mistakes.join("\n")));
    }
    for warning in app::warnings(&config) {
        say_error(&format!("warning: {warning}"));
    }
    say(&format!("{}: no mistake, {} VMs", args.config.config.display(), config.vms.len()));
    Ok(ExitCode::SUCCESS)
}
