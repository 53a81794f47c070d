//! Which nexuses are ours: learned from what our own registrations change.

use super::{LunState, PathId};
use crate::scsi::ReservationKey;
use crate::scsi::pr::{FullStatus, NexusId};
use std::collections::BTreeSet;

impl LunState {
    /// Learns which nexus a path is, from the unit's registrations just before
    /// and just after `key` was registered through it. Only a generation that
    /// moved by exactly our one step proves that the difference is ours.
    pub fn learn(
        &mut self,
        path: &PathId,
        key: ReservationKey,
        before: &FullStatus,
        after: &FullStatus,
    ) {
        if let Some(nexus) = new_rows(key, before, after, 1).first() {
            self.kin.remove(nexus);
            self.nexuses.insert(path.clone(), nexus.clone());
            self.seen.insert(nexus.clone(), key);
            self.renewed.remove(path);
            self.generation = Some(after.generation);
        }
    }

    /// As [`LunState::learn`], where `paths` were registered with `key`, in one
    /// go or one after another: these nexuses are ours, but which is which path
    /// is not known. That goes too where they had the key before, if nobody else
    /// has it.
    pub fn learn_all(
        &mut self,
        paths: u32,
        key: ReservationKey,
        before: &FullStatus,
        after: &FullStatus,
    ) {
        let mut ours = new_rows(key, before, after, paths);
        if ours.is_empty() && is_quiet(before, after, paths) {
            let with_key = after.descriptors.iter().filter(|row| row.key == key);
            ours = with_key.map(|row| row.nexus.clone()).collect();
            if ours.len() != paths as usize {
                return;
            }
        }
        if !ours.is_empty() {
            self.generation = Some(after.generation);
        }
        for nexus in ours {
            if self.path_of(&nexus).is_none() {
                self.kin.insert(nexus.clone());
            }
            self.seen.insert(nexus, key);
        }
        let unknown = |path: &&PathId| !self.nexuses.contains_key(*path);
        let mut unknown = self.carried.keys().filter(unknown);
        if let (Some(path), None, 1) = (unknown.next(), unknown.next(), self.kin.len())
            && let Some(nexus) = self.kin.pop_first()
        {
            self.nexuses.insert(path.clone(), nexus);
        }
    }

    /// The nexus of a path, once learned.
    pub fn nexus(&self, path: &PathId) -> Option<&NexusId> {
        self.nexuses.get(path)
    }

    /// Which of our paths this nexus is, where that is proven.
    pub fn path_of(&self, nexus: &NexusId) -> Option<&PathId> {
        self.nexuses
            .iter()
            .find_map(|(path, own)| (own == nexus).then_some(path))
    }

    /// True for a nexus that is proven to be this host's.
    pub fn is_own(&self, nexus: &NexusId) -> bool {
        self.kin.contains(nexus) || self.path_of(nexus).is_some()
    }

    /// True when every registration with this key is proven to be ours, and
    /// there is one.
    pub fn owns_all(&self, key: ReservationKey, status: &FullStatus) -> bool {
        let mut rows = status
            .descriptors
            .iter()
            .filter(|row| row.key == key)
            .peekable();
        status.complete && rows.peek().is_some() && rows.all(|row| self.is_own(&row.nexus))
    }
}

/// True where the generation moved by exactly these steps between two readings.
fn is_quiet(before: &FullStatus, after: &FullStatus, steps: u32) -> bool {
    after.generation == before.generation.wrapping_add(steps) && before.complete && after.complete
}

/// The nexuses that got this key between two readings, if the generation moved
/// by exactly so many steps, and so many there are.
pub fn new_rows(
    key: ReservationKey,
    before: &FullStatus,
    after: &FullStatus,
    steps: u32,
) -> BTreeSet<NexusId> {
    let is_new = |nexus: &NexusId| {
        let previous = before.row(nexus);
        previous.is_none_or(|previous| previous.key != key)
    };
    let rows = after.descriptors.iter();
    // An ALL_TG_PT registration may have a row for each target port, all alike.
    let new: BTreeSet<_> = rows
        .filter(|row| row.key == key && is_new(&row.nexus))
        .map(|row| row.nexus.clone())
        .collect();
    match is_quiet(before, after, steps) && new.len() == steps as usize {
        true => new,
        false => BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::TransportId;
    use crate::scsi::pr::FullDescriptor;

    const K1: ReservationKey = ReservationKey(0xa1);
    const K2: ReservationKey = ReservationKey(0xa2);

    fn path(number: u32) -> PathId {
        PathId(format!("{number}:0:0:0"))
    }

    fn row(port: u64, key: ReservationKey) -> FullDescriptor {
        FullDescriptor {
            key,
            all_tg_pt: false,
            holder: None,
            nexus: NexusId {
                transport_id: TransportId::sas(port),
                relative_target_port: 0,
            },
        }
    }

    #[test]
    fn a_nexus_is_learned_only_from_a_quiet_step() {
        let before = FullStatus::new(4, vec![row(9, K1)]);
        let after = FullStatus::new(5, vec![row(9, K1), row(1, K1)]);
        let noisy = FullStatus::new(6, after.descriptors.clone());
        let mut state = LunState::default();
        state.learn(&path(1), K1, &before, &noisy);
        assert_eq!(state.nexus(&path(1)), None);
        state.learn(&path(1), K1, &before, &after);
        assert_eq!(state.path_of(&row(1, K1).nexus), Some(&path(1)));
        assert!(!state.owns_all(K1, &after), "row 9 is another host's");
        assert!(state.owns_all(K1, &FullStatus::new(7, vec![row(1, K1), row(9, K2)])));
        assert!(!state.owns_all(K2, &FullStatus::new(7, vec![])));
    }
}
