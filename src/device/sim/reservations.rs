//! Persistent reservation state of one logical unit.
//!
//! Plain data and the few changes every service action is made of; who may
//! make them stands in the modules of the service actions.

use crate::scsi::pr::{NexusId, ScopeType};
use crate::scsi::{ReservationKey, ReservationType, SenseCode};

/// A unit attention condition to establish for a nexus.
pub(super) type Event = (NexusId, SenseCode);

/// One registered nexus.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Registration {
    /// Which nexus.
    pub nexus: NexusId,
    /// Its key, never zero.
    pub key: ReservationKey,
    /// Made together with those of all other target ports by one ALL_TG_PT
    /// command, and none of them changed since.
    pub all_tg_pt: bool,
}

/// The reservation that is held; its scope is the logical unit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Held {
    /// Its type.
    pub kind: ReservationType,
    /// The holder. `None` for the all-registrants types, which every registered
    /// nexus holds.
    pub holder: Option<NexusId>,
}

impl Held {
    /// The reservation that `sender` gets when it asks for this type.
    pub(super) fn by(kind: ReservationType, sender: &NexusId) -> Self {
        Held {
            kind,
            holder: (!kind.is_all_registrants()).then(|| sender.clone()),
        }
    }
}

/// Registrations, reservation, generation and APTPL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Reservations {
    /// PRGENERATION (SPC-4 6.15.2): counts the successful service actions other
    /// than RESERVE and RELEASE since power on.
    pub generation: u32,
    /// The APTPL bit of the last command that registered or unregistered.
    pub aptpl: bool,
    /// The reservation.
    pub held: Option<Held>,
    /// The registrations, oldest first.
    pub registrations: Vec<Registration>,
}

impl Reservations {
    /// The key of a nexus, if it is registered.
    pub fn key_of(&self, nexus: &NexusId) -> Option<ReservationKey> {
        self.registrations
            .iter()
            .find(|row| row.nexus == *nexus)
            .map(|row| row.key)
    }

    /// True for a nexus with a registration.
    pub fn is_registered(&self, nexus: &NexusId) -> bool {
        self.key_of(nexus).is_some()
    }

    /// True for a nexus that holds the reservation.
    pub fn is_holder(&self, nexus: &NexusId) -> bool {
        match &self.held {
            None => false,
            Some(Held { holder: None, .. }) => self.is_registered(nexus),
            Some(Held { holder, .. }) => holder.as_ref() == Some(nexus),
        }
    }

    /// Scope and type of the reservation.
    pub fn scope_type(&self) -> Option<ScopeType> {
        self.held.as_ref().map(|held| held.kind.into())
    }

    /// The key of a single holder: what READ RESERVATION shows and PREEMPT has
    /// to name. `None` without a reservation and for the all-registrants types.
    pub fn holder_key(&self) -> Option<ReservationKey> {
        let holder = self.held.as_ref()?.holder.as_ref()?;
        self.key_of(holder)
    }

    /// Power loss and power on (SPC-4 "Preserving persistent reservations and
    /// registrations through power loss"): the generation starts anew, the
    /// rest stays where APTPL says so.
    pub fn power_cycle(&mut self) {
        match self.aptpl {
            true => self.generation = 0,
            false => *self = Reservations::default(),
        }
    }

    pub(super) fn count(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// Registers a nexus, or changes its key and leaves it in its place.
    pub(super) fn set_key(&mut self, nexus: &NexusId, key: ReservationKey) {
        self.separate(nexus);
        match self.registrations.iter_mut().find(|r| r.nexus == *nexus) {
            Some(row) => row.key = key,
            None => self.registrations.push(Registration {
                nexus: nexus.clone(),
                key,
                all_tg_pt: false,
            }),
        }
    }

    /// Marks the registrations of an initiator port as made by one ALL_TG_PT
    /// command.
    pub(super) fn join(&mut self, nexus: &NexusId) {
        self.mark(nexus, true);
    }

    /// The registrations of this initiator port are no longer alike.
    fn separate(&mut self, nexus: &NexusId) {
        self.mark(nexus, false);
    }

    fn mark(&mut self, nexus: &NexusId, all_tg_pt: bool) {
        for row in &mut self.registrations {
            if row.nexus.transport_id == nexus.transport_id {
                row.all_tg_pt = all_tg_pt;
            }
        }
    }

    /// Drops the registrations that match, and says whose they were. The
    /// reservation is the caller's business.
    pub(super) fn remove(&mut self, matches: impl Fn(&Registration) -> bool) -> Vec<NexusId> {
        let (gone, kept) = std::mem::take(&mut self.registrations)
            .into_iter()
            .partition(matches);
        self.registrations = kept;
        let gone: Vec<NexusId> = gone.into_iter().map(|row| row.nexus).collect();
        gone.iter().for_each(|nexus| self.separate(nexus));
        gone
    }

    /// Unit attentions for every registered nexus other than the sender.
    pub(super) fn tell_others(&self, sender: &NexusId, code: SenseCode) -> Vec<Event> {
        self.registrations
            .iter()
            .filter(|row| row.nexus != *sender)
            .map(|row| (row.nexus.clone(), code))
            .collect()
    }
}
