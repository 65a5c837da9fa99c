//! Event ids: `<journal>-<seq>.<i>`.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest id that is looked at, in bytes.
pub const MAX_ID_BYTES: usize = 64;

/// The journal's epoch: 1 to 24 characters of `[0-9A-Za-z]`. Ids of different epochs are never compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(Arc<str>);

impl Epoch {
    /// Checks and wraps.
    pub fn new(text: &str) -> Result<Self, InvalidId> {
        let fits = (1..=24).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
        fits.then(|| Self(text.into())).ok_or(InvalidId)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A place in the journal: the commit's sequence and the event's index within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Sequence of the commit, from 1; 0 is before everything.
    pub seq: u64,
    /// Index within the commit, from 0.
    pub i: u32,
}

impl Position {
    /// Before everything.
    pub const START: Self = Self { seq: 0, i: 0 };
}

/// An event's id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventId {
    /// Whose.
    pub epoch: Epoch,
    /// Where.
    pub position: Position,
}

/// A text that is no event id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an event id")]
pub struct InvalidId;

impl EventId {
    /// Reads `<journal>-<seq>.<i>`; at most 64 bytes, decimal numbers without signs or leading zeros.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if text.len() > MAX_ID_BYTES {
            return Err(InvalidId);
        }
        let (epoch, rest) = text.split_once('-').ok_or(InvalidId)?;
        let (seq, i) = rest.split_once('.').ok_or(InvalidId)?;
        let position = Position { seq: number(seq)?, i: u32::try_from(number(i)?).map_err(|_| InvalidId)? };
        Ok(Self { epoch: Epoch::new(epoch)?, position })
    }
}

fn number(text: &str) -> Result<u64, InvalidId> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().map_err(|_| InvalidId) } else { Err(InvalidId) }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}.{}", self.epoch.0, self.position.seq, self.position.i)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{EventId, MAX_ID_BYTES};

    proptest! {
        #[test]
        fn g50_any_text_is_an_id_of_few_plain_characters_or_none(
            text in prop_oneof![any::<String>(), "[0-9a-zA-Z]{0,30}-[0-9]{0,22}\\.[0-9]{0,12}.?"]
        ) {
            if let Ok(id) = EventId::parse(&text) {
                prop_assert!(text.len() <= MAX_ID_BYTES);
                prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-'));
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn g50_an_id_reads_back_as_written_and_nothing_else_reads() {
        for good in ["a-1.0", "k3J9-18446744073709551615.4294967295", "0-0.0"] {
            assert_eq!(EventId::parse(good).map(|id| id.to_string()).as_deref(), Ok(good));
        }
        let long = format!("{}-1.0", "a".repeat(80));
        for bad in [
            "",
            "a",
            "a-1",
            "a-.",
            "-1.0",
            "a-1.0.0",
            "a-+1.0",
            "a-01.0",
            "a-1.00",
            "a b-1.0",
            "a-1.4294967296",
            "a-1.0\n",
            &long,
            "ä-1.0",
            "a--1.0",
        ] {
            assert!(EventId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
