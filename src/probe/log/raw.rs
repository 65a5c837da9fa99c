//! What the probe script answers for one log file: the seam between the script and the reader.

/// Bytes that one poll takes of one file at most.
pub const CHUNK: usize = 1 << 20;

/// First bytes of a file that `RawFile::head` holds at most (SEMANTICS 2).
pub const HEAD_LEN: usize = 1024;

/// Bytes before the cursor that `RawFile::before` holds at most (SEMANTICS 2).
pub const BEFORE_LEN: usize = 256;

/// One raw reading of one configured log path, asked for with a cursor.
///
/// `RawLog::default()` says that nothing stands at the path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawLog {
    /// The file that stands at the path; `None` if it is missing.
    pub current: Option<RawFile>,
    /// A file in the same folder that has the cursor's device and inode, if `current` has others (or is missing).
    pub renamed: Option<RawFile>,
    /// Why the path exists but could not be read, in the words of the VM. The other fields then count for nothing.
    pub unreadable: Option<String>,
}

/// What was read of one file.
///
/// The script looks in this order: device, inode and size; then `data`; then `head` and `before`. What the cursor's
/// hashes confirm after the data was read held while it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawFile {
    /// Its device.
    pub dev: u64,
    /// Its inode.
    pub inode: u64,
    /// Its size in bytes when it was looked at; it may have grown before `data` was read.
    pub size: u64,
    /// Its first bytes, up to [`HEAD_LEN`].
    pub head: Vec<u8>,
    /// The bytes before the cursor's offset, up to [`BEFORE_LEN`]; fewer or none if the file ends before.
    pub before: Vec<u8>,
    /// Where `data` begins: always the cursor's offset, also if the file may be another one.
    pub data_offset: u64,
    /// The bytes from `data_offset` on, up to [`CHUNK`]; fewer only where the file ends. Empty if it ends before.
    pub data: Vec<u8>,
}
