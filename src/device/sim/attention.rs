//! Unit attention conditions, one queue for each nexus (SAM-5, "Unit
//! attention conditions").

use crate::scsi::SenseCode;
use crate::scsi::pr::NexusId;
use std::collections::{BTreeMap, VecDeque};

/// The queues of the nexuses that ever sent a command or were announced. Others
/// have none: whoever logs in later learns of the past from 29/00.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attentions(BTreeMap<NexusId, VecDeque<SenseCode>>);

impl Attentions {
    /// Starts a queue; false where there is one already.
    pub(super) fn attach(&mut self, nexus: &NexusId) -> bool {
        let new = !self.0.contains_key(nexus);
        if new {
            self.0.insert(nexus.clone(), VecDeque::new());
        }
        new
    }

    /// The nexuses known here.
    pub(super) fn nexuses(&self) -> impl Iterator<Item = &NexusId> {
        self.0.keys()
    }

    /// Establishes a condition, unless the same one is pending. Those of power
    /// on and reset (29/xx) go before all others.
    pub(super) fn raise(&mut self, nexus: &NexusId, code: SenseCode) {
        let Some(queue) = self.0.get_mut(nexus) else {
            return;
        };
        if queue.contains(&code) {
            return;
        }
        match code.asc {
            0x29 => queue.push_front(code),
            _ => queue.push_back(code),
        }
    }

    /// Power on: nothing is pending anywhere but 29/00.
    pub(super) fn power_on(&mut self) {
        for queue in self.0.values_mut() {
            queue.clear();
            queue.push_back(SenseCode::POWER_ON_OR_RESET);
        }
    }

    /// Takes the first condition, if it is one of power on and reset: those are
    /// reported before a RESERVATION CONFLICT.
    pub(super) fn take_reset(&mut self, nexus: &NexusId) -> Option<SenseCode> {
        let queue = self.0.get_mut(nexus)?;
        match queue.front() {
            Some(code) if code.asc == 0x29 => queue.pop_front(),
            _ => None,
        }
    }

    /// Takes the first condition.
    pub(super) fn take(&mut self, nexus: &NexusId) -> Option<SenseCode> {
        self.0.get_mut(nexus)?.pop_front()
    }

    /// What is pending, first to be reported first.
    pub(super) fn pending(&self, nexus: &NexusId) -> Vec<SenseCode> {
        self.0
            .get(nexus)
            .map(|queue| queue.iter().copied().collect())
            .unwrap_or_default()
    }
}
