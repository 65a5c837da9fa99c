//! Whether the file is the one that went on last, or a copy of it from before.
//!
//! A journal that was restored from a backup gives sequences a second time to other events, so a client must not go on
//! from an id of before. Beside the journal stands a mark: what was announced last, a token that the journal holds too,
//! and which file the mark itself is (its inode and its birth). Made anew at each start and each stop. A journal that
//! was copied back alone does not know the token, or has given less than the mark says; one copied back with its mark
//! finds that the mark is another file than it says. Then the epoch is new (SEMANTICS, section 4).
//!
//! A snapshot of the whole disk brings back all of it: whoever restores one removes the mark.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode};

use crate::event::Epoch;
use crate::journal::record;
use crate::journal::store::{Head, OpenError, beside, create_private, expect_mark, head, mark_made};

/// Digits of the sequence and of the time, so that they are replaced in place: a full disk cannot stop that.
const DIGITS: usize = 20;

/// How much earlier than it says the file system may have noted a mark's change, seconds: its clock is a little coarser.
const EARLY: f64 = 1.0;

/// How much later, seconds: a slow disk, or a power cut that kept the time of a change and not the change itself, which
/// reaches the disk within half a minute. A backup that goes back over its own files sooner than this is not noticed.
const LATE: f64 = 60.0;

/// The largest mark that is read, bytes.
const MAX_BYTES: u64 = 256;

/// The mark of an open journal.
#[derive(Debug)]
pub(super) struct Mark {
    path: PathBuf,
    file: File,
    /// There was no room to make it anew.
    pub(super) full: bool,
}

/// What a mark says.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    seq: u64,
    /// When this was written, microseconds since the epoch.
    written: u64,
    token: String,
    inode: u64,
    born: u128,
}

/// Why a journal's epoch is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    NoMark,
    OtherToken,
    Behind,
    CopiedMark,
}

impl Doubt {
    fn as_str(self) -> &'static str {
        match self {
            Self::NoMark => "its mark is gone",
            Self::OtherToken => "it is not the one that went on last",
            Self::Behind => "it is behind what was already announced",
            Self::CopiedMark => "it was copied here",
        }
    }
}

/// Renews the epoch of the journal at `path` if it must be, and makes its mark anew.
pub(super) fn settle(path: &Path, connection: &Connection) -> Result<(Head, Mark), SettleError> {
    let before = head(connection)?;
    let mark_path = beside(path, ".mark");
    let found = read(&mark_path)?;
    let doubt = before.epoch.is_some().then(|| doubt(&before, found.as_ref())).flatten();
    if let Some(doubt) = doubt {
        tracing::warn!(
            path = %path.display(),
            why = doubt.as_str(),
            "the journal was restored: its ids begin a new epoch, and every client begins anew"
        );
    }
    let epoch = match (&before.epoch, doubt) {
        (Some(epoch), None) => epoch.clone(),
        _ => record::new_epoch(),
    };
    let mark = match Mark::make(mark_path.clone(), connection, &epoch, before.seq) {
        // What is there is good enough to go on with: nothing is announced before there is room for it.
        Err(error) if error.is_full() && doubt.is_none() && found.is_some() => {
            tracing::error!(path = %path.display(), "the journal's disk is full: it takes no commits until there is room");
            Mark { file: OpenOptions::new().write(true).open(&mark_path)?, path: mark_path, full: true }
        }
        made => made?,
    };
    Ok((Head { epoch: Some(epoch), ..before }, mark))
}

/// Why a mark cannot be settled.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettleError {
    #[error(transparent)]
    Store(#[from] rusqlite::Error),
    #[error("its mark: {0}")]
    Mark(#[from] io::Error),
}

impl SettleError {
    /// As what stands in the way of opening the journal at `path`.
    pub(super) fn of(self, path: &Path) -> OpenError {
        match self {
            Self::Store(error) => OpenError::sqlite(path, &error),
            mark @ Self::Mark(_) => OpenError::Io(path.to_owned(), mark.to_string()),
        }
    }

    /// Whether it is for want of room.
    fn is_full(&self) -> bool {
        match self {
            Self::Store(error) => error.sqlite_error_code() == Some(ErrorCode::DiskFull),
            Self::Mark(error) => matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded),
        }
    }
}

fn doubt(head: &Head, mark: Option<&(Content, Metadata)>) -> Option<Doubt> {
    let Some((content, metadata)) = mark else { return Some(Doubt::NoMark) };
    if !head.tokens.contains(&content.token) {
        Some(Doubt::OtherToken)
    } else if content.seq > head.seq {
        Some(Doubt::Behind)
    } else if content.inode != metadata.ino() || content.born != born(metadata) || !written_then(content, metadata) {
        Some(Doubt::CopiedMark)
    } else {
        None
    }
}

