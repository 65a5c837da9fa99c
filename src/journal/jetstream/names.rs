//! What stream, buckets and subjects of a fleet are called. Pure.

use crate::model::{VmId, VmName};

/// The names of one fleet.
#[derive(Clone, Debug)]
pub struct Names {
    fleet: String,
}

/// What an entry of the stream is about, as its subject says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    /// What stands before ids from here on.
    Epoch,
    /// Whose name this is.
    Vm(VmName),
    /// A commit.
    Commit(VmId),
}

impl Names {
    /// Those of `fleet`, which the configuration has checked: letters, digits, `_` and `-`.
    pub fn new(fleet: &str) -> Self {
        Self { fleet: fleet.to_owned() }
    }

    /// The stream.
    pub fn stream(&self) -> String {
        format!("gatewatch-{}", self.fleet)
    }

    /// The bucket that holds `what`.
    pub fn bucket(&self, what: &str) -> String {
        format!("gatewatch-{}-{what}", self.fleet)
    }

    /// A subject of core NATS, on which nothing is kept.
    pub fn live(&self, what: &str) -> String {
        format!("gatewatch.{}.live.{what}", self.fleet)
    }

    /// Every subject of the stream.
    pub(super) fn entries(&self) -> String {
        format!("gatewatch.{}.journal.>", self.fleet)
    }

    /// The subject of entries about `topic`.
    pub(super) fn subject(&self, topic: &Topic) -> String {
        let fleet = &self.fleet;
        match topic {
            Topic::Epoch => format!("gatewatch.{fleet}.journal.epoch"),
            Topic::Vm(vm) => format!("gatewatch.{fleet}.journal.vm.{vm}"),
            Topic::Commit(vm_id) => format!("gatewatch.{fleet}.journal.commit.{}", vm_id.as_str()),
        }
    }

    /// What an entry with this subject is about; `None`: it is none of ours.
    pub(super) fn topic(&self, subject: &str) -> Option<Topic> {
        let rest = subject.strip_prefix("gatewatch.")?.strip_prefix(&self.fleet)?.strip_prefix(".journal.")?;
        match rest.split_once('.') {
            None => (rest == "epoch").then_some(Topic::Epoch),
            Some(("vm", vm)) => VmName::new(vm).ok().map(Topic::Vm),
            Some(("commit", vm_id)) => Some(Topic::Commit(VmId::from_journal(vm_id))),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_says_what_it_is_about_and_others_say_nothing() {
        let names = Names::new("prod-1");
        let vm = VmName::new("vm-7").expect("a name");
        for topic in [Topic::Epoch, Topic::Vm(vm), Topic::Commit(VmId::from_journal("0123456789abcdef"))] {
            let subject = names.subject(&topic);
            assert!(subject.starts_with(names.entries().trim_end_matches('>')), "{subject}");
            assert_eq!(names.topic(&subject), Some(topic));
        }
        for other in [
            "",
            "gatewatch.prod-1.journal",
            "gatewatch.prod-1.journal.epoch.x",
            "gatewatch.prod-1.journal.vm.A_B",
            "gatewatch.prod-2.journal.epoch",
            "gatewatch.prod-1.live.epoch",
        ] {
            assert_eq!(names.topic(other), None, "{other}");
        }
    }
}
