//! `gatewatch healthcheck`, for Docker's HEALTHCHECK.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use super::{ConfigArgs, Failure, block_on};
use crate::app;

/// Where the administration listener is unless configured otherwise.
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9765);

/// Flags of `healthcheck`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Address of the listener to ask, without TLS, instead of the configuration's.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<SocketAddr>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let address = match args.address {
        Some(address) => address,
        // A file that went bad says nothing of the process that runs with the one before.
        None => match args.config.load() {
            Ok(config) => app::health_address(&config).map_err(Failure::Other)?,
            Err(_) => DEFAULT_ADMIN,
        },
    };
    block_on(async move { app::healthcheck(address).await.map_err(Failure::Other) })?;
    Ok(ExitCode::SUCCESS)
}
