//! How the process lives: named tasks with an owner, readiness that is said, signs of life, backoff, signals, a staged
//! stop, and what the service manager is told of it.
//!
//! This room imports nothing of ours. Time comes from `tokio::time`, so that tests can pause it.

mod backoff;
mod heart;
mod manager;
mod readiness;
mod shutdown;
mod signals;
mod tasks;

pub use backoff::Backoff;
pub use heart::Heart;
pub use manager::{ServiceManager, Turns};
pub use readiness::{Gate, NotReady, Readiness};
pub use shutdown::{Shutdown, StageReport};
pub use signals::{Signal, SignalFeed, Signals};
pub use tasks::Tasks;
