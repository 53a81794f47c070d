//! What is known of each path: which key of ours it has, which it owes, and
//! whether anything happened to it since the registrations were last read.

use super::{LunState, PathId, Registration};
use crate::scsi::ReservationKey;

impl LunState {
    /// This path could not be reached while `key` was to be taken off it.
    pub fn owe(&mut self, path: &PathId, key: ReservationKey) {
        if !key.is_zero() {
            self.owed.entry(path.clone()).or_default().insert(key);
        }
    }

    /// A client that uses this path by itself has registered this key there. It is
    /// not to be taken off, whatever became of it before.
    pub fn let_be(&mut self, path: &PathId, key: ReservationKey) {
        self.used.remove(&key);
        self.earlier.remove(&key);
        if let Some(keys) = self.owed.get_mut(path) {
            keys.remove(&key);
            if keys.is_empty() {
                self.owed.remove(path);
            }
        }
    }

    /// Our key is on this path: we put it there, or were let replace it by
    /// itself.
    pub fn carries(&mut self, path: &PathId, key: ReservationKey) {
        self.owed.remove(path);
        self.odd.remove(path);
        self.carried.insert(path.clone(), key);
        if let Some(nexus) = self.nexuses.get(path) {
            self.seen.insert(nexus.clone(), key);
        }
    }

    /// This key is no longer on this path. That it was is not forgotten: where it
    /// had been taken away before we put it back, that was a loss.
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

    /// This path was away, or may have been: what is registered there may be
    /// somebody else's doing. `renewed` where even its nexus may be another.
    /// Once the registration has ended, multipathd may have put it back there.
    pub fn disturb(&mut self, path: &PathId, renewed: bool) {
        if self.registration.is_none() {
            for key in self.used.clone() {
                self.owe(path, key);
            }
        }
        self.disturbed.insert(path.clone());
        self.odd.remove(path);
        if renewed {
            self.renewed.insert(path.clone());
        }
    }

    /// As [`LunState::disturb`], for every path there is.
    pub fn disturb_all(&mut self) {
        let known = self.nexuses.keys().chain(self.carried.keys());
        let paths: Vec<_> = known.chain(&self.odd).cloned().collect();
        for path in paths {
            self.disturb(&path, true);
        }
    }

    /// This path has a key that is none we know of: it is left alone until
    /// something happens to it.
    pub fn leave(&mut self, path: &PathId) {
        self.renewed.remove(path);
        self.odd.insert(path.clone());
    }

    /// It is not known which nexus this path is.
    pub fn forget(&mut self, path: &PathId) {
        self.renewed.remove(path);
        // It is still one of ours, if it ever was.
        self.kin.extend(self.nexuses.remove(path));
    }

    /// This path has a key, as the nexus it was known to be: it is the same.
    pub fn confirm(&mut self, path: &PathId) {
        self.renewed.remove(path);
    }

    /// True for a path that is new under its name, and may be another nexus.
    pub fn is_renewed(&self, path: &PathId) -> bool {
        self.renewed.contains(path)
    }

    /// True for a path with a key that is none we know of.
    pub fn is_odd(&self, path: &PathId) -> bool {
        self.odd.contains(path)
    }

    /// True where something happened to a path since the last reading.
    pub fn is_disturbed_at_all(&self) -> bool {
        !self.disturbed.is_empty()
    }

    /// True where the registration is known to be on this path, as far as the
    /// last reading goes, and nothing has happened to the path since.
    pub fn is_covered(&self, path: &PathId) -> bool {
        let Some(Registration { key, .. }) = self.registration else {
            return true;
        };
        let nexus = self.nexuses.get(path);
        let has = nexus.is_some_and(|nexus| self.seen.get(nexus) == Some(&key));
        has && !self.disturbed.contains(path) && !self.renewed.contains(path)
    }

    /// The key of this path at the last reading, zero for none; `None` where its
    /// nexus is not known, or something has happened to it since.
    pub fn last_key(&self, path: &PathId) -> Option<ReservationKey> {
        let nexus = self.nexuses.get(path)?;
        let sure = !self.disturbed.contains(path) && !self.renewed.contains(path);
        sure.then(|| self.seen.get(nexus).copied().unwrap_or_default())
    }

    /// True where this path is to be looked at: it may lack the registration,
    /// or have a key that is to go.
    pub fn wants(&self, path: &PathId) -> bool {
        let covered = self.is_covered(path) || self.odd.contains(path);
        !covered || self.former.is_some() || self.owed.contains_key(path)
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
        let owed = self.owed.get(path).into_iter().flatten();
        owed.chain(&self.used).copied().collect()
    }
}
