//! What this host knows of its own registrations on one logical unit.
//!
//! Pure. The device is the truth; this is what cannot be read from it: which
//! key our client last set and how, which nexus belongs to which of our paths,
//! and which keys still have to be taken off a path that was away.

use crate::scsi::ReservationKey;
use crate::scsi::pr::{FullStatus, NexusId, RegisterFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a path is called as long as it lives: its host, channel, target and
/// LUN, `2:0:1:0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub String);

impl fmt::Display for PathId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The registration our client last asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    /// Its key, not zero.
    pub key: ReservationKey,
    /// ALL_TG_PT and APTPL as the client gave them.
    pub flags: RegisterFlags,
}

/// What the unit says of the registration our client made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// One of our nexuses has it.
    Ours,
    /// None has: somebody took it away, and it stays away.
    Gone,
    /// That cannot be told.
    Unproven,
}

/// Our side of a logical unit.
#[derive(Debug, Default, Clone)]
pub struct LunState {
    registration: Option<Registration>,
    nexuses: BTreeMap<PathId, NexusId>,
    carried: BTreeMap<PathId, ReservationKey>,
    owed: BTreeMap<PathId, BTreeSet<ReservationKey>>,
}

impl LunState {
    /// The registration our client last made, if it stands.
    pub fn registration(&self) -> Option<Registration> {
        self.registration
    }

    /// A client's REGISTER took effect on the paths `on`, out of those `present`:
    /// `to` zero means unregistered. A path that carries a key and is not
    /// present owes it.
    pub fn registered(
        &mut self,
        to: ReservationKey,
        flags: RegisterFlags,
        on: &[PathId],
        present: &[PathId],
    ) {
        self.registration = (!to.is_zero()).then_some(Registration {
            key: to,
            flags: flags.without_spec_i_pt(),
        });
        for path in on {
            self.owed.remove(path);
            self.carried.remove(path);
            if !to.is_zero() {
                self.carried.insert(path.clone(), to);
            }
        }
        let away: Vec<_> = self
            .carried
            .iter()
            .filter(|(path, key)| !present.contains(path) && **key != to)
            .map(|(path, key)| (path.clone(), *key))
            .collect();
        for (path, key) in away {
            self.owe(&path, key);
        }
        // A key that is ours again is owed by nobody.
        for keys in self.owed.values_mut() {
            keys.remove(&to);
        }
        self.owed.retain(|_, keys| !keys.is_empty());
    }

    /// Somebody else removed our registration; it stays removed.
    pub fn fenced(&mut self) {
        self.registration = None;
        self.carried.clear();
    }

    /// Every registration on the unit is gone, those of lost paths too.
    pub fn cleared(&mut self) {
        self.fenced();
        self.owed.clear();
    }

    /// This path could not be reached while `key` was to be taken off it.
    pub fn owe(&mut self, path: &PathId, key: ReservationKey) {
        if !key.is_zero() {
            self.owed.entry(path.clone()).or_default().insert(key);
        }
    }

    /// Our key was put back on this path.
    pub fn carries(&mut self, path: &PathId, key: ReservationKey) {
        self.owed.remove(path);
        self.carried.insert(path.clone(), key);
    }

    /// This key is no longer on this path.
    pub fn removed(&mut self, path: &PathId, key: ReservationKey) {
        if self.carried.get(path) == Some(&key) {
            self.carried.remove(path);
        }
        if let Some(keys) = self.owed.get_mut(path) {
            keys.remove(&key);
            if keys.is_empty() {
                self.owed.remove(path);
            }
        }
    }

    /// True when a path other than `but` was given this key and is proven not to
    /// have it any more.
    pub fn has_lost(&self, key: ReservationKey, but: &PathId, status: &FullStatus) -> bool {
        let others = self
            .carried
            .iter()
            .filter(|(path, carried)| *path != but && **carried == key);
        status.complete
            && others
                .filter_map(|(path, _)| self.nexus(path))
                .any(|nexus| status.row(nexus).is_none_or(|row| row.key != key))
    }

    /// True where this key was put on this path and not taken off by us.
    pub fn was_given(&self, path: &PathId, key: ReservationKey) -> bool {
        self.carried.get(path) == Some(&key)
    }

