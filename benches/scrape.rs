//! How long Prometheus waits for `/metrics` of a gateway that watches 200 VMs, each with a run.
//!
//! A whole gateway in this process, its polls going on, asked over sockets: the administration listener, and the public
//! one over TLS with a key.

mod figures;
#[path = "../tests/lab/mod.rs"]
#[allow(unused_imports, reason = "what the tests share needs it; a bench does not")]
mod lab;
#[path = "../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, unreachable_pub, reason = "shared with the tests; a bench uses a part of it")]
#[allow(clippy::panic, clippy::disallowed_methods, reason = "it is made for tests")]
mod support;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use figures::{Figures, Result, Spread, ms};
use support::{Gateway, eventually};

/// VMs that are watched.
const VMS: usize = 200;
/// Scrapes of each listener.
const SCRAPES: usize = 200;
/// Goal, milliseconds.
const GOAL: f64 = 20.0;
/// How long all VMs may take to begin their runs.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<()> {
    let Some(mut figures) = Figures::begin("scrape") else { return Ok(()) };
    let mut config = String::from("[limits]\nrequests_per_second = 10000\nburst = 10000\n");
    for vm in 0..VMS {
        let played = "[vm.simulated]\nstart_at = \"21s\"\nspeed = \"0.1\"\n";
        let _ = write!(config, "[[vm]]\nname = \"vm-{vm}\"\ntransport = \"simulated\"\n{played}");
    }
    let gateway = Gateway::start_with(&config, "mode = \"dev\"").await;
    eventually(PATIENCE, || async { gateway.metric("gatewatch_run_open").await == VMS as f64 }).await;
    measure(&gateway, &mut figures).await?;
    let left = gateway.stop().await;
    if !left.is_empty() {
        return Err(left.into());
    }
    figures.end()
}

async fn measure(gateway: &Gateway, figures: &mut Figures) -> Result<()> {
    let admin = support::plain();
    let (mut of_admin, mut of_public, mut page) = (Vec::new(), Vec::new(), String::new());
    for _ in 0..SCRAPES {
        let began = Instant::now();
        page = admin.get(gateway.admin_url("/metrics")).send().await?.error_for_status()?.text().await?;
        of_admin.push(ms(began.elapsed()));
        let began = Instant::now();
        gateway.get("/metrics").await.error_for_status()?.text().await?;
        of_public.push(ms(began.elapsed()));
    }
    let series = page.lines().filter(|line| !line.starts_with('#')).count();
    let goal = format!("p95 under {GOAL:.0} ms");
    for (what, name, measured) in [
        ("of the administration listener", "admin_ms", of_admin),
        ("of the public listener, over TLS with a key", "public_ms", of_public),
    ] {
        let spread = Spread::of(measured);
        let what = format!("a scrape of {VMS} VMs, {what}: {series} series, {} KiB", page.len() / 1024);
        figures.row(what, spread.shown("ms", 2), Some((&goal, spread.at(0.95) < GOAL)));
        figures.spread(name, &spread);
    }
    figures.value("series", series);
    Ok(())
}
