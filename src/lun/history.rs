//! What happened to a unit: the last events of it, for those who ask, and for
//! those who listen.

use super::snapshot::{Registrations, Snapshot, State};
use super::state::{Loss, PathId};
use crate::scsi::pr::Reservation;
use crate::scsi::{OutAction, ReservationKey};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::sync::watch;

/// So many events are remembered; a listener that is slower misses some.
pub const EVENTS: usize = 64;

/// Something that happened to a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A client's PERSISTENT RESERVE OUT has ended.
    Command {
        /// Its service action.
        action: OutAction,
        /// RESERVATION KEY.
        key: ReservationKey,
        /// SERVICE ACTION RESERVATION KEY.
        service_action_key: ReservationKey,
        /// How it ended, in words.
        outcome: String,
    },
    /// Our registration is in another state.
    State {
        /// As it was.
        old: State,
        /// As it is.
        new: State,
        /// Why.
        reason: String,
    },
    /// Registrations came or went, of whichever host: one key for each.
    Registrations {
        /// What is new.
        added: Vec<ReservationKey>,
        /// What is gone.
        removed: Vec<ReservationKey>,
        /// PRGENERATION.
        generation: u32,
    },
    /// The reservation is another.
    Reservation {
        /// As it was.
        old: Option<Reservation>,
        /// As it is.
        new: Option<Reservation>,
    },
    /// Another host took our registration away.
    Preempted {
        /// Our key.
        lost: ReservationKey,
        /// Theirs, where it can be told: that of the new holder, or the only one
        /// that is left.
        by: Option<ReservationKey>,
        /// PRGENERATION.
        generation: u32,
    },
    /// A path got our registration.
    Repaired {
        /// Which.
        path: PathId,
        /// The key.
        key: ReservationKey,
    },
    /// A path lacks our registration, and does not get it.
    Refused {
        /// Which.
        path: PathId,
        /// Why.
        reason: String,
    },
    /// Registrations contradict each other.
    Conflict(Conflict, String),
}

/// How they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// A path of ours has a key that we did not put there.
    PathKey,
    /// Another host has registered our key.
    SharedKey,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Conflict::PathKey => "path-key",
            Conflict::SharedKey => "shared-key",
        })
    }
}

impl Event {
    /// One word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Command { .. } => "command",
            Event::State { .. } => "state",
            Event::Registrations { .. } => "registrations",
            Event::Reservation { .. } => "reservation",
            Event::Preempted { .. } => "preempted",
            Event::Repaired { .. } => "repaired",
            Event::Refused { .. } => "refused",
            Event::Conflict(..) => "conflict",
        }
    }
}

/// What happened, in words.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Command {
                action,
                key,
                service_action_key,
                outcome,
            } => write!(f, "{action} {key} {service_action_key}: {outcome}"),
            Event::State { old, new, reason } => write!(f, "{old} -> {new}: {reason}"),
            Event::Registrations {
                added,
                removed,
                generation,
            } => {
                let signs = added.iter().map(|key| ('+', key));
                let signs = signs.chain(removed.iter().map(|key| ('-', key)));
                for (sign, key) in signs {
                    write!(f, "{sign}{key} ")?;
                }
                write!(f, "at generation {generation}")
            }
            Event::Reservation { old, new } => {
                write!(f, "{} -> {}", held(old.as_ref()), held(new.as_ref()))
            }
            Event::Preempted { lost, by, .. } => match by {
                Some(by) => write!(f, "{lost} by {by}"),
                None => write!(f, "{lost}"),
            },
            Event::Repaired { path, key } => write!(f, "{path} registered with {key}"),
            Event::Refused { path, reason } => write!(f, "{path} not registered: {reason}"),
            Event::Conflict(_, detail) => f.write_str(detail),
        }
    }
}

fn held(reservation: Option<&Reservation>) -> String {
    match reservation {
        Some(held) => match held.scope_type.kind() {
            Some(kind) => format!("{kind} {}", held.key),
            None => held.key.to_string(),
        },
        None => "none".to_owned(),
    }
}

/// An event, and when it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Counts the events of the unit, from 1.
    pub number: u64,
    /// When.
    pub time: SystemTime,
    /// What.
    pub event: Event,
}

/// The last events of a unit, no more than [`EVENTS`].
#[derive(Debug, Default)]
pub struct History {
    entries: Mutex<VecDeque<Entry>>,
    /// The number of the last one.
    last: watch::Sender<u64>,
}

