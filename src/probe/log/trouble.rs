//! What is wrong with a log, counted over one reading and told once per kind.

use super::scan::MAX_LINE;
use crate::model::{ErrorCode, LogProblem};

/// Counts of what is wrong.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// Lines that claim what cannot be.
    pub(super) absurd: u64,
    /// Lines longer than the cap.
    pub(super) overlong: u64,
    /// Lines with NUL bytes.
    pub(super) nul: u64,
    /// Bytes that are known to have gone before they were read.
    pub(super) gap: u64,
    /// Why the log could not be read.
    pub(super) unreadable: Option<String>,
}

impl Trouble {
    /// As problems, each code at most once.
    pub(super) fn problems(self) -> Vec<LogProblem> {
        let lines = |n: u64, what: &str| (n > 0).then(|| format!("{n} line{} {what}", if n == 1 { "" } else { "s" }));
        let format: Vec<String> = [
            lines(self.absurd, "with numbers that cannot be, ignored"),
            lines(self.overlong, &format!("longer than {} KiB, passed over", MAX_LINE >> 10)),
            lines(self.nul, "with NUL bytes"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let gap = (self.gap > 0).then(|| format!("{} bytes of the log went before they could be read", self.gap));
        let format = (!format.is_empty()).then(|| format.join("; "));
        [(ErrorCode::LogUnreadable, self.unreadable), (ErrorCode::LogGap, gap), (ErrorCode::LogFormat, format)]
            .into_iter()
            .filter_map(|(code, message)| message.map(|message| LogProblem { code, message }))
            .collect()
    }
}
