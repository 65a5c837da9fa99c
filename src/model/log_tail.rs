//! The newest text of a VM's benchmark logs, for people who look over its shoulder. No promise hangs on it: events come
//! from the facts of the lines, and this is forgotten when the process ends.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Bytes kept of one log.
const MAX_TAIL: usize = 16 * 1024;
/// Logs kept of one VM: those that grew last.
const MAX_TAILS: usize = 4;

/// Whole lines that one poll read of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogText {
    /// The generation that they stand in.
    pub generation: u64,
    /// The offset of the first byte that is kept of them.
    pub start: u64,
    /// At most 16 KiB: their end.
    pub text: String,
}

/// The end of one log, as far as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTail {
    /// The path as configured.
    pub source: Arc<str>,
    /// Which file under that path.
    pub generation: u64,
    /// The offset of the first byte of `text`.
    pub start: u64,
    /// The offset behind its last byte.
    pub end: u64,
    /// As long as the bytes that it was; hostile, whoever shows it must take it for text alone.
    pub text: String,
}

/// The ends of one VM's logs. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogTails(Arc<Vec<Arc<LogTail>>>);

impl LogTails {
    /// Whether nothing of any log was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl LogText {
    /// The end of `bytes`, which begin at `offset`: from the beginning of a line on where one stands there. Bytes that are no
    /// UTF-8 stand as `?`, one for each, so that lengths are the file's.
    pub fn of(generation: u64, offset: u64, bytes: &[u8]) -> Self {
        let cut = bytes.len().saturating_sub(MAX_TAIL);
        let line = bytes[cut..].iter().position(|b| *b == b'\n').filter(|_| cut > 0 && bytes[cut - 1] != b'\n');
        let from = cut + line.map_or(0, |at| at + 1);
        let kept = &bytes[if from < bytes.len() { from } else { cut }..];
        let mut text = String::with_capacity(kept.len());
        for chunk in kept.utf8_chunks() {
            text.push_str(chunk.valid());
            text.extend(std::iter::repeat_n('?', chunk.invalid().len()));
        }
        Self { generation, start: offset + (bytes.len() - kept.len()) as u64, text }
    }

    fn end(&self) -> u64 {
        self.start + self.text.len() as u64
    }
}

impl LogTails {
    /// Each, in the order in which they last grew.
    pub fn iter(&self) -> impl Iterator<Item = &LogTail> {
        self.0.iter().map(|tail| &**tail)
    }

    /// Takes what was read of the log `source`. What is known already, as when a poll is taken back, changes nothing.
    pub fn take(&mut self, source: &Arc<str>, read: &LogText) {
        let known = self.0.iter().position(|tail| tail.source == *source);
        let before = known.map(|at| &self.0[at]).filter(|tail| tail.generation == read.generation);
        if before.is_some_and(|tail| read.end() <= tail.end) {
            return;
        }
        let joins = before.filter(|tail| (tail.start..=tail.end).contains(&read.start));
        let tail = match joins {
            Some(tail) => {
                let overlap = (tail.end - read.start) as usize;
                let new = read.text.get(overlap..).unwrap_or(&read.text);
                let text = [tail.text.as_str(), new].concat();
                let kept = LogText::of(read.generation, read.end() - text.len() as u64, text.as_bytes());
                self.tail(source, kept)
            }
            None => self.tail(source, read.clone()),
        };
        let tails = Arc::make_mut(&mut self.0);
        if let Some(at) = known {
            tails.remove(at);
        }
        if tails.len() == MAX_TAILS {
            tails.remove(0);
        }
        tails.push(Arc::new(tail));
    }

    fn tail(&self, source: &Arc<str>, read: LogText) -> LogTail {
        let end = read.end();
        LogTail { source: Arc::clone(source), generation: read.generation, start: read.start, end, text: read.text }
    }
}

