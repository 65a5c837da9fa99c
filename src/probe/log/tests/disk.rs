//! A folder in memory that answers as the probe script does, and a follower that polls it.

use std::sync::Arc;

use crate::model::{LogCursor, LogFact, LogPart, LogProblem, LogRead};
use crate::probe::log::reader::read_log_capped;
use crate::probe::log::{BEFORE_LEN, CHUNK, HEAD_LEN, MAX_LINE, Profile, RawFile, RawLog};

/// One file.
#[derive(Clone, Default)]
pub(super) struct File {
    pub(super) inode: u64,
    pub(super) bytes: Vec<u8>,
}

/// The log's path and one neighbour that it may have been renamed to.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) current: Option<File>,
    pub(super) renamed: Option<File>,
}

impl Disk {
    pub(super) fn with(inode: u64, bytes: &[u8]) -> Self {
        Self { current: Some(File { inode, bytes: bytes.to_vec() }), renamed: None }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.current.get_or_insert_default().bytes.extend_from_slice(bytes);
    }

    /// `mv log log.1`, and a new file.
    pub(super) fn rotate(&mut self, inode: u64, bytes: &[u8]) {
        self.renamed = self.current.replace(File { inode, bytes: bytes.to_vec() });
    }

    pub(super) fn ask(&self, cursor: &LogCursor, chunk: usize) -> RawLog {
        let read = |file: &File| {
            let at = (cursor.offset as usize).min(file.bytes.len());
            RawFile {
                dev: 1,
                inode: file.inode,
                size: file.bytes.len() as u64,
                head: file.bytes[..file.bytes.len().min(HEAD_LEN)].to_vec(),
                before: file.bytes[(cursor.offset as usize).saturating_sub(BEFORE_LEN).min(at)..at].to_vec(),
                data_offset: cursor.offset,
                data: file.bytes[at..(at + chunk).min(file.bytes.len())].to_vec(),
            }
        };
        let ours = |file: &&File| cursor.dev == 1 && file.inode == cursor.inode;
        let stays = self.current.as_ref().filter(ours).is_some();
        RawLog {
            current: self.current.as_ref().map(read),
            renamed: self.renamed.as_ref().filter(ours).filter(|_| !stays).map(read),
            unreadable: None,
        }
    }
}

/// Polls a log as the fleet does.
pub(super) struct Follower {
    pub(super) profile: Profile,
    pub(super) cursor: LogCursor,
    pub(super) known_size: u64,
    pub(super) chunk: usize,
    pub(super) cap: usize,
    /// Facts with the generation they are of.
    pub(super) facts: Vec<(u64, LogFact)>,
    pub(super) problems: Vec<LogProblem>,
    pub(super) rest: Option<LogPart>,
}

impl Follower {
    pub(super) fn new(profile: Profile) -> Self {
        Self {
            profile,
            cursor: LogCursor::start("/log"),
            known_size: 0,
            chunk: CHUNK,
            cap: MAX_LINE,
            facts: Vec::new(),
            problems: Vec::new(),
            rest: None,
        }
    }

    /// One raw reading.
    pub(super) fn take(&mut self, raw: &RawLog) -> LogRead {
        let source = Arc::from("/log");
        let read = read_log_capped(&source, &self.profile, &self.cursor, self.known_size, raw, self.cap);
        for part in &read.parts {
            self.facts.extend(part.facts.iter().map(|fact| (part.cursor.generation, fact.clone())));
            self.cursor = part.cursor.clone();
        }
        if read.exists {
            self.known_size = read.size;
        }
        self.problems.extend(read.problems.iter().cloned());
        self.rest.clone_from(&read.rest);
        read
    }

    /// Polls until nothing is unread.
    pub(super) fn poll(&mut self, disk: &Disk) -> LogRead {
        for _ in 0..100_000 {
            let before = self.cursor.clone();
            let read = self.take(&disk.ask(&self.cursor, self.chunk));
            if read.unread == 0 {
                return read;
            }
            assert_ne!(self.cursor, before, "asked to read on without progress");
        }
        panic!("never came to an end");
    }
}
