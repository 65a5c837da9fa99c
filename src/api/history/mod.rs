//! What was: runs and their tasks, as pages for programs, as exports for spreadsheets, and as rows for the terminal.
//!
//! `columns` is the one list of what a row holds; pages, exports and `gatewatch runs` are made of it. `reader` takes rows
//! from the journal page by page, `encode` makes text of them, `export` hands that to a client no faster than it reads.

mod columns;
mod encode;
mod export;
mod params;
mod reader;
mod routes;

pub use columns::{Cell, Column, Object, Row, TaskRow};
pub use encode::{Encoder, ExportFormat};
pub use export::{EXPORTS, ExportRunner, Exports};
pub use params::time_of;
pub use reader::{HistoryError, MAX_TASKS_PAGE, Reader, Rows, Wanted};

pub(super) use routes::{detail, list};
