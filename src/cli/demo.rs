//! `gatewatch demo`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::{Failure, block_on, say, say_error};
use crate::app::{self, App, DemoOptions, Settings};

/// Flags of `demo`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where clients connect.
    #[arg(long, default_value = "127.0.0.1:8765")]
    listen: SocketAddr,
    /// How many simulated VMs, 1 to 200.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=200))]
    vms: u16,
    /// How fast their clocks run, 0.1 to 60; at 1 the whole timeline takes about a minute.
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// Where certificate, key and login link are kept, so that a restart continues where it was.
    #[arg(long, value_name = "DIR", default_value = "data/demo")]
    data_dir: PathBuf,
    /// TLS with a certificate of its own CA, or none.
    #[arg(long, value_enum, default_value_t = Tls::Dev)]
    tls: Tls,
    /// Print one line of JSON, {url, key, ca, admin_url, pid, login}, instead of words.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tls {
    /// A development certificate.
    Dev,
    /// Plain HTTP.
    Off,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.1..=60.0).contains(&speed) { Ok(speed) } else { Err("not between 0.1 and 60".to_owned()) }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Line<'a> {
    url: &'a str,
    key: &'a str,
    ca: Option<&'a str>,
    admin_url: Option<&'a str>,
    pid: u32,
    login: &'a str,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let options = DemoOptions {
        listen: args.listen,
        vms: args.vms,
        speed: args.speed,
        data_dir: args.data_dir.clone(),
        tls: args.tls == Tls::Dev,
    };
    let demo = app::prepare_demo(&options).map_err(Failure::Other)?;
    app::init_logs(&demo.config.log).map_err(Failure::Other)?;
    for warning in demo.config.warnings() {
        say_error(&format!("warning: {warning}"));
    }
    let login_code = Some(demo.login_code.clone());
    let settings = Settings { login_code, drain_delay: Duration::ZERO, ..Settings::new(demo.config, None) };
    block_on(async move {
        let app = App::build(settings).await.map_err(|error| Failure::Other(error.to_string()))?;
        let (url, admin_url) = (app.url(), app.admin_url());
        let login = format!("{url}/auth/login?code={}", demo.login_code.expose());
        let ca = app.ca().map(|path| path.display().to_string());
        let line = Line {
            url: &url,
            key: demo.key.expose(),
            ca: ca.as_deref(),
            admin_url: admin_url.as_deref(),
            pid: std::process::id(),
            login: &login,
        };
        say(&if args.json { in_json(&line)? } else { in_words(&line) });
        app.run().await.map_err(|error| Failure::Other(error.to_string()))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn in_json(line: &Line<'_>) -> Result<String, Failure> {
    serde_json::to_string(line).map_err(|error| Failure::Other(error.to_string()))
}

fn in_words(line: &Line<'_>) -> String {
    // Quoted for the shell that it is pasted into.
    let quoted = |path: &str| format!("'{}'", path.replace('\'', "'\\''"));
    let cacert = line.ca.map(|ca| format!(" --cacert {}", quoted(ca))).unwrap_or_default();
    let trust = match line.ca {
        Some(ca) => format!("The browser warns of a certificate it does not know; its CA is {ca}\n"),
        None => String::new(),
    };
    format!(
        "A simulated fleet is being watched.\n\n\
         In a browser:   {login}\n\
         {trust}\n\
         In a terminal:  curl -N{cacert} -H 'Authorization: Bearer {key}' '{url}/api/benchmark-sse?interval=1'\n\n\
         Admin key:      {key}\n\
         Metrics:        {admin}/metrics\n\n\
         Ctrl-C ends it.",
        login = line.login,
        key = line.key,
        url = line.url,
        admin = line.admin_url.unwrap_or("(off)"),
    )
}
