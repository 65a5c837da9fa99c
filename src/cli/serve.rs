//! `gatewatch serve`.

use std::process::ExitCode;

use super::{ConfigArgs, Failure, block_on};
use crate::app::{self, App, Settings};

/// Flags of `serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let config = args.config.load()?;
    app::init_logs(&config.log).map_err(Failure::Other)?;
    for warning in app::warnings(&config) {
        tracing::warn!("{warning}");
    }
    for missing in app::missing_parts(&config) {
        tracing::warn!("{missing}");
    }
    let manager = app::service_manager().map_err(Failure::Other)?;
    let settings = Settings { manager, ..Settings::new(config, Some(args.config.config.clone())) };
    block_on(async move {
        let app = App::build(settings).await.map_err(|error| Failure::Other(error.to_string()))?;
        app.run().await.map_err(|error| Failure::Other(error.to_string()))
    })?;
    Ok(ExitCode::SUCCESS)
}
