//! The command line: one file per command. May import `app` and `config`.

mod cert;
mod check;
mod demo;
mod generate;
mod healthcheck;
mod journal;
mod key;
mod probe;
mod runs;
mod serve;

use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigErrors, ProcessEnv};

/// Exit code of a mistake in flags or configuration (EX_USAGE of sysexits).
const EX_USAGE: u8 = 64;

/// Watches benchmark VMs over one kept SSH connection each and fans what they do out over Server-Sent Events.
#[derive(Debug, Parser)]
#[command(name = "gatewatch", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch the VMs of a configuration and serve their events.
    Serve(serve::Args),
    /// Watch a simulated fleet through the whole pipeline and the whole edge.
    Demo(demo::Args),
    /// Say every mistake in a configuration; exit 64 if there is one.
    Check(check::Args),
    /// Poll one VM once and print what it answered as JSON.
    Probe(probe::Args),
    /// Print the runs of the journal, or the tasks of one.
    Runs(runs::Args),
    /// The journal.
    Journal(journal::Args),
    /// API keys.
    Key(key::Args),
    /// Certificates.
    Cert(cert::Args),
    /// Ask the running process whether it is alive; exit 1 if not.
    Healthcheck(healthcheck::Args),
    /// Write the man pages and the completions of shells, for packages.
    #[command(hide = true)]
    Generate(generate::Args),
}

/// Where the configuration is.
#[derive(Debug, clap::Args)]
struct ConfigArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "config/gatewatch.toml")]
    config: PathBuf,
}

impl ConfigArgs {
    fn load(&self) -> Result<Config, ConfigErrors> {
        Config::load(Some(&self.config), &ProcessEnv)
    }
}

/// Why a command ends otherwise than well; each prints as one readable line (or one line per mistake).
#[derive(Debug)]
enum Failure {
    /// Flags or configuration: exit 64.
    Usage(String),
    /// Everything else: exit 1.
    Other(String),
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::Usage(errors.to_string())
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { EX_USAGE } else { 0 };
            // Nothing is left to tell if the terminal is gone.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let outcome = match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Probe(args) => probe::run(&args),
        Command::Runs(args) => runs::run(&args),
        Command::Journal(args) => journal::run(&args),
        Command::Key(args) => key::run(&args),
        Command::Cert(args) => cert::run(&args),
        Command::Healthcheck(args) => healthcheck::run(&args),
        Command::Generate(args) => generate::run(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            let (code, text) = match failure {
                Failure::Usage(text) => (EX_USAGE, text),
                Failure::Other(text) => (1, text),
            };
            say_error(&text);
            ExitCode::from(code)
        }
    }
}

/// Prints to standard output; a closed pipe is the reader's wish, not a failure.
fn say(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Prints what somebody waits for, a line break behind it if it has none.
fn say_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let end: &[u8] = if bytes.ends_with(b"\n") { b"" } else { b"\n" };
    let said = out.write_all(bytes).and_then(|()| out.write_all(end)).and_then(|()| out.flush());
    said.map_err(|error| Failure::Other(format!("standard output: {error}")))
}

/// Prints to standard error.
fn say_error(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", text.trim_end());
}

/// Runs `work` on a runtime with a thread per core.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("gatewatch")
        .build()
        .map_err(|error| Failure::Other(format!("the runtime does not start: {error}")))?;
    let outcome = runtime.block_on(work);
    // A blocked thread (a name lookup, a file on a dead mount) must not hold up the exit.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    outcome
}
