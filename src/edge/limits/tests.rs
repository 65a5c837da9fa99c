//! Bounds of the tables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::rate::{ByAddress, Quota, Rate};
use super::{Limits, MAX_KEYS, SWEEP_EVERY, told};
use crate::edge::EdgeSettings;
use crate::model::ClientKey;
use crate::telemetry::Metrics;

/// A quota that takes an hour to come back once it is used up.
const SLOW: Quota = Quota { per_second: 1, burst: 3600 };

fn key(n: u32) -> ClientKey {
    ClientKey::of(IpAddr::V4(Ipv4Addr::from(n)))
}

/// The host number `n`, each in a /64 of its own.
fn host(n: u64) -> ClientKey {
    ClientKey::of(IpAddr::V6(Ipv6Addr::from(u128::from(n) << 64)))
}

#[test]
fn g56_waits_are_whole_seconds_rounded_up_and_never_none() {
    for (millis, seconds) in [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2), (2999, 3), (60_000, 60)] {
        assert_eq!(told::seconds(Duration::from_millis(millis)), seconds, "{millis} ms");
    }
}

#[test]
fn g55_a_full_table_takes_nobody_in_and_is_swept_once_a_second() {
    let rate: Rate<ByAddress> = Rate::new("test", Quota { per_second: 10_000, burst: 1 }, 10);
    let (table, now) = (rate.table(), Instant::now());
    // With a fast quota every key is as a fresh one again by the time the table is full.
    for n in 0..10_000 {
        if table.admits(now + Duration::from_secs(u64::from(n))) {
            table.use_up(&key(n));
        }
        assert!(table.len() <= 10, "{}", table.len());
    }
    let rate: Rate<ByAddress> = Rate::new("test", SLOW, 10);
    let table = rate.table();
    for n in 0..10 {
        assert!(table.admits(now));
        table.use_up(&key(n));
    }
    for second in 0..10 {
        assert!(!table.admits(now + Duration::from_secs(second)));
    }
    assert_eq!(table.len(), 10, "nobody is forgotten to make room");
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// Set for the process that has nothing to do but the measurement.
const ALONE: &str = "GATEWATCH_TEST_ALONE";

#[test]
fn g55_a_million_addresses_take_at_most_64_mib() {
    if std::env::var_os(ALONE).is_none() {
        // Other tests of this process take memory too.
        let name = "edge::limits::tests::g55_a_million_addresses_take_at_most_64_mib";
        let program = std::env::current_exe().expect("this program");
        let measured = Command::new(program).args(["--exact", name, "--nocapture"]).env(ALONE, "1").output();
        let measured = measured.expect("a second process");
        let text = String::from_utf8_lossy(&measured.stdout);
        assert!(measured.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let limits = Limits::new(EdgeSettings::default().limits, Metrics::new().limits);
    limits.address.replace(SLOW);
    let (table, now, before) = (limits.address.table(), Instant::now(), resident());
    let mut counted = 0;
    for n in 0..1_000_000 {
        if table.admits(now + Duration::from_micros(n)) {
            table.use_up(&host(n));
            counted += 1;
        }
        limits.auth_failures().failed(host(n), now);
    }
    assert_eq!((counted, table.len()), (MAX_KEYS, MAX_KEYS));
    let grown = resident().saturating_sub(before);
    assert!(grown <= 64 << 20, "{grown} bytes");
}

#[tokio::test(start_paused = true)]
async fn g55_the_sweep_forgets_what_makes_no_difference_and_tells_how_many_are_left() {
    let metrics = Metrics::new();
    let limits = Arc::new(Limits::new(EdgeSettings::default().limits, metrics.limits.clone()));
    limits.address.replace(SLOW);
    for n in 0..5 {
        limits.address.table().use_up(&key(n));
        limits.auth_failures().failed(key(n), Instant::now());
    }
    let mut sweep = Box::pin(limits.sweep());
    assert!(futures_util::poll!(&mut sweep).is_pending());
    assert_eq!(metrics.limits.rate_keys.get(), 5);
    limits.address.replace(Quota { per_second: 10_000, burst: 1 });
    limits.address.table().use_up(&key(1));
    while limits.address.table().len() > 0 {
        tokio::time::advance(SWEEP_EVERY).await;
        assert!(futures_util::poll!(&mut sweep).is_pending());
    }
    assert_eq!(metrics.limits.rate_keys.get(), 0);
}

impl Limits {
    /// Fills the table of addresses; if their quota takes long to come back it stays full.
    pub(in crate::edge) fn fill_addresses(&self) {
        let (table, now) = (self.address.table(), Instant::now());
        for n in (0..).take_while(|_| table.admits(now)) {
            table.use_up(&host(n));
        }
    }
}
