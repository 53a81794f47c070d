//! What this host knows of its own registrations on one logical unit.
//!
//! Pure. The device is the truth; this is what cannot be read from it: which
//! key our client last set and how, which nexus belongs to which of our paths,
//! which of them had the key when the registrations were last read, and which
//! keys still have to be taken off a path that was away. [`record`] has it as
//! it is written down; [`plan`](super::plan) draws the conclusions.

mod nexuses;
mod paths;
pub mod record;

pub use nexuses::new_rows;

use super::plan::check::{Check, kept};
use crate::scsi::ReservationKey;
use crate::scsi::pr::{FullStatus, NexusId, RegisterFlags};
use serde::{Deserialize, Serialize};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Registration {
    /// Its key, not zero.
    pub key: ReservationKey,
    /// ALL_TG_PT and APTPL as the client gave them.
    pub flags: RegisterFlags,
}

/// How a registration ended without our client's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Another host removed it: PREEMPT or CLEAR.
    Fenced,
    /// The unit forgot every registration: power loss without APTPL.
    Lost,
    /// Only nexuses that are not ours have the key: it went to another host, or
    /// was another host's as well.
    HandedOff,
    /// Our process ended while it registered a path, and what it found later may
    /// have been its own doing.
    Doubtful,
}

impl Loss {
    /// Why we think so, in words.
    pub fn reason(self) -> &'static str {
        match self {
            Loss::Fenced => "another host removed it (PREEMPT or CLEAR)",
            Loss::Lost => {
                "the unit has no registrations and its generation started anew: \
                it lost power and APTPL was not set"
            }
            Loss::HandedOff => "only nexuses of other hosts have the key",
            Loss::Doubtful => {
                "reservd ended while it registered a path, so that a key which \
                had been taken away may be back: it is taken off"
            }
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Loss::Fenced => "fenced",
            Loss::Lost => "lost",
            Loss::HandedOff => "handed-off",
            Loss::Doubtful => "doubtful",
        })
    }
}

/// So many keys that were given up are remembered. Clients that take a new key
/// at every start are done with the one before the last.
const USED_KEYS: usize = 8;

/// Our side of a logical unit.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub struct LunState {
    registration: Option<Registration>,
    ended: Option<(ReservationKey, Loss)>,
    /// It was not a client of ours that made the registration.
    claimed: bool,
    /// A registration of another boot: nothing is done for it, but where it was
    /// taken away no path of ours is to keep it.
    former: Option<Registration>,
    /// A client's REGISTER that is on its way: from this key to that.
    pending: Option<(ReservationKey, ReservationKey)>,
    /// A write is on its way that may restore what shows us to stand.
    probing: bool,
    /// What we put on a path was taken away at once, and that was not all that
    /// happened.
    doubted: bool,
    nexuses: BTreeMap<PathId, NexusId>,
    /// Nexuses of ours that are none of the paths above, as far as is known.
    kin: BTreeSet<NexusId>,
    carried: BTreeMap<PathId, ReservationKey>,
    owed: BTreeMap<PathId, BTreeSet<ReservationKey>>,
    /// Keys that our client has given up or lost. multipathd may still put one
    /// on a path that returns.
    used: BTreeSet<ReservationKey>,
    /// Those of another boot, and of before a REGISTER that was cut off, which
    /// count once a client has registered again.
    earlier: BTreeSet<ReservationKey>,
    /// The keys of our nexuses when they were last read or written.
    seen: BTreeMap<NexusId, ReservationKey>,
    generation: Option<u32>,
    /// Paths that went away, came back, or were written to since then: somebody
    /// else may have registered them.
    disturbed: BTreeSet<PathId>,
    /// Paths that are new under their name: the nexus may be another.
    renewed: BTreeSet<PathId>,
    /// Paths with a key that is none we know of; left alone.
    odd: BTreeSet<PathId>,
}

impl LunState {
    /// The registration our client last made, if it stands.
    pub fn registration(&self) -> Option<Registration> {
        self.registration
    }

    /// True where neither a client of ours nor a loss has had a word yet.
    pub fn is_untouched(&self) -> bool {
        let nothing = self.registration.is_none() && self.former.is_none();
        nothing && self.ended.is_none() && self.pending.is_none() && self.used.is_empty()
    }

    /// The registration of another boot, until it was looked at.
    pub fn former(&self) -> Option<Registration> {
        self.former
    }

    /// The registration of another boot was looked at, and is nobody's concern.
    pub fn retire(&mut self) {
        let former = self.former.take().map(|former| former.key);
        self.earlier.extend(former);
        self.earlier.append(&mut self.used);
        self.seen.clear();
        self.carried.clear();
        self.owed.clear();
        self.probing = false;
        self.generation = None;
    }

    /// The key of the last registration, and how it ended, if it was not our
    /// client that ended it.
    pub fn ended(&self) -> Option<(ReservationKey, Loss)> {
        self.ended
    }

    /// A client's REGISTER is about to be sent. If we never hear the end of it,
    /// nothing is known of what it did.
    pub fn registering(&mut self, from: ReservationKey, to: ReservationKey) {
        // How far an earlier one came was never known. Should this one succeed,
        // what is left of it is to go.
        if let Some((from, to)) = self.pending.replace((from, to)) {
            self.earlier.extend([from, to]);
            self.earlier.remove(&ReservationKey::ZERO);
        }
    }

    /// The client's REGISTER has ended, without any effect or with the one that
    /// is reported elsewhere.
    pub fn settled(&mut self) {
        self.pending = None;
    }

