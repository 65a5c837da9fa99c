//! The file: how it is made, told from others, brought up to date, and checked.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, ffi};

use super::Place;
use crate::event::{Epoch, Position};

/// What a file is, as its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::journal) enum FileKind {
    /// The journal itself.
    Journal,
    /// What one replica has of the journal in a stream: it can be made anew at any time.
    Mirror,
}

impl FileKind {
    /// `gwJ1` and `gwM1`.
    fn application_id(self) -> i32 {
        match self {
            Self::Journal => 0x6777_4a31,
            Self::Mirror => 0x6777_4d31,
        }
    }

    /// Why a file of this kind is not what is wanted.
    fn is_another(self) -> &'static str {
        match self {
            Self::Journal => "it is a journal of kind \"embedded\", and would be lost as a mirror",
            Self::Mirror => "it is the mirror of a journal of kind \"jetstream\"",
        }
    }
}

/// What every SQLite file begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// What brings a file from version n to n + 1, each in one transaction; the first makes it.
const MIGRATIONS: &[&str] = &[include_str!("v1.sql")];

/// How long the file is checked at each start. A larger one is checked as far as that goes.
const CHECK_WITHIN: Duration = Duration::from_secs(3);

/// How long another connection's lock is waited for. Readers never lock out the writer; a checkpoint may.
const BUSY: Duration = Duration::from_secs(5);

/// How large the write-ahead log stays on disk once its pages are in the file, bytes.
const WAL_KEPT: i64 = 64 * 1024 * 1024;

/// Why a journal's file cannot be used. It is as it was then.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the journal {0} is in use by another process ({1}): stop it first, or set another journal.path")]
    InUse(PathBuf, String),
    /// Made by a later version.
    #[error(
        "the journal {path} was written by a newer gatewatch (version {found} of the file; this one reads up to {known}): run the newer one, or move the file away to begin a new journal"
    )]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version known here.
        known: usize,
    },
    /// Some other file.
    #[error("{0} is not a gatewatch journal ({1}): set another journal.path")]
    NotAJournal(PathBuf, &'static str),
    /// Damaged.
    #[error(
        "the journal {0} is damaged ({1}): restore it from a backup, or move it away to begin a new journal; it was not changed"
    )]
    Corrupt(PathBuf, String),
    /// There is none to read.
    #[error("there is no journal at {0}")]
    Missing(PathBuf),
    /// The file system refused.
    #[error("the journal {0} cannot be used: {1}")]
    Io(PathBuf, String),
}

impl OpenError {
    pub(in crate::journal) fn sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let extended = error.sqlite_error().map_or(0, |error| error.extended_code);
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt(path.to_owned(), error.to_string())
            }
            _ if *error == rusqlite::Error::QueryReturnedNoRows => {
                Self::Corrupt(path.to_owned(), "a row that every journal has is missing".to_owned())
            }
            Some(ErrorCode::CannotOpen) => {
                Self::Io(path.to_owned(), format!("{error}; whoever reads it must be able to write its folder, too"))
            }
            _ if SHARED_MEMORY.contains(&extended) => {
                Self::Io(path.to_owned(), format!("{error}; its -shm needs 32 KiB: is the disk full?"))
            }
            _ => Self::Io(path.to_owned(), error.to_string()),
        }
    }
}

/// What SQLite says where it cannot make or grow the file of shared memory beside a journal.
const SHARED_MEMORY: [i32; 3] = [ffi::SQLITE_IOERR_SHMOPEN, ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_IOERR_SHMMAP];

