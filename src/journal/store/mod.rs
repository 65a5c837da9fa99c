//! The SQLite file that durable events are read from: its schema, and what is written to and read from it.
//!
//! Knows nothing of who writes when: `embedded` appends to it as the journal itself, `jetstream` applies to it what its
//! stream holds. All of it blocks; `pool` takes the reads off the runtime's threads.

mod lock;
mod place;
mod pool;
mod prune;
mod read;
mod read_only;
mod schema;
#[cfg(test)]
mod tests;
mod write;

pub(super) use lock::{Lock, beside};
pub(super) use place::Place;
pub(super) use pool::Pool;
pub use prune::Retention;
pub(super) use prune::{Pruned, kept, prune};
pub(super) use read::{
    count_after, last_commit, last_seq, oldest_needed, read, read_runs, read_with_times, run, runs, vms,
};
pub use read_only::ReadOnlyJournal;
pub use schema::OpenError;
pub(super) use schema::{FileKind, Head, create_private, expect_mark, head, mark_made, open};
pub(super) use write::{append, forget_all, known_vm, put, raise_floor, rename_vm, stand_at, vm_id};
