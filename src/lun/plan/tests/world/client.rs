//! Our client's commands, as the engine brings them to the paths.

use super::{Known, World, ignore, path};
use crate::lun::state::record::Record;
use crate::scsi::pr::RegisterFlags;
use crate::scsi::{PrOut, ReservationKey};

impl World {
    /// As the engine does it on one path after the other; `most` where it is
    /// killed on the way.
    pub(super) fn client_registers(
        &mut self,
        key: ReservationKey,
        most: Option<usize>,
        known: Known,
    ) {
        let from = self.ours().unwrap_or_default();
        self.state.registering(from, key);
        self.written = Record::from(&self.state);
        let present: Vec<_> = (0..self.up.len()).filter(|index| self.up[*index]).collect();
        let mut on = Vec::new();
        let first = self.status(present[0]);
        for index in present.iter().take(most.unwrap_or(usize::MAX)) {
            let before = self.status(*index);
            let ignore = ignore(key);
            let nexus = self.nexuses[*index].clone();
            self.send(&nexus, &ignore);
            let after = self.status(*index);
            if known == Known::Paths {
                self.state.learn(&path(*index), key, &before, &after);
            }
            on.push(path(*index));
        }
        (self.fenced, self.withdrawn, self.rebooted) = (false, false, false);
        (self.beyond, self.fenced_off) = (Vec::new(), Vec::new());
        self.unknowable = false;
        if most.is_some() {
            return;
        }
        let names: Vec<_> = present.iter().map(|index| path(*index)).collect();
        for index in 0..self.up.len() {
            if !self.up[index] && from != key && !from.is_zero() {
                self.state.owe(&path(index), from);
            }
        }
        self.state
            .registered(key, RegisterFlags::default(), &on, &names);
        let last = self.status(present[0]);
        if known != Known::Nothing {
            self.state.learn_all(on.len() as u32, key, &first, &last);
        }
        self.written = Record::from(&self.state);
        self.resting = false;
    }

    pub(super) fn client_withdraws(&mut self, key: ReservationKey) {
        let mut on = Vec::new();
        for index in 0..self.up.len() {
            match self.up[index] {
                true => {
                    let nexus = self.nexuses[index].clone();
                    let command =
                        PrOut::register(key, ReservationKey::ZERO, RegisterFlags::default());
                    if self.send(&nexus, &command).is_good() {
                        on.push(path(index));
                    }
                }
                false => self.state.owe(&path(index), key),
            }
        }
        let present: Vec<_> = (0..self.up.len())
            .filter(|index| self.up[*index])
            .map(path)
            .collect();
        self.state.registered(
            ReservationKey::ZERO,
            RegisterFlags::default(),
            &on,
            &present,
        );
        self.written = Record::from(&self.state);
        // Gone by our own will: it is not to come back either.
        self.withdrawn = true;
    }
}
