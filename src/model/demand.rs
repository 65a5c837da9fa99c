//! What the watchers want of the pollers.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::VmName;

/// The smallest interval that any open stream asked for, per VM, in seconds (1 to 60).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Demand(HashMap<VmName, u8>);

impl Demand {
    /// What is wanted of `vm`; `None` when nobody watches it.
    pub fn for_vm(&self, vm: &VmName) -> Option<u8> {
        self.0.get(vm).copied()
    }

    /// Whether nobody watches anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each wish.
    pub fn iter(&self) -> impl Iterator<Item = (&VmName, u8)> {
        self.0.iter().map(|(vm, seconds)| (vm, *seconds))
    }
}

impl FromIterator<(VmName, u8)> for Demand {
    /// Gathers wishes; the smallest per VM counts.
    fn from_iter<I: IntoIterator<Item = (VmName, u8)>>(wishes: I) -> Self {
        let mut smallest = HashMap::new();
        for (vm, seconds) in wishes {
            smallest.entry(vm).and_modify(|least: &mut u8| *least = seconds.min(*least)).or_insert(seconds);
        }
        Self(smallest)
    }
}
