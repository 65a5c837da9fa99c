//! Positions as the store's integer keys.

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::event::Position;

/// Bits of the index within a commit. A record of 256 KiB holds some 2,000 events at most.
const INDEX_BITS: u32 = 16;
/// The largest index.
const MAX_INDEX: u32 = (1 << INDEX_BITS) - 1;
/// The largest sequence: 1.4e14, a million commits a second for four years.
const MAX_SEQ: u64 = (i64::MAX as u64) >> INDEX_BITS;

/// A [`Position`] as one integer of the same order. What no store can give (a client may name any position) is as the
/// nearest that it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::journal) struct Place(i64);

impl From<Position> for Place {
    fn from(position: Position) -> Self {
        if position.seq > MAX_SEQ {
            return Self(i64::MAX);
        }
        Self((position.seq << INDEX_BITS) as i64 | i64::from(position.i.min(MAX_INDEX)))
    }
}

impl From<Place> for Position {
    fn from(Place(place): Place) -> Self {
        Self { seq: (place >> INDEX_BITS) as u64, i: (place as u32) & MAX_INDEX }
    }
}

impl ToSql for Place {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

impl FromSql for Place {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{MAX_INDEX, MAX_SEQ, Place};
    use crate::event::Position;

    proptest! {
        #[test]
        fn places_are_in_the_order_of_positions(a in (0..=MAX_SEQ, 0..=MAX_INDEX), b in (0..=MAX_SEQ, 0..=MAX_INDEX)) {
            let (a, b) = (Position { seq: a.0, i: a.1 }, Position { seq: b.0, i: b.1 });
            prop_assert_eq!(a.cmp(&b), Place::from(a).cmp(&Place::from(b)));
            prop_assert_eq!(Position::from(Place::from(a)), a);
        }

        #[test]
        fn any_position_has_a_place_that_is_not_before_it(seq in any::<u64>(), i in any::<u32>()) {
            let position = Position { seq, i };
            prop_assert!(Position::from(Place::from(position)) <= position || seq > MAX_SEQ);
            let least = Position { seq: seq.min(MAX_SEQ), i: 0 };
            prop_assert!(Place::from(position) >= Place::from(least));
        }
    }
}