    /// A write is about to be tried that may restore what shows us to stand.
    pub fn probe(&mut self, probing: bool) {
        self.probing = probing;
    }

    /// Nothing shows any more that the registration stands, until a client makes
    /// it anew.
    pub fn doubt(&mut self) {
        self.doubted = true;
    }

    /// True where nothing shows that the registration stands.
    pub fn is_doubted(&self) -> bool {
        self.doubted
    }

    /// True where the end of such a write is not known.
    pub fn is_probing(&self) -> bool {
        self.probing
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
        self.pending = None;
        self.probing = false;
        self.doubted = false;
        self.ended = None;
        self.former = None;
        self.odd.clear();
        self.used.append(&mut self.earlier);
        self.give_up();
        self.claimed = false;
        self.used.remove(&to);
        self.registration = (!to.is_zero()).then_some(Registration {
            key: to,
            flags: flags.without_spec_i_pt(),
        });
        for path in on {
            self.owed.remove(path);
            self.carried.remove(path);
            if !to.is_zero() {
                self.carries(path, to);
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
        self.seen.retain(|_, key| *key == to);
        // These keep their old key, and are no sign of a loss.
        self.carried.retain(|_, key| *key == to);
    }

    /// The administrator's key is found on these paths of ours: it is looked after
    /// as if a client had registered it. Somebody else on this host had, so that
    /// it is not ours to take back after a loss.
    pub fn claimed(&mut self, registration: Registration, on: &[PathId]) {
        let Registration { key, flags } = registration;
        self.registered(key, flags, on, on);
        self.claimed = true;
    }

    /// Somebody else removed our registration; it stays removed. Paths that may
    /// have got the key after that owe it.
    pub fn lose(&mut self, loss: Loss, present: &[PathId]) {
        self.give_up();
        self.probing = false;
        self.doubted = false;
        let made = self.registration.take().or(self.former.take());
        let Some(Registration { key, .. }) = made else {
            return;
        };
        self.used.insert(key);
        self.ended = Some((key, loss));
        let carried = std::mem::take(&mut self.carried);
        if self.claimed {
            self.used.remove(&key);
        }
        if kept(Check::TakeBackAfterLoss) {
            for path in carried.keys().chain(present) {
                for key in self.used.clone() {
                    self.owe(path, key);
                }
            }
        }
        self.seen.clear();
        self.odd.clear();
    }

    fn give_up(&mut self) {
        if let Some(Registration { key, .. }) = self.registration {
            self.used.insert(key);
        }
        while self.used.len() > USED_KEYS {
            self.used.pop_first();
        }
    }

    /// Every registration on the unit is gone, those of lost paths too.
    pub fn cleared(&mut self) {
        self.give_up();
        self.registration = None;
        self.ended = None;
        self.former = None;
        self.pending = None;
        self.carried.clear();
        self.seen.clear();
        self.odd.clear();
        self.owed.clear();
    }

    /// The registrations were read, and show ours to stand: from here on, what
    /// is missing is a loss.
    pub fn saw(&mut self, status: &FullStatus) {
        let own: Vec<_> = status
            .descriptors
            .iter()
            .filter(|row| self.is_own(&row.nexus))
            .map(|row| (row.nexus.clone(), row.key))
            .collect();
        self.seen = own.into_iter().collect();
        self.generation = Some(status.generation);
        self.disturbed.clear();
    }

    /// The nexuses of ours that had this key at the last reading.
    pub fn seen_with(&self, key: ReservationKey) -> BTreeSet<NexusId> {
        let with = self.seen.iter().filter(|(_, seen)| **seen == key);
        with.map(|(nexus, _)| nexus.clone()).collect()
    }

    /// The nexuses known to be ours that this path may be.
    pub fn may_be(&self, path: &PathId) -> BTreeSet<NexusId> {
        let known = self.nexuses.get(path).cloned();
        let certain = known.is_some() && !self.renewed.contains(path);
        let mut all: BTreeSet<_> = known.into_iter().collect();
        if !certain {
            all.extend(self.kin.iter().cloned());
        }
        all
    }

    /// True where this path may be a nexus that had the key at the last reading:
    /// all others that had it must be other paths for certain.
    pub fn may_be_seen(&self, path: &PathId, key: ReservationKey) -> bool {
        let elsewhere = |nexus: &NexusId| {
            let other = self.path_of(nexus);
            other.is_some_and(|other| other != path && !self.renewed.contains(other))
        };
        let mut with_key = self.seen.iter().filter(|(_, seen)| **seen == key);
        !with_key.all(|(nexus, _)| elsewhere(nexus))
    }

    /// True where somebody else may have written to this nexus since then.
    pub fn is_disturbed(&self, nexus: &NexusId) -> bool {
        match self.path_of(nexus) {
            Some(path) => self.disturbed.contains(path),
            // Kin: any path may be it.
            None => !self.disturbed.is_empty(),
        }
    }

    /// True where every path that was given this key is a nexus we know.
    pub fn knows_all_given(&self, key: ReservationKey) -> bool {
        let mut given = self.carried.iter().filter(|(_, carried)| **carried == key);
        given.all(|(path, _)| self.nexuses.contains_key(path))
    }

    /// PRGENERATION when the registrations were last read and found in order.
    pub fn generation(&self) -> Option<u32> {
        self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K1: ReservationKey = ReservationKey(0xa1);
    const K2: ReservationKey = ReservationKey(0xa2);

    fn path(number: u32) -> PathId {
        PathId(format!("{number}:0:0:0"))
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