/// Makes `path`, empty and for its owner only, if there is none; and its folder.
pub(in crate::journal) fn create_private(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Opens the file to write, makes it or brings it up to date. The caller holds its lock.
///
/// # Errors
/// Before anything is changed, if the file is not one that this program may write.
pub(in crate::journal) fn open(path: &Path, kind: FileKind) -> Result<Connection, OpenError> {
    if let Some((mut known, found)) = identify(path)? {
        if found != kind {
            return Err(OpenError::NotAJournal(path.to_owned(), found.is_another()));
        }
        check_size(&known, path)?;
        quick_check(&mut known, path)?;
    }
    let at = |error: rusqlite::Error| OpenError::sqlite(path, &error);
    // SQLite gives its side files the mode of the main one.
    create_private(path).map_err(|error| OpenError::Io(path.to_owned(), error.to_string()))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(at)?;
    configure(&mut connection).map_err(at)?;
    migrate(&mut connection, kind, MIGRATIONS).map_err(at)?;
    Ok(connection)
}

/// Opens a journal that this process has not open to read it, whoever else has it open.
///
/// # Errors
/// If there is none, or one that this program does not know.
pub(in crate::journal) fn open_to_look(path: &Path) -> Result<Connection, OpenError> {
    identify(path)?.map(|(connection, _)| connection).ok_or_else(|| OpenError::Missing(path.to_owned()))
}

/// Opens a journal that this process has open once more, to read it.
///
/// # Errors
/// If it is not the one that it was.
pub(in crate::journal) fn open_to_read(path: &Path) -> Result<Connection, OpenError> {
    connect(path)?.map(|(connection, _)| connection).ok_or_else(|| OpenError::Missing(path.to_owned()))
}

fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

fn configure(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A commit is on the disk when it returns.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // The writer chooses when, so that a commit that somebody waits for does not pay for it.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", WAL_KEPT)
}

/// Whether the file is a journal that this program knows: a connection to read it. `None`: there is nothing in it, or no
/// file. Changes nothing.
///
/// Not while SQLite has the file open in this process: the kernel drops all of a process's locks on a file when any of
/// its handles is closed. Another program that closed the journal then would take itself for the last one and remove the
/// write-ahead log that commits go into.
fn identify(path: &Path) -> Result<Option<(Connection, FileKind)>, OpenError> {
    let io = |error: io::Error| OpenError::Io(path.to_owned(), error.to_string());
    let mut magic = [0; MAGIC.len()];
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
        Ok(_) if !fs::metadata(path).map_err(io)?.is_file() => {
            return Err(OpenError::NotAJournal(path.to_owned(), "it is not a file"));
        }
        Ok(mut file) => {
            // An empty file is one that was never written to: SQLite makes it so.
            if file.metadata().map_err(io)?.len() == 0 {
                return Ok(None);
            }
            if file.read_exact(&mut magic).is_err() || magic != *MAGIC {
                return Err(OpenError::NotAJournal(path.to_owned(), "it is no SQLite file"));
            }
        }
    }
    connect(path)
}

/// What [`identify`] does once the file is known to be one of SQLite's. Touches the file through SQLite alone.
fn connect(path: &Path) -> Result<Option<(Connection, FileKind)>, OpenError> {
    let at = |error: rusqlite::Error| OpenError::sqlite(path, &error);
    let connection = read_only(path).map_err(at)?;
    connection.busy_timeout(BUSY).map_err(at)?;
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let (application, version) = (number("application_id").map_err(at)?, number("user_version").map_err(at)?);
    if (application, version) == (0, 0) && is_empty(&connection).map_err(at)? {
        return Ok(None);
    }
    let kinds = [FileKind::Journal, FileKind::Mirror];
    let Some(kind) = kinds.into_iter().find(|kind| application == i64::from(kind.application_id())) else {
        return Err(OpenError::NotAJournal(path.to_owned(), "it is a database of another program"));
    };
    if version > MIGRATIONS.len() as i64 {
        return Err(OpenError::Newer { path: path.to_owned(), found: version, known: MIGRATIONS.len() });
    }
    Ok(Some((connection, kind)))
}

/// A file in which SQLite has begun, and nothing was made yet.
fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}

/// Whether the file ends where a page does. While a write-ahead log is there a part of a page is being written.
fn check_size(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let at = |error: rusqlite::Error| OpenError::sqlite(path, &error);
    let page: u64 = connection.pragma_query_value(None, "page_size", |row| row.get::<_, u32>(0)).map_err(at)?.into();
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let logged = fs::metadata(log).is_ok_and(|log| log.len() > 0);
    let size = fs::metadata(path).map_err(|error| OpenError::Io(path.to_owned(), error.to_string()))?.len();
    if logged || size % page == 0 {
        return Ok(());
    }
    Err(OpenError::Corrupt(path.to_owned(), format!("its {size} bytes are not whole pages of {page}")))
}

