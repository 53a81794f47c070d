//! A registration that stands, and paths that came after it was made.

use super::{Direct, Tell};
use crate::engine::Path;
use crate::lun::state::{PathId, Standing};
use crate::scsi::pr::{KeyList, ReservationData};
use crate::scsi::{InAction, PrIn, PrOut, ReservationKey, SenseCode};
use std::time::Duration;
use tokio::time::Instant;

/// A path that answers nothing for this long counts as away.
const ANSWERING: Duration = Duration::from_millis(500);

impl Direct<'_> {
    /// Whether the registration this host made is still on the unit, as the
    /// unit says.
    pub async fn standing(&self) -> Standing {
        let Some(registration) = self.state.registration() else {
            return Standing::Gone;
        };
        if let Some(status) = self.full_status().await {
            let standing = self.state.standing(&status);
            if standing != Standing::Unproven {
                return standing;
            }
        }
        // A unit without READ FULL STATUS, or a registration by libmpathpersist,
        // of which no nexus was learned. The key's absence proves that it is
        // gone; its presence proves nothing, for it may be another host's.
        let keys = self.read_now(InAction::ReadKeys).await;
        match keys.and_then(|data| KeyList::parse(&data).ok()) {
            // A list that was cut off proves nothing either.
            Some(list)
                if !list.keys.contains(&registration.key)
                    && list.keys.len() * 8 == list.additional_length as usize =>
            {
                Standing::Gone
            }
            _ => Standing::Unproven,
        }
    }

    /// Whether `key` holds the reservation; `None` where that cannot be read.
    pub async fn holds(&self, key: ReservationKey) -> Option<bool> {
        let data = self.read_now(InAction::ReadReservation).await?;
        let reservation = ReservationData::parse(&data).ok()?.reservation;
        Some(reservation.is_some_and(|held| held.key == key))
    }

    async fn read_now(&self, action: InAction) -> Option<Vec<u8>> {
        let command = PrIn {
            action,
            allocation_length: super::STATUS_LENGTH,
        };
        let answer = crate::engine::read::read(self.paths, 0, command, self.until).await;
        answer.outcome.is_good().then_some(answer.outcome.data)
    }

    /// Registers paths that were out of reach or not there when the registration
    /// was made. multipathd does it for those that it saw go and return; not
    /// for one that came up before multipathd had been told, or whose absence
    /// was too short for its checker.
    ///
    /// Not those that are `settled`, and only paths that were never given the
    /// key: where it is missing from one that had it, somebody took it away.
    /// Returns those that are not to be tried again.
    pub async fn register_newcomers(&mut self, settled: &[PathId]) -> Vec<PathId> {
        let Some(registration) = self.state.registration() else {
            return Vec::new();
        };
        let key = registration.key;
        let mut new = Vec::new();
        for (index, path) in self.paths.iter().enumerate() {
            let waits = !settled.contains(&path.id) && !self.state.was_given(&path.id, key);
            if waits && self.answers(path).await {
                new.push(index);
            }
        }
        if new.is_empty() {
            return Vec::new();
        }
        let Some(before) = self.full_status().await else {
            return self.ids(&new).cloned().collect();
        };
        if self.state.standing(&before) != Standing::Ours {
            return self.ids(&new).cloned().collect();
        }
        let command = PrOut::register(ReservationKey::ZERO, key, registration.flags);
        let mut status = Some(before);
        let (mut put, mut odd) = (Vec::new(), Vec::new());
        for index in new {
            let path = &self.paths[index];
            match self.send(path, &command, Tell::Nobody, 1).await {
                Ok(outcome) if outcome.is_good() => {
                    tracing::info!(path = %path.id, %key, "registered a path that came later");
                    put.push(index);
                    self.learn(index, key, &mut status).await;
                }
                // It has a key: multipathd's, which is ours, or another.
                Ok(outcome) => {
                    tracing::debug!(path = %path.id, %outcome, "path left as it is");
                    odd.push(path.id.clone());
                }
                Err(error) => tracing::debug!(path = %path.id, %error, "path not reached"),
            }
        }
        let Some(first) = put.first() else { return odd };
        // Raced by a PREEMPT: what was put after it must go again.
        let first = self.paths[*first].id.clone();
        let preempted = status
            .as_ref()
            .is_some_and(|status| self.state.has_lost(key, &first, status));
        if preempted {
            tracing::warn!(%key, "preempted while registering a path; it is taken back");
            self.unregister(&put, key).await;
            self.state.fenced();
            return odd;
        }
        for index in put {
            self.state.carries(&self.paths[index].id, key);
        }
        odd
    }

    async fn answers(&self, path: &Path) -> bool {
        let until = self.until.min(Instant::now() + ANSWERING);
        let answer = path.test_unit_ready(until).await;
        answer.is_ok_and(|outcome| {
            !outcome
                .sense_code()
                .is_some_and(SenseCode::is_port_unusable)
        })
    }

    /// A path that came up while the client's key was being removed may have
    /// been registered by multipathd, which had not been told yet.
    pub fn owe_newcomers(&mut self, known: &[PathId], key: ReservationKey) {
        for path in self.paths {
            if !known.contains(&path.id) {
                self.state.owe(&path.id, key);
            }
        }
    }
}
