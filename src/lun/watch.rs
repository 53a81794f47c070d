//! What the readers of a unit and its actor tell each other.

use super::arming;
use crate::scsi::pr::{FullStatus, KeyList};
use crate::scsi::{InAction, Outcome, ReservationKey};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;

/// What those who read a unit see of its registration, and tell its actor.
#[derive(Debug, Default)]
pub struct Watch {
    /// The key that is registered, or zero.
    key: AtomicU64,
    confirmed: AtomicBool,
    suspicion: Notify,
}

impl Watch {
    /// True while multipathd is known to register returning paths.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed.load(Ordering::Relaxed)
    }

    /// multipathd is known to register returning paths, or not any more.
    pub fn confirm(&self, confirmed: bool) {
        self.confirmed.store(confirmed, Ordering::Relaxed);
    }

    /// This key is registered from now on; zero for none.
    pub fn expect(&self, key: ReservationKey) {
        self.key.store(key.0, Ordering::Relaxed);
    }

    /// The key that is registered, if one is.
    pub fn key(&self) -> Option<ReservationKey> {
        let key = ReservationKey(self.key.load(Ordering::Relaxed));
        (!key.is_zero()).then_some(key)
    }

    /// Waits until an answer to a client has shown that our key may be gone.
    pub async fn suspicion(&self) {
        self.suspicion.notified().await;
    }

    /// Looks at an answer to a client: does it show that our key is gone?
    pub fn saw(&self, action: InAction, outcome: &Outcome) {
        let key = ReservationKey(self.key.load(Ordering::Relaxed));
        if key.is_zero() {
            return;
        }
        let good = outcome.is_good();
        let lost = match (outcome.sense_code(), action) {
            (Some(code), _) => arming::tells_of_loss(code),
            (None, InAction::ReadKeys) if good => KeyList::parse(&outcome.data).is_ok_and(|list| {
                let complete = list.keys.len() * 8 == list.additional_length as usize;
                complete && !list.keys.contains(&key)
            }),
            (None, InAction::ReadFullStatus) if good => {
                FullStatus::parse(&outcome.data).is_ok_and(|status| {
                    status.complete && status.descriptors.iter().all(|row| row.key != key)
                })
            }
            _ => false,
        };
        if lost {
            self.suspicion.notify_one();
        }
    }
}
