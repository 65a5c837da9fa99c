//! `gatewatch runs`.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use super::{ConfigArgs, Failure, block_on};
use crate::app::{self, RunsError, RunsFormat, RunsWanted};

/// Flags of `runs`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The tasks of this run, instead of runs.
    #[arg(conflicts_with_all = ["vm", "state", "since", "until"])]
    run: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Runs of this VM only.
    #[arg(long, value_name = "NAME")]
    vm: Option<String>,
    /// Open runs only, or ended ones only.
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Runs that opened at this time or later: seconds since the Unix epoch, or an RFC 3339 time.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Runs that opened before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// As many rows at most. Without it 50, or all of them as csv and jsonl.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// How they are printed.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum State {
    Open,
    Ended,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// Columns for people; times in UTC.
    Table,
    /// A file for spreadsheets.
    Csv,
    /// A JSON object on each line.
    Jsonl,
    /// One JSON document.
    Json,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let config = args.config.load()?;
    let journal = app::open_history(&config).map_err(Failure::Usage)?;
    let mut out = io::stdout().lock();
    let wanted = RunsWanted {
        run: args.run.as_deref(),
        vm: args.vm.as_deref(),
        open: args.state.map(|state| matches!(state, State::Open)),
        since: args.since.as_deref(),
        until: args.until.as_deref(),
        limit: args.limit,
        terminal: out.is_terminal(),
    };
    let format = match args.format {
        Format::Table => RunsFormat::Table,
        Format::Json => RunsFormat::Json,
        Format::Csv => RunsFormat::Export(app::ExportFormat::Csv),
        Format::Jsonl => RunsFormat::Export(app::ExportFormat::Jsonl),
    };
    let printed = block_on(async { Ok(app::print_runs(&*journal, &wanted, format, &mut out).await) })?;
    match printed {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // A closed pipe is the reader's wish.
        Err(RunsError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error @ RunsError::Asked(_)) => Err(Failure::Usage(error.to_string())),
        Err(error) => Err(Failure::Other(error.to_string())),
    }
}
