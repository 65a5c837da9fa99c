//! Where in a log the last poll stopped.

use serde::{Deserialize, Serialize};

/// The way a benchmark log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// `Task 5/30: notepad_1`, `Running task: ...`, `Result: PASS`.
    Openadapt,
    /// Windows Agent Arena's own `run.py`: `[Domain]: ...`, `[Example ID]: ...`, `Finished ...`.
    Waa,
    /// Regular expressions of the configuration.
    Custom,
}

/// How far one log file has been read, and how to tell that it is still the same file (SEMANTICS, section 2).
///
/// The hashes decide; `dev` and `inode` only help to find a renamed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogCursor {
    /// The file's path on the VM.
    pub path: String,
    /// Counts the files that have stood at `path`, from 1; 0 before the first.
    pub generation: u64,
    /// Device of the file last read.
    pub dev: u64,
    /// Inode of the file last read.
    pub inode: u64,
    /// Bytes consumed: everything before it has become facts. Always at the start of a line, unless `overlong`.
    pub offset: u64,
    /// How many first bytes `head_hash` covers: min(offset, 1024).
    pub head_len: u32,
    /// SHA-256 of the first `head_len` bytes, as hex.
    pub head_hash: String,
    /// How many bytes before `offset` `before_hash` covers: min(offset, 256).
    pub before_len: u32,
    /// SHA-256 of the `before_len` bytes before `offset`, as hex.
    pub before_hash: String,
    /// `offset` stands inside a line longer than the cap, whose rest is to be passed over.
    #[serde(default)]
    pub overlong: bool,
    /// What `auto` found this generation to be written in; absent until a line told.
    #[serde(default)]
    pub dialect: Option<Dialect>,
    /// A line of `waa` had its logger's prefix: from then on a line without one is somebody's text, such as what a model
    /// under test said.
    #[serde(default)]
    pub prefixed: bool,
}

impl LogCursor {
    /// The cursor of a file never read.
    pub fn start(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            generation: 0,
            dev: 0,
            inode: 0,
            offset: 0,
            head_len: 0,
            head_hash: String::new(),
            before_len: 0,
            before_hash: String::new(),
            overlong: false,
            dialect: None,
            prefixed: false,
        }
    }
}
