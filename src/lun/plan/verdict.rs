//! Does our registration still stand?
//!
//! The value of a key proves nothing, for another host may use the same. What
//! counts is which nexuses of ours have it, and had it when the registrations
//! were last read:
//!
//! - All that had it still have it: it stands.
//! - None has it: it is gone, and stays so.
//! - Some have lost it. PREEMPT removes a key from every nexus at once, so one
//!   that kept it shows that there was none: an *anchor*. It must be one that
//!   nobody wrote to meanwhile, though. A path that was away may have been
//!   registered by multipathd just after the PREEMPT, and one that we wrote to
//!   by ourselves. PRGENERATION tells more: a PREEMPT and what was registered
//!   after it are two steps at least. Where there was one or none it stands; where
//!   there were more, it is unproven with an anchor, and gone without: then what
//!   remains is taken off.

use super::check::{Check, kept};
use crate::lun::state::{Loss, LunState, Registration};
use crate::scsi::ReservationKey;
use crate::scsi::pr::{FullDescriptor, FullStatus, NexusId};
use std::collections::BTreeSet;

/// What the unit says of the registration our client made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// There is none.
    Unarmed,
    /// Nexuses of ours have it.
    Stands,
    /// It was taken away, and stays so.
    Gone(Loss),
    /// That cannot be told: nothing is put on a path, and nothing taken off.
    Unproven,
}

/// What we did ourselves since the registrations were last read.
#[derive(Debug, Clone, Default)]
pub struct Own {
    /// Steps of the generation.
    pub steps: u32,
    /// One of these we registered, from no key at all: what they have shows
    /// nothing, and if it had the key before, it had lost it.
    pub wrote: BTreeSet<NexusId>,
    /// What we registered is not there: somebody has taken it away already.
    pub vanished: bool,
}

/// Judges by the registrations as they were just read.
pub fn judge(state: &LunState, status: &FullStatus, own: &Own) -> Verdict {
    let Some(Registration { key, .. }) = state.registration().or(state.former()) else {
        return Verdict::Unarmed;
    };
    if !status.complete && kept(Check::WholeList) {
        return Verdict::Unproven;
    }
    let wrote = |nexus: &NexusId| own.wrote.contains(nexus) && kept(Check::Anchor);
    let with_key: Vec<_> = status
        .descriptors
        .iter()
        .filter(|row| row.key == key && !wrote(&row.nexus))
        .map(|row| &row.nexus)
        .collect();
    let is_own = |nexus: &&NexusId| state.is_own(nexus) || !kept(Check::OwnNexus);
    if !with_key.iter().any(is_own) {
        return gone(state, status, key, with_key.is_empty());
    }
    if state.is_doubted() {
        return Verdict::Unproven;
    }
    let has = |nexus: &NexusId| {
        let row = status.row(nexus).filter(|_| !wrote(nexus));
        row.is_some_and(|row| row.key == key)
    };
    let seen = state.seen_with(key);
    if !own.vanished && seen.iter().all(has) {
        return Verdict::Stands;
    }
    // Steps of others since the last reading; a power cycle makes it many.
    let moved = state.generation().map(|before| {
        let moved = status.generation.wrapping_sub(before);
        moved.saturating_sub(own.steps) as usize
    });
    // A PREEMPT, and a registration after it that makes one survive, are two.
    if moved.is_some_and(|moved| moved <= 1) {
        return Verdict::Stands;
    }
    let anchored = seen
        .iter()
        .any(|nexus| has(nexus) && !(state.is_disturbed(nexus) && kept(Check::Anchor)));
    if !anchored && kept(Check::Anchor) {
        return Verdict::Gone(Loss::Fenced);
    }
    // multipathd looks at every path when it starts: that an anchor was not
    // written to is no certainty.
    match kept(Check::Explained) {
        true => Verdict::Unproven,
        false => Verdict::Stands,
    }
}

/// No nexus known to be ours has the key.
fn gone(state: &LunState, status: &FullStatus, key: ReservationKey, nobody: bool) -> Verdict {
    if !kept(Check::MissingIsGone) {
        return Verdict::Stands;
    }
    // Power on starts the generation anew (SPC-4 6.15.2).
    let restarted = state
        .generation()
        .is_some_and(|before| status.generation < before);
    let is_foreign = |row: &FullDescriptor| row.key != key;
    match (nobody, restarted) {
        (true, true) if !status.descriptors.iter().any(is_foreign) => Verdict::Gone(Loss::Lost),
        (true, _) => Verdict::Gone(Loss::Fenced),
        (false, _) if state.knows_all_given(key) => Verdict::Gone(Loss::HandedOff),
        (false, _) => Verdict::Unproven,
    }
}
