//! `gatewatch cert`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Failure, say, say_error};
use crate::app;

/// What to do with certificates.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: CertCommand,
}

#[derive(Debug, clap::Subcommand)]
enum CertCommand {
    /// Make a local CA and a certificate for this machine, unless there are some that last for another 30 days.
    ///
    /// The key of the CA is never written: trusting it means trusting this one certificate.
    Dev(DevArgs),
}

#[derive(Debug, clap::Args)]
struct DevArgs {
    /// The folder for the three files; made if it is not there.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    out: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let CertCommand::Dev(dev) = &args.command;
    let made = app::make_dev_certificate(&dev.out).map_err(Failure::Other)?;
    say(&format!("ca    {}", made.ca.display()));
    say(&format!("cert  {}", made.cert.display()));
    say(&format!("key   {}", made.key.display()));
    say_error(&format!(
        "Name cert and key in [tls] of the configuration; clients trust the CA:\n\
         curl --cacert {} https://localhost:8765/healthz",
        made.ca.display()
    ));
    Ok(ExitCode::SUCCESS)
}