    /// Whether the registration our client made is still on the unit. A key's
    /// value proves nothing: one of our own nexuses must have it.
    pub fn standing(&self, status: &FullStatus) -> Standing {
        let Some(Registration { key, .. }) = self.registration else {
            return Standing::Gone;
        };
        let with_key = |nexus: &NexusId| status.row(nexus).is_some_and(|row| row.key == key);
        if self.nexuses.values().any(with_key) {
            return Standing::Ours;
        }
        let given_are_known = self
            .carried
            .iter()
            .filter(|(_, carried)| **carried == key)
            .all(|(path, _)| self.nexuses.contains_key(path));
        let nobody = status.descriptors.iter().all(|row| row.key != key);
        if status.complete && (nobody || given_are_known) {
            Standing::Gone
        } else {
            Standing::Unproven
        }
    }

    /// Keys that still have to be taken off paths.
    pub fn owed(&self) -> Vec<(PathId, ReservationKey)> {
        self.owed
            .iter()
            .flat_map(|(path, keys)| keys.iter().map(move |key| (path.clone(), *key)))
            .collect()
    }

    /// Keys of ours that this path may carry instead of the present one.
    pub fn old_keys(&self, path: &PathId) -> Vec<ReservationKey> {
        self.owed.get(path).into_iter().flatten().copied().collect()
    }

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
        let quiet = after.generation == before.generation.wrapping_add(1)
            && before.complete
            && after.complete;
        if !quiet {
            return;
        }
        let mut ours = after.descriptors.iter().filter(|row| {
            row.key == key
                && !row.all_tg_pt
                && before
                    .row(&row.nexus)
                    .is_none_or(|previous| previous.key != key)
        });
        if let (Some(row), None) = (ours.next(), ours.next()) {
            self.nexuses.insert(path.clone(), row.nexus.clone());
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

    /// True when every registration with this key is proven to be ours, and
    /// there is one.
    pub fn owns_all(&self, key: ReservationKey, status: &FullStatus) -> bool {
        let mut rows = status
            .descriptors
            .iter()
            .filter(|row| row.key == key)
            .peekable();
        status.complete
            && rows.peek().is_some()
            && rows.all(|row| self.path_of(&row.nexus).is_some())
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

    #[test]
    fn a_registration_stands_where_a_nexus_of_ours_has_it() {
        let before = FullStatus::new(4, vec![]);
        let after = FullStatus::new(5, vec![row(1, K1)]);
        let elsewhere = FullStatus::new(6, vec![row(9, K1)]);
        let cut = FullStatus {
            complete: false,
            ..before.clone()
        };
        let mut state = LunState::default();
        assert_eq!(state.standing(&after), Standing::Gone, "nothing was made");
        let flags = RegisterFlags::default();
        state.registered(K1, flags, &[path(1)], &[path(1)]);
        assert_eq!(state.standing(&after), Standing::Unproven);
        assert_eq!(state.standing(&before), Standing::Gone);
        state.learn(&path(1), K1, &before, &after);
        assert_eq!(state.standing(&after), Standing::Ours);
        assert_eq!(state.standing(&elsewhere), Standing::Gone);
        assert_eq!(state.standing(&cut), Standing::Unproven);
    }

    #[test]
    fn a_debt_ends_when_the_key_is_ours_again() {
        let mut state = LunState::default();
        state.owe(&path(1), K1);
        state.owe(&path(1), K2);
        state.owe(&path(2), ReservationKey::ZERO);
        assert_eq!(state.owed().len(), 2);
        state.registered(K2, RegisterFlags::default(), &[path(2)], &[path(2)]);
        assert_eq!(state.owed(), [(path(1), K1)]);
        state.removed(&path(1), K1);
        assert!(state.owed().is_empty());
    }

    #[test]
    fn a_path_that_is_away_owes_what_it_carries() {
        let mut state = LunState::default();
        let both = [path(1), path(2)];
        state.registered(K1, RegisterFlags::default(), &both, &both);
        state.registered(
            ReservationKey::ZERO,
            RegisterFlags::default(),
            &[path(1)],
            &[path(1)],
        );
        assert_eq!(state.owed(), [(path(2), K1)]);
        assert_eq!(state.registration(), None);
        state.cleared();
        assert!(state.owed().is_empty());
    }
}
