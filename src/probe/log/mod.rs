//! The benchmark logs: bytes of a log in, facts out (SEMANTICS 2 and 3).
//!
//! [`read_log`] takes the last cursor and what the probe script answered ([`RawLog`]) and gives a
//! [`LogRead`](crate::model::LogRead); [`LineParser`] is the part that knows the dialects. The same bytes always give
//! the same facts at the same offsets, however they are cut into polls.
//!
//! Pure: no I/O, no async, no clock. What may be imported here: `model` alone.

mod custom;
mod dialect;
mod identity;
mod openadapt;
mod raw;
mod reader;
mod scan;
mod text;
mod trouble;
mod waa;

pub use custom::{CUSTOM_LINE_MAX, CustomDialect, CustomError, CustomPatterns};
pub use dialect::{Found, LineParser, Oddities, Profile};
pub use raw::{BEFORE_LEN, CHUNK, HEAD_LEN, RawFile, RawLog};
pub use reader::read_log;
pub use scan::{MAX_LINE, PART_TURNS};

#[cfg(test)]
mod tests;
