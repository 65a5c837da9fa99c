//! Who takes which VM, and when: pure.
//!
//! Each replica decides by itself; the bucket decides who was first. A VM that is held stays where it is, whoever joins.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::model::VmId;

/// How long an entry of the bucket lives that nobody renews (SEMANTICS, section 8).
pub(super) const MAX_AGE: Duration = Duration::from_secs(15);

/// Between two renewals.
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(5);

/// How long after the sending of the last renewal that was acknowledged the holder stops: well before anybody else can
/// begin.
pub(super) const HOLD_FOR: Duration = Duration::from_secs(10);

/// Between two tries at the same entry.
pub(super) const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// How much longer each further replica in a VM's own order waits, and up to which place.
const STEP: Duration = Duration::from_millis(100);
const LAST_STEP: u32 = 3;

/// How much longer one waits that has its share already: whoever has room comes first.
const OVER: Duration = Duration::from_millis(350);

/// How long a replica that starts, or sees another one start, takes nothing: replicas of one fleet start together. Once it
/// has waited for [`SETTLED_AT_LAST`] it waits no more.
pub(super) const SETTLED_AFTER: Duration = Duration::from_secs(1);
pub(super) const SETTLED_AT_LAST: Duration = Duration::from_secs(3);

/// How many of `vms` each of `replicas` may have.
pub(super) fn share(vms: usize, replicas: usize) -> usize {
    vms.div_ceil(replicas.max(1))
}

/// The place of `me` among `replicas` in the order in which they may take `vm_id`: another one for each VM.
pub(super) fn place<'a>(vm_id: &VmId, me: &str, replicas: impl Iterator<Item = &'a str>) -> usize {
    let mine = weight(vm_id, me);
    replicas.filter(|other| *other != me && weight(vm_id, other) > mine).count()
}

fn weight(vm_id: &VmId, replica: &str) -> [u8; 32] {
    Sha256::new().chain_update(vm_id.as_str()).chain_update([0]).chain_update(replica).finalize().into()
}

/// How long a VM must have been free before one takes it that is at `place`, and has its share already if it is `over`.
/// Always well below a second.
pub(super) fn patience(place: usize, over: bool) -> Duration {
    let steps = u32::try_from(place).unwrap_or(LAST_STEP).min(LAST_STEP);
    STEP * steps + if over { OVER } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vm_has_an_order_of_its_own_in_which_each_replica_has_one_place() {
        let replicas = ["a", "b", "c"];
        let mut first = [0; 3];
        for n in 0..300 {
            let vm = VmId::from_journal(&format!("{n:016x}"));
            let places: Vec<usize> = replicas.iter().map(|me| place(&vm, me, replicas.into_iter())).collect();
            let mut sorted = places.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2]);
            first[places.iter().position(|place| *place == 0).expect("a first")] += 1;
        }
        assert!(first.iter().all(|count| *count > 60), "{first:?}");
    }

    #[test]
    fn whoever_is_last_and_has_its_share_takes_a_vm_within_a_second() {
        assert_eq!(patience(0, false), Duration::ZERO);
        assert!(patience(0, true) > patience(usize::MAX, false), "who has room comes before who has none");
        assert!(patience(usize::MAX, true) < Duration::from_millis(800));
        for (vms, replicas, each) in [(200, 3, 67), (200, 4, 50), (1, 3, 1), (0, 3, 0), (5, 0, 5)] {
            assert_eq!(share(vms, replicas), each);
        }
    }
}