impl History {
    /// Adds what happened just now.
    pub fn add(&self, event: Event) {
        let mut entries = self.entries();
        let number = entries.back().map_or(1, |last| last.number + 1);
        while entries.len() >= EVENTS {
            entries.pop_front();
        }
        entries.push_back(Entry {
            number,
            time: SystemTime::now(),
            event,
        });
        drop(entries);
        self.last.send_replace(number);
    }

    /// The events after the one with this number, oldest first, as far as they
    /// are remembered.
    pub fn since(&self, number: u64) -> Vec<Entry> {
        let entries = self.entries();
        let new = entries.iter().filter(|entry| entry.number > number);
        new.cloned().collect()
    }

    /// The number of the last event, 0 before the first, as it grows.
    pub fn last(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What happened from one snapshot of a unit to the next.
pub fn between(old: &Snapshot, new: &Snapshot) -> Vec<Event> {
    let generation = new.generation.unwrap_or_default();
    let mut events = Vec::new();
    let (added, removed) = moved(old, new);
    if !added.is_empty() || !removed.is_empty() {
        events.push(Event::Registrations {
            added,
            removed,
            generation,
        });
    }
    // What it was before it was first read is not known.
    if old.checked.is_some() && old.reservation != new.reservation {
        events.push(Event::Reservation {
            old: old.reservation,
            new: new.reservation,
        });
    }
    if let (Some(key), true) = (new.key, shares_key(new) && !shares_key(old)) {
        let detail = format!("another host has registered {key}, our key");
        events.push(Event::Conflict(Conflict::SharedKey, detail));
    }
    if old.state == new.state {
        return events;
    }
    events.push(Event::State {
        old: old.state,
        new: new.state,
        reason: new.reason.clone(),
    });
    match (new.state, new.key) {
        (State::Conflict, _) => {
            events.push(Event::Conflict(Conflict::PathKey, new.reason.clone()));
        }
        (State::Ended(Loss::Fenced), Some(lost)) => events.push(Event::Preempted {
            lost,
            by: preemptor(lost, new),
            generation,
        }),
        _ => {}
    }
    events
}

/// Keys of registrations that came and went.
fn moved(old: &Snapshot, new: &Snapshot) -> (Vec<ReservationKey>, Vec<ReservationKey>) {
    let nothing = Registrations::default();
    let Some(now) = &new.registrations else {
        return Default::default();
    };
    match &old.registrations {
        Some(before) => (without(now, before), without(before, now)),
        // Only what a client of ours has just registered is new for certain.
        None if new.key != old.key => {
            let mut added = without(now, &nothing);
            added.retain(|key| Some(*key) == new.key);
            (added, Vec::new())
        }
        None => Default::default(),
    }
}

/// The keys of `these` that are not among `those`, each as often as it is more.
fn without(these: &Registrations, those: &Registrations) -> Vec<ReservationKey> {
    let mut those = those.keys.clone();
    let mut rest = Vec::new();
    for key in &these.keys {
        match those.iter().position(|other| other == key) {
            Some(index) => drop(those.swap_remove(index)),
            None => rest.push(*key),
        }
    }
    rest
}

/// True where somebody else has our key for certain: all our paths are known.
fn shares_key(unit: &Snapshot) -> bool {
    let Some(all) = unit.registrations.as_ref().filter(|_| unit.state.stands()) else {
        return false;
    };
    let known = unit.paths.iter().all(|path| path.nexus.is_some());
    let foreign = |row: &super::snapshot::Registrant| !row.local && Some(row.key) == unit.key;
    known && all.registrants.iter().any(foreign)
}

/// Who took our key away, as far as that can be told.
fn preemptor(lost: ReservationKey, now: &Snapshot) -> Option<ReservationKey> {
    let foreign = |key: &ReservationKey| *key != lost && !key.is_zero();
    let holder = now.reservation.map(|held| held.key).filter(foreign);
    holder.or_else(|| {
        let mut keys = now.registrations.as_ref()?.keys.clone();
        keys.sort_unstable();
        keys.dedup();
        match keys[..] {
            [only] => Some(only).filter(foreign),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::identity::Wwid;
    use crate::scsi::ReservationType;
    use proptest::prelude::*;

    const A: ReservationKey = ReservationKey(0xa1);
    const B: ReservationKey = ReservationKey(0xb1);

    fn unit(state: State, keys: &[ReservationKey], held: Option<ReservationKey>) -> Snapshot {
        let mut unit = Snapshot::new(Wwid::new("3600"));
        unit.state = state;
        unit.key = Some(A);
        unit.generation = Some(7);
        unit.checked = Some(SystemTime::now());
        unit.registrations = Some(Registrations {
            keys: keys.to_vec(),
            registrants: Vec::new(),
        });
        unit.reservation = held.map(|key| Reservation {
            key,
            scope_type: ReservationType::WriteExclusiveRegistrantsOnly.into(),
        });
        unit
    }

    fn told(old: &Snapshot, new: &Snapshot) -> Vec<String> {
        let tell = |event: &Event| format!("{}: {event}", event.name());
        between(old, new).iter().map(tell).collect()
    }

    #[test]
    fn a_fence_is_told_with_who_did_it() {
        let before = unit(State::Ok, &[A, A, B, B], Some(A));
        let mut after = unit(State::Ended(Loss::Fenced), &[B, B], Some(B));
        after.reason = Loss::Fenced.reason().into();
        assert_eq!(
            told(&before, &after),
            [
                "registrations: -0xa1 -0xa1 at generation 7",
                "reservation: WERO 0xa1 -> WERO 0xb1",
                "state: ok -> fenced: another host removed it (PREEMPT or CLEAR)",
                "preempted: 0xa1 by 0xb1",
            ]
        );
        // Without a reservation, only one who is alone can have been it.
        let left = unit(State::Ended(Loss::Fenced), &[B, B], None);
        assert_eq!(preemptor(A, &left), Some(B));
        let many = unit(State::Ended(Loss::Fenced), &[B, ReservationKey(0xc1)], None);
        assert_eq!(preemptor(A, &many), None);
        let nobody = unit(State::Ended(Loss::Fenced), &[], None);
        assert_eq!(preemptor(A, &nobody), None);
    }

    #[test]
    fn what_was_there_before_is_no_news() {
        let mut unknown = Snapshot::new(Wwid::new("3600"));
        let after = unit(State::Ok, &[A, B], Some(B));
        // Just registered by our client.
        assert_eq!(
            told(&unknown, &after)[0],
            "registrations: +0xa1 at generation 7"
        );
        // Known from the journal.
        unknown.key = Some(A);
        unknown.state = State::Ok;
        assert_eq!(told(&unknown, &after), [""; 0]);
        assert_eq!(told(&after, &after), [""; 0]);
    }

    #[test]
    fn the_last_events_are_kept() {
        let history = History::default();
        let mut last = history.last();
        for _ in 0..EVENTS + 5 {
            history.add(Event::Conflict(Conflict::PathKey, "x".into()));
        }
        assert!(last.has_changed().unwrap());
        assert_eq!(*last.borrow_and_update(), EVENTS as u64 + 5);
        let numbers: Vec<_> = history.since(0).iter().map(|entry| entry.number).collect();
        assert_eq!(numbers, (6..=EVENTS as u64 + 5).collect::<Vec<_>>());
        assert_eq!(history.since(EVENTS as u64 + 4).len(), 1);
        assert!(history.since(EVENTS as u64 + 5).is_empty());
    }

    proptest! {
        /// Adding what is new and removing what is gone leads from one to the other.
        #[test]
        fn nothing_moves_unseen(old in prop::collection::vec(0u64..4, 0..8), new in prop::collection::vec(0u64..4, 0..8)) {
            let keys = |list: &[u64]| list.iter().map(|key| ReservationKey(*key)).collect::<Vec<_>>();
            let (old, new) = (unit(State::Ok, &keys(&old), None), unit(State::Ok, &keys(&new), None));
            let (added, removed) = moved(&old, &new);
            let all = |unit: &Snapshot| unit.registrations.clone().unwrap_or_default().keys;
            let mut left: Vec<_> = all(&old);
            for key in &removed {
                let index = left.iter().position(|other| other == key);
                left.swap_remove(index.expect("it was there"));
            }
            left.extend(&added);
            left.sort_unstable();
            let mut now = all(&new);
            now.sort_unstable();
            prop_assert_eq!(left, now);
            prop_assert!(added.iter().all(|key| !removed.contains(key)));
        }
    }
}