fn quick_check(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let at = |error: rusqlite::Error| OpenError::sqlite(path, &error);
    let end = Instant::now() + CHECK_WITHIN;
    connection.progress_handler(10_000, Some(move || Instant::now() > end)).map_err(at)?;
    let found = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    match found {
        Ok(found) if found == "ok" => Ok(()),
        Ok(found) => Err(OpenError::Corrupt(path.to_owned(), found.replace('\n', " "))),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            tracing::info!(path = %path.display(), "the journal is too large to be checked whole at each start; what was checked is sound");
            Ok(())
        }
        Err(error) => Err(at(error)),
    }
}

/// Runs what `migrations` has beyond the file's version.
fn migrate(connection: &mut Connection, kind: FileKind, migrations: &[&str]) -> rusqlite::Result<()> {
    loop {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let Some(next) = usize::try_from(version).ok().and_then(|version| migrations.get(version)) else {
            return Ok(());
        };
        transaction.execute_batch(next)?;
        transaction.pragma_update(None, "application_id", kind.application_id())?;
        transaction.pragma_update(None, "user_version", version + 1)?;
        transaction.commit()?;
        tracing::info!(version = version + 1, "the journal's file was brought up to date");
    }
}

/// Where the journal stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::journal) struct Head {
    /// What stands before every id; none in a file just made.
    pub(in crate::journal) epoch: Option<Epoch>,
    /// What the mark beside the file must hold: one of these.
    pub(in crate::journal) tokens: [String; 2],
    /// The last sequence given.
    pub(in crate::journal) seq: u64,
    /// Everything after it is kept.
    pub(in crate::journal) floor: Position,
    /// The newest event.
    pub(in crate::journal) newest: Position,
}

/// Reads where the journal stands.
pub(in crate::journal) fn head(connection: &Connection) -> rusqlite::Result<Head> {
    let sql =
        "SELECT epoch, token, next_token, seq, floor, max(floor, ifnull((SELECT max(place) FROM events), 0)) FROM head";
    connection.query_row(sql, [], |row| {
        Ok(Head {
            epoch: Epoch::new(&row.get::<_, String>(0)?).ok(),
            tokens: [row.get(1)?, row.get(2)?],
            seq: row.get::<_, i64>(3)?.unsigned_abs(),
            floor: row.get::<_, Place>(4)?.into(),
            newest: row.get::<_, Place>(5)?.into(),
        })
    })
}

/// The mark is about to be made anew with `token`: it, and the one before, are good from now on. `epoch` stands before
/// ids from now on.
pub(in crate::journal) fn expect_mark(connection: &Connection, epoch: &Epoch, token: &str) -> rusqlite::Result<()> {
    connection.execute("UPDATE head SET epoch = ?1, next_token = ?2", (epoch.as_str(), token)).map(drop)
}

/// The mark has `token`: no other is good any more.
pub(in crate::journal) fn mark_made(connection: &Connection, token: &str) -> rusqlite::Result<()> {
    connection.execute("UPDATE head SET token = ?1, next_token = ?1", [token]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_run_once_each_in_order_and_a_failed_one_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        let version = |connection: &Connection| {
            connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap()
        };
        migrate(&mut connection, FileKind::Journal, &["CREATE TABLE a (x)"]).unwrap();
        assert_eq!(version(&connection), 1);
        let two = ["CREATE TABLE a (x)", "INSERT INTO a VALUES (7)"];
        migrate(&mut connection, FileKind::Journal, &two).unwrap();
        migrate(&mut connection, FileKind::Journal, &two).unwrap();
        assert_eq!(version(&connection), 2);
        assert_eq!(connection.query_row("SELECT count(*) FROM a", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
        let broken = [two[0], two[1], "INSERT INTO a VALUES (8); INSERT INTO nowhere VALUES (1)"];
        assert!(migrate(&mut connection, FileKind::Journal, &broken).is_err());
        assert_eq!(version(&connection), 2);
        assert_eq!(connection.query_row("SELECT count(*) FROM a", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    }
}