impl LogTail {
    /// What follows the offset `after`, with its own; the whole where that is not known.
    pub fn after(&self, after: u64) -> (u64, &str) {
        let skipped = after.checked_sub(self.start).and_then(|skipped| usize::try_from(skipped).ok());
        skipped.and_then(|skipped| Some((after, self.text.get(skipped..)?))).unwrap_or((self.start, &self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str) -> Arc<str> {
        name.into()
    }

    #[test]
    fn only_the_end_is_kept_from_the_beginning_of_a_line_on() {
        let long = "a line of a log\n".repeat(2000);
        let read = LogText::of(1, 100, long.as_bytes());
        assert!(read.text.len() <= MAX_TAIL && read.text.len() > MAX_TAIL - 32, "{}", read.text.len());
        assert!(read.text.starts_with("a line"));
        assert_eq!(read.end(), 100 + long.len() as u64);
        let endless = "x".repeat(MAX_TAIL * 2);
        assert_eq!(LogText::of(1, 0, endless.as_bytes()).text.len(), MAX_TAIL);
        assert_eq!(LogText::of(1, 7, b"").text, "");
    }

    #[test]
    fn what_is_no_utf8_keeps_its_length() {
        let read = LogText::of(1, 0, b"a\xff\xfeb\xe2\x82 \xe2\x82\xac\n");
        assert_eq!(read.text, "a??b?? \u{20ac}\n");
        assert_eq!(read.text.len(), 11);
    }

    #[test]
    fn a_log_goes_on_where_it_was_and_begins_anew_with_another_file() {
        let mut tails = LogTails::default();
        let log = source("/log");
        let shown = |tails: &LogTails| tails.iter().map(|t| (t.start, t.end, t.text.clone())).collect::<Vec<_>>();
        tails.take(&log, &LogText::of(1, 0, b"one\n"));
        tails.take(&log, &LogText::of(1, 4, b"two\n"));
        assert_eq!(shown(&tails), [(0, 8, "one\ntwo\n".to_owned())]);
        // A commit failed, and the poller reads the same again, and more.
        tails.take(&log, &LogText::of(1, 4, b"two\n"));
        tails.take(&log, &LogText::of(1, 4, b"two\nthree\n"));
        assert_eq!(shown(&tails), [(0, 14, "one\ntwo\nthree\n".to_owned())]);
        // Bytes that nobody read lie between.
        tails.take(&log, &LogText::of(1, 50, b"later\n"));
        assert_eq!(shown(&tails), [(50, 56, "later\n".to_owned())]);
        tails.take(&log, &LogText::of(2, 0, b"new file\n"));
        assert_eq!(shown(&tails), [(0, 9, "new file\n".to_owned())]);
    }

    #[test]
    fn however_much_comes_the_bounds_hold() {
        let mut tails = LogTails::default();
        for n in 0..3000_u64 {
            let log = source(&format!("/log-{}", n % 7));
            let before = tails.iter().find(|tail| tail.source == log).map_or(0, |tail| tail.end);
            tails.take(&log, &LogText::of(1, before, "a line that says something\n".repeat(40).as_bytes()));
            assert!(tails.iter().count() <= MAX_TAILS);
            assert!(
                tails.iter().all(|tail| tail.text.len() <= MAX_TAIL && tail.end - tail.start == tail.text.len() as u64)
            );
        }
        assert_eq!(tails.iter().last().expect("one").source, source(&format!("/log-{}", 2999 % 7)));
    }

    #[test]
    fn who_has_a_part_is_given_the_rest() {
        let tail =
            LogTail { source: source("/log"), generation: 1, start: 10, end: 19, text: "a\u{20ac}b\ncde\n".into() };
        for (after, wanted) in [
            (10, (10, &*tail.text)),
            (15, (15, "\ncde\n")),
            (20, (20, "")),
            // Within a character, before what is kept, beyond its end: all there is.
            (12, (10, &*tail.text)),
            (3, (10, &*tail.text)),
            (900, (10, &*tail.text)),
        ] {
            assert_eq!(tail.after(after), wanted, "{after}");
        }
    }
}