/// Whether the file was last changed when it says so. Any tool that copies it changes it later, whatever times it gives
/// the copy.
fn written_then(content: &Content, metadata: &Metadata) -> bool {
    let written = content.written as f64 / 1e6;
    let at = |seconds: i64, nanos: i64| seconds as f64 + nanos as f64 / 1e9;
    let (modified, changed) =
        (at(metadata.mtime(), metadata.mtime_nsec()), at(metadata.ctime(), metadata.ctime_nsec()));
    [modified, changed].iter().all(|noted| (-EARLY..LATE).contains(&(noted - written)))
}

impl Mark {
    /// A new file with a new token in place of the old one. Wherever this is cut short, the journal knows the token of
    /// the mark that is there.
    fn make(path: PathBuf, connection: &Connection, epoch: &Epoch, seq: u64) -> Result<Self, SettleError> {
        let token = format!("{:032x}", rand::random::<u128>());
        expect_mark(connection, epoch, &token)?;
        let file = write(&path, seq, &token)?;
        mark_made(connection, &token)?;
        Ok(Self { path, file, full: false })
    }

    /// Notes that sequences up to `seq` are about to be announced. Not synced: what a power cut takes back is the mark
    /// alone, and a mark that says less raises no doubt.
    pub(super) fn announce(&self, seq: u64) {
        if let Err(error) = self.file.write_all_at(progress(seq, now()).as_bytes(), 0) {
            tracing::warn!(%error, "the journal's mark cannot be written; a restored backup may go unnoticed");
        }
    }

    /// Makes the mark anew at an orderly stop, so that a backup made while the process ran is known as one.
    pub(super) fn close(self, connection: &Connection, epoch: &Epoch, seq: u64) -> Result<(), SettleError> {
        Self::make(self.path, connection, epoch, seq).map(drop)
    }
}

/// Puts a new mark in place of the one at `path`.
fn write(path: &Path, seq: u64, token: &str) -> io::Result<File> {
    let new = beside(path, ".new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create_private(&new)?;
    let metadata = file.metadata()?;
    let content =
        Content { seq, written: now(), token: token.to_owned(), inode: metadata.ino(), born: born(&metadata) };
    file.write_all(content.to_text().as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()?;
    Ok(file)
}

impl Content {
    fn to_text(&self) -> String {
        format!("{} {} {} {}\n", progress(self.seq, self.written), self.token, self.inode, self.born)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split_ascii_whitespace();
        Some(Self {
            seq: parts.next()?.parse().ok()?,
            written: parts.next()?.parse().ok()?,
            token: parts.next()?.to_owned(),
            inode: parts.next()?.parse().ok()?,
            born: parts.next()?.parse().ok()?,
        })
    }
}

/// What changes with each commit.
fn progress(seq: u64, written: u64) -> String {
    format!("{seq:0DIGITS$} {written:0DIGITS$}")
}

/// The file system's own clock, so no argument: what it notes is compared with this.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Nanoseconds since the epoch; 0 where the file system does not tell.
fn born(metadata: &Metadata) -> u128 {
    let born = metadata.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    born.map_or(0, |since| since.as_nanos())
}

/// The last sequence that the mark of the journal at `path` says was announced; 0 without a mark.
pub(super) fn announced(path: &Path) -> io::Result<u64> {
    Ok(read(&beside(path, ".mark"))?.map_or(0, |(content, _)| content.seq))
}

/// Removes the mark of a journal that is not there.
pub(super) fn forget(path: &Path) -> io::Result<()> {
    match fs::remove_file(beside(path, ".mark")) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The mark at `path`; `None` if there is none, or one that says nothing.
fn read(path: &Path) -> io::Result<Option<(Content, Metadata)>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let metadata = file.metadata()?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(Content::parse(&String::from_utf8_lossy(&bytes)).map(|content| (content, metadata)))
}

/// Makes the mark at `path` say that it was written `age` seconds earlier than it was.
#[cfg(test)]
pub(super) fn age(path: &Path, age: u64) {
    let (content, _) = read(path).expect("read").expect("a mark");
    let older = Content { written: content.written - age * 1_000_000, ..content };
    let file = OpenOptions::new().write(true).open(path).expect("opened");
    file.write_all_at(older.to_text().as_bytes(), 0).expect("written");
}

/// What making a mark anew leaves if it ends after `steps` of its steps.
#[cfg(test)]
pub(super) fn cut_short(path: &Path, connection: &Connection, steps: usize) {
    let before = head(connection).expect("read");
    let (path, token) = (beside(path, ".mark"), "0123".to_owned());
    if steps > 0 {
        expect_mark(connection, &before.epoch.expect("it has one"), &token).expect("written");
    }
    if steps > 1 {
        fs::write(beside(&path, ".new"), "half a mark").expect("written");
    }
    if steps > 2 {
        write(&path, before.seq, &token).expect("written");
    }
}
