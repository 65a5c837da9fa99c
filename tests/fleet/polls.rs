//! How often the VMs were asked, by their own count. Pure.

use std::collections::{BTreeSet, HashMap};

use super::INTERVAL;

/// A longer stretch shows nothing that none of its parts does.
const LONGEST: usize = 60;
/// A busy machine may let one poll come late, up to the next one.
const LATE: usize = 1;

/// One poll of a VM.
#[derive(Clone, Debug, PartialEq)]
pub struct Poll {
    /// Epoch seconds.
    pub at: f64,
    /// Who asked; empty where the VM does not know.
    pub replica: String,
    /// Which was asked.
    pub vm: String,
}

/// A stretch of time, epoch seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    pub from: f64,
    pub to: f64,
}

/// Every poll so far, in order.
#[derive(Clone, Debug, Default)]
pub struct Polls(Vec<Poll>);

/// How a VM went from one replica to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Handover {
    /// The first poll of another one.
    pub first: f64,
    /// Seconds between the old one's last poll before it and that.
    pub pause: f64,
    /// Polls of the old one after it.
    pub late: usize,
}

impl Polls {
    /// Those of `text`: lines of a time, a replica and the pattern of the VM's benchmark, whose VM `names` knows.
    pub fn read(text: &str, names: &HashMap<String, String>) -> Self {
        let poll = |line: &str| {
            let (at, rest) = line.split_once(' ')?;
            let (replica, pattern) = rest.split_once(' ')?;
            Some(Poll { at: at.parse().ok()?, replica: replica.to_owned(), vm: names.get(pattern)?.clone() })
        };
        Self::new(text.lines().filter_map(poll).collect())
    }

    /// Those of `polls`.
    pub fn new(mut polls: Vec<Poll>) -> Self {
        polls.sort_by(|a, b| a.at.total_cmp(&b.at));
        Self(polls)
    }

    /// The times of those of `vm`.
    pub fn times(&self, vm: &str) -> Vec<f64> {
        self.of(vm).map(|poll| poll.at).collect()
    }

    fn of<'a>(&'a self, vm: &'a str) -> impl DoubleEndedIterator<Item = &'a Poll> {
        self.0.iter().filter(move |poll| poll.vm == vm)
    }

    /// Who asked `vm` last.
    pub fn poller<'a>(&'a self, vm: &'a str) -> Option<&'a str> {
        self.of(vm).next_back().map(|poll| poll.replica.as_str())
    }

    /// Who asked `vm` at all in `span`.
    pub fn pollers<'a>(&'a self, vm: &'a str, span: Span) -> BTreeSet<&'a str> {
        let within = self.of(vm).filter(|poll| (span.from..=span.to).contains(&poll.at));
        within.map(|poll| poll.replica.as_str()).collect()
    }

    /// How `vm` went from `old` to another one after `since`; `None`: it did not yet.
    pub fn handover(&self, vm: &str, old: &str, since: f64) -> Option<Handover> {
        let first = self.of(vm).find(|poll| poll.at > since && poll.replica != old)?.at;
        let of_old = || self.of(vm).filter(|poll| poll.replica == old);
        let last = of_old().rfind(|poll| poll.at < first)?.at;
        Some(Handover { first, pause: first - last, late: of_old().filter(|poll| poll.at > first).count() })
    }

    /// The first stretch since `since` in which `vm` was asked more often than once in each interval and once more for each
    /// of `takeovers` that touches it.
    pub fn too_often(&self, vm: &str, since: f64, takeovers: &[Span]) -> Option<String> {
        let times: Vec<f64> = self.times(vm).into_iter().filter(|at| *at >= since).collect();
        let ends = |i: usize| i + 1..times.len().min(i + LONGEST);
        let mut stretches = (0..times.len()).flat_map(|i| ends(i).map(move |j| (i, j)));
        let (i, j) = stretches.find(|(i, j)| j - i + 1 > most(times[*i], times[*j], takeovers))?;
        let seconds = times[j] - times[i];
        Some(format!("{vm}: {} polls in {seconds:.2} s from {:.2} on", j - i + 1, times[i]))
    }
}

/// How often a VM may be asked from `from` to `to`.
fn most(from: f64, to: f64, takeovers: &[Span]) -> usize {
    let intervals = ((to - from) / INTERVAL).floor() as usize;
    intervals + 1 + LATE + takeovers.iter().filter(|span| span.from <= to && span.to >= from).count()
}

/// The longest part of `span` without any of `times`, seconds.
pub fn longest_pause(times: &[f64], span: Span) -> f64 {
    let within = times.iter().copied().filter(|at| (span.from..=span.to).contains(at));
    let times: Vec<f64> = [span.from].into_iter().chain(within).chain([span.to]).collect();
    times.windows(2).map(|two| two[1] - two[0]).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn polls(of: &[(f64, &str)]) -> Polls {
        let poll = |(at, replica): &(f64, &str)| Poll { at: *at, replica: (*replica).to_owned(), vm: "a".to_owned() };
        Polls::new(of.iter().map(poll).collect())
    }

    #[test]
    fn lines_that_a_vm_wrote_are_read_and_others_passed_over() {
        let names = HashMap::from([("pattern-1".to_owned(), "a".to_owned())]);
        let text = "2.5 r1 pattern-1\n1.5 r0 pattern-1\n3.0 r0 another\nrubbish\n";
        assert_eq!(Polls::read(text, &names).0, polls(&[(1.5, "r0"), (2.5, "r1")]).0);
        assert_eq!(Polls::read(text, &names).poller("a"), Some("r1"));
    }

    #[test]
    fn two_that_poll_at_once_are_found_and_a_takeover_is_not() {
        let steady: Vec<(f64, &str)> = (0..90).map(|n| (f64::from(n) * 1.01, "r0")).collect();
        assert_eq!(polls(&steady).too_often("a", 0.0, &[]), None);
        let both: Vec<(f64, &str)> = steady.iter().flat_map(|(at, _)| [(*at, "r0"), (at + 0.4, "r1")]).collect();
        assert!(polls(&both[..8]).too_often("a", 0.0, &[]).is_some(), "within some seconds");
        assert_eq!(polls(&both).too_often("a", 1000.0, &[]), None, "later");
        let mut taken = steady.clone();
        taken.extend([(30.1, "r1"), (30.2, "r1")]);
        assert!(polls(&taken).too_often("a", 0.0, &[]).is_some());
        assert_eq!(polls(&taken).too_often("a", 0.0, &[Span { from: 29.0, to: 31.0 }]), None);
    }

    #[test]
    fn a_handover_says_how_long_nobody_asked_and_who_asked_too_late() {
        let polls = polls(&[(1.0, "r0"), (2.0, "r0"), (17.5, "r1"), (18.0, "r0"), (18.5, "r1")]);
        assert_eq!(polls.handover("a", "r0", 2.1), Some(Handover { first: 17.5, pause: 15.5, late: 1 }));
        assert_eq!(polls.handover("a", "r1", 18.1), None);
        assert_eq!(polls.pollers("a", Span { from: 17.0, to: 18.2 }), BTreeSet::from(["r0", "r1"]));
    }

    #[test]
    fn the_longest_pause_also_counts_from_the_beginning_and_to_the_end() {
        let span = Span { from: 10.0, to: 20.0 };
        assert_eq!(longest_pause(&[1.0, 12.0, 13.0, 15.0], span), 5.0);
        assert_eq!(longest_pause(&[16.0, 18.0], span), 6.0);
        assert_eq!(longest_pause(&[], span), 10.0);
    }
}
