//! RESERVE and RELEASE, where any of our nexuses may be the holder.

use super::{Direct, Tell};
use crate::device::TransportError;
use crate::scsi::pr::FullStatus;
use crate::scsi::{OutAction, Outcome, PrOut, ReservationKey, ScopeType, SenseCode, Status};
use tokio::time::{Duration, Instant};

/// Who holds the reservation that a command of ours is about.
#[derive(Debug)]
enum Holder {
    /// A nexus proven to be our path with this index, or one we have lost.
    Ours(Option<usize>),
    /// A nexus with our key that is not proven to be ours.
    Unproven,
    /// Somebody else, or nobody.
    Other,
}

impl Direct<'_> {
    /// Reserves through the first path that is let. Where every path conflicts
    /// because another of our own nexuses already holds the very reservation,
    /// the client has what it asked for.
    pub(super) async fn reserve(&mut self, command: &PrOut) -> Outcome {
        let outcome = self.on_one_path(command).await.outcome;
        if outcome.is_good() || !self.may_hold_already(&outcome) {
            return outcome;
        }
        let key = command.parameters.key;
        let status = match self.status_or_attention().await {
            Ok(Some(status)) => status,
            Ok(None) => return outcome,
            // Why it conflicts: the client was fenced and is to hear of it.
            Err(attention) => return attention,
        };
        match self.holder(&status, key, command.scope_type) {
            Holder::Ours(_) => {
                let holder_only = command
                    .scope_type
                    .kind()
                    .is_some_and(|kind| kind.is_holder_only());
                if !holder_only {
                    return Outcome::good(Vec::new());
                }
                // Registration gives no access here: the holder must be a live path.
                match self.take_over(&status, key, command.scope_type).await {
                    Some(_) => Outcome::good(Vec::new()),
                    None => outcome,
                }
            }
            Holder::Unproven | Holder::Other => outcome,
        }
    }

    /// A conflict, or an unknown fate that may have been success.
    fn may_hold_already(&self, outcome: &Outcome) -> bool {
        outcome.is_conflict() || outcome.sense_code() == Some(SenseCode::TIMEOUT_DURING_PROCESSING)
    }

    /// Releases through every path, since the unit only listens to the holder
    /// and says GOOD to the others. If the holder is a path we have lost, the
    /// reservation is first taken over by a live one.
    pub(super) async fn release(&mut self, command: &PrOut) -> Outcome {
        let key = command.parameters.key;
        let mut good = None;
        let mut conflict = None;
        let mut lost = None;
        for (index, path) in self.paths.iter().enumerate() {
            let tell = match (&good, &conflict) {
                (None, None) => Tell::Client,
                _ => Tell::Nobody,
            };
            match self
                .send(path, command, tell, self.paths.len() - index)
                .await
            {
                Ok(outcome) if outcome.is_good() => good = Some(outcome),
                Ok(outcome) if outcome.is_conflict() => conflict = Some(outcome),
                Ok(outcome) => return outcome,
                Err(error) => lost = Some(error),
            }
        }
        let outcome = match (good, conflict, &lost) {
            (Some(good), _, None) => {
                self.drain_others(None).await;
                return good;
            }
            (Some(good), _, Some(_)) => good,
            (None, _, Some(error @ TransportError::Unknown(_))) => return error.answer(),
            (None, Some(conflict), _) => return conflict,
            (None, None, Some(error)) => return error.answer(),
            (None, None, None) => {
                return TransportError::not_sent(SenseCode::NO_RESPONSE_TO_SELECTION).answer();
            }
        };

        // Some path could not be asked: is it the holder?
        let Some(status) = self.full_status().await else {
            return Outcome::status(Status::Busy);
        };
        match self.holder(&status, key, command.scope_type) {
            Holder::Other => {
                self.drain_others(None).await;
                outcome
            }
            Holder::Unproven => Outcome::status(Status::Busy),
            Holder::Ours(_) => {
                let Some(by) = self.take_over(&status, key, command.scope_type).await else {
                    return Outcome::status(Status::Busy);
                };
                match self.send(&self.paths[by], command, Tell::Nobody, 1).await {
                    Ok(outcome) => {
                        self.drain_others(Some(by)).await;
                        outcome
                    }
                    Err(error) => error.answer(),
                }
            }
        }
    }

    /// Before the client's key goes from every path we can reach: if the path
    /// that holds its reservation is one we cannot, take the reservation over,
    /// or it would stay behind with a nexus nobody can speak for.
    pub(super) async fn rescue_before_unregistering(&mut self, key: ReservationKey) {
        let Some(status) = self.full_status().await else {
            return;
        };
        let held = status.descriptors.iter().find_map(|row| row.holder);
        let Some(scope_type) = held else { return };
        if scope_type
            .kind()
            .is_none_or(|kind| kind.is_all_registrants())
        {
            return;
        }
        if let Holder::Ours(holder) = self.holder(&status, key, scope_type) {
            if let Some(index) = holder {
                let until = (Instant::now() + Duration::from_secs(1)).min(self.until);
                if self.paths[index].test_unit_ready(until).await.is_ok() {
                    return;
                }
            }
            self.take_over(&status, key, scope_type).await;
        }
    }

    fn holder(&self, status: &FullStatus, key: ReservationKey, scope_type: ScopeType) -> Holder {
        let row = status
            .descriptors
            .iter()
            .find(|row| row.holder == Some(scope_type) && row.key == key);
        let Some(row) = row else {
            return Holder::Other;
        };
        match self.state.path_of(&row.nexus) {
            Some(id) => Holder::Ours(self.paths.iter().position(|path| path.id == *id)),
            None => Holder::Unproven,
        }
    }

    /// Moves our reservation to a live path by PREEMPT of our own key, and puts
    /// our other paths back. Only where every registration with that key is
    /// proven ours: the same key may be another host's. Returns the new holder.
    async fn take_over(
        &mut self,
        status: &FullStatus,
        key: ReservationKey,
        scope_type: ScopeType,
    ) -> Option<usize> {
        if !self.state.owns_all(key, status) {
            tracing::warn!(%key, "our reservation is held by a lost path, and another nexus has \
                the same key: not taken over");
            return None;
        }
        tracing::info!(%key, "taking our reservation over from a lost path");
        let command = PrOut::basic(OutAction::Preempt, scope_type, key, key);
        let end = self.preempt_own(&command).await;
        end.by
    }
}
