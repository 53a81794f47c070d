//! REGISTER and REGISTER AND IGNORE EXISTING KEY on every path.

use super::{Direct, Tell};
use crate::device::TransportError;
use crate::lun::state::Loss;
use crate::scsi::pr::{FullStatus, RegisterFlags};
use crate::scsi::{OutAction, Outcome, PrOut, ReservationKey, SenseCode};

/// What became of the paths of one registration.
#[derive(Debug, Default)]
struct Tally {
    /// Accepted it.
    good: Vec<usize>,
    /// Answered with a conflict: another key, or none, stands there.
    odd: Vec<usize>,
    /// Could not be asked.
    lost: Vec<(usize, TransportError)>,
    /// Registrations as read first.
    before: Option<FullStatus>,
    /// Registrations as last read.
    status: Option<FullStatus>,
}

impl Direct<'_> {
    /// Registers, changes or removes the client's key on every usable path.
    ///
    /// The unit decides by the first path that accepts. Paths that are away do
    /// not fail the command: a key they may still carry is owed and taken off
    /// when they return.
    pub(super) async fn register(&mut self, command: &PrOut) -> Outcome {
        let ignore = command.action == OutAction::RegisterAndIgnore;
        let from = match (ignore, self.state.registration()) {
            (false, _) => command.parameters.key,
            (true, Some(registration)) => registration.key,
            (true, None) => ReservationKey::ZERO,
        };
        let to = command.parameters.service_action_key;
        if to.is_zero() {
            self.rescue_before_unregistering(from).await;
        }

        let tally = match self.register_all(command, to).await {
            Ok(tally) => tally,
            Err(outcome) => return outcome,
        };
        let flags = command.parameters.flags.without_spec_i_pt();
        let mut good = tally.good.clone();
        let mut converted = false;
        for index in tally.odd {
            if self.convert(index, from, to, flags).await {
                good.push(index);
                converted = true;
            } else if from.is_zero() && !ignore {
                // This path carries a key nobody told us of. The client said
                // that it was not registered: take back what was put, exactly.
                tracing::warn!(path = %self.paths[index].id, key = %to,
                    "a foreign key on one path; registration taken back");
                self.unregister(&good, to).await;
                return Outcome::conflict();
            } else if !to.is_zero() {
                tracing::warn!(path = %self.paths[index].id, key = %to,
                    "path keeps another key and stays unregistered");
            }
        }

        for (index, error) in &tally.lost {
            let path = &self.paths[*index].id;
            tracing::warn!(%path, %error, key = %to, "path not reached by a registration");
            if from != to {
                self.state.owe(path, from);
            }
        }
        let on: Vec<_> = self.ids(&good).cloned().collect();
        let present: Vec<_> = self.paths.iter().map(|path| path.id.clone()).collect();
        self.state.registered(to, flags, &on, &present);

        if to.is_zero() {
            self.drain_others(None).await;
        } else {
            let status = if converted {
                self.full_status().await
            } else {
                tally.status
            };
            if let (Some(before), Some(after)) = (&tally.before, &status) {
                self.state.learn_all(good.len() as u32, to, before, after);
            }
            self.undo_if_preempted(&good, to, status.as_ref()).await;
        }
        Outcome::good(Vec::new())
    }

    /// Sends the client's command through each path in turn.
    ///
    /// # Errors
    /// The outcome that ends it: nothing was registered anywhere.
    async fn register_all(
        &mut self,
        command: &PrOut,
        to: ReservationKey,
    ) -> Result<Tally, Outcome> {
        let claims_unregistered =
            command.action == OutAction::Register && command.parameters.key.is_zero();
        let mut sibling = command.clone();
        sibling.parameters.flags = command.parameters.flags.without_spec_i_pt();
        sibling.parameters.transport_ids.clear();

        let status = self.status_or_attention().await?;
        let mut tally = Tally {
            before: status.clone(),
            status,
            ..Default::default()
        };
        let mut conflict = None;
        for (index, path) in self.paths.iter().enumerate() {
            let (sent, tell) = match (tally.good.is_empty(), &conflict) {
                (true, None) => (command, Tell::Client),
                (true, Some(_)) => (command, Tell::Nobody),
                (false, _) => (&sibling, Tell::Nobody),
            };
            match self.send(path, sent, tell, self.paths.len() - index).await {
                Ok(outcome) if outcome.is_good() => {
                    tally.good.push(index);
                    self.learn(index, to, &mut tally.status).await;
                }
                Ok(outcome) if outcome.is_conflict() => {
                    if tally.good.is_empty() && claims_unregistered {
                        return Err(outcome);
                    }
                    tally.odd.push(index);
                    conflict = Some(outcome);
                }
                Ok(outcome) if tally.good.is_empty() => return Err(outcome),
                Ok(outcome) => {
                    tracing::warn!(path = %path.id, %outcome, "path refused a registration");
                    let code = outcome.sense_code();
                    let code = code.unwrap_or(SenseCode::COMMUNICATION_FAILURE);
                    tally.lost.push((index, TransportError::not_sent(code)));
                }
                Err(error) => tally.lost.push((index, error)),
            }
        }
        if tally.good.is_empty() {
            // A path that swallowed the command may make the others conflict.
            let swallowed = tally.lost.iter().find_map(|(_, error)| match error {
                TransportError::Unknown(_) => Some(error.answer()),
                TransportError::NotSent(_) => None,
            });
            let failed = tally.lost.last().map_or_else(
                || TransportError::not_sent(SenseCode::NO_RESPONSE_TO_SELECTION).answer(),
                |(_, error)| error.answer(),
            );
            return Err(swallowed.or(conflict).unwrap_or(failed));
        }
        Ok(tally)
    }

    /// Reads the registrations again and learns which nexus the path is.
    pub(super) async fn learn(
        &mut self,
        index: usize,
        key: ReservationKey,
        status: &mut Option<FullStatus>,
    ) {
        let Some(before) = status.take() else { return };
        *status = self.full_status().await;
        if let (false, Some(after)) = (key.is_zero(), &status) {
            self.state.learn(&self.paths[index].id, key, &before, after);
        }
    }

    /// Brings a path that conflicted to the key `to`, where it carries none or
    /// one that this host is known to have set. REGISTER names the key it
    /// replaces, so a foreign one is never overwritten.
    async fn convert(
        &self,
        index: usize,
        from: ReservationKey,
        to: ReservationKey,
        flags: RegisterFlags,
    ) -> bool {
        let path = &self.paths[index];
        let mut keys = self.state.old_keys(&path.id);
        keys.extend(
            self.state
                .registration()
                .map(|registration| registration.key),
        );
        if !to.is_zero() {
            keys.extend([ReservationKey::ZERO, to]);
        }
        keys.retain(|key| *key != from || key.is_zero());
        for key in keys {
            let command = PrOut::register(key, to, flags);
            match self.send(path, &command, Tell::Nobody, 1).await {
                Ok(outcome) if outcome.is_good() => {
                    tracing::info!(path = %path.id, from = %key, %to, "brought an odd path in line");
                    return true;
                }
                Ok(outcome) if outcome.is_conflict() => {}
                _ => return false,
            }
        }
        false
    }

    /// Removes `key` from these paths; owes it where that fails.
    pub(super) async fn unregister(&mut self, indexes: &[usize], key: ReservationKey) {
        let command = PrOut::register(key, ReservationKey::ZERO, self.flags());
        for index in indexes {
            let path = &self.paths[*index];
            match self.send(path, &command, Tell::Nobody, 1).await {
                Ok(outcome) if outcome.is_good() || outcome.is_conflict() => {
                    self.state.removed(&path.id, key);
                }
                _ => self.state.owe(&path.id, key),
            }
        }
    }

    /// Registrations were put on several paths, one after another. If one of
    /// them is gone already, somebody preempted our key in between, and those
    /// put after that must go too: fenced stays fenced.
    pub(super) async fn undo_if_preempted(
        &mut self,
        put: &[usize],
        key: ReservationKey,
        status: Option<&FullStatus>,
    ) -> bool {
        let Some(status) = status.filter(|status| status.complete) else {
            return false;
        };
        let gone = self
            .ids(put)
            .filter_map(|path| self.state.nexus(path))
            .any(|nexus| status.row(nexus).is_none_or(|row| row.key != key));
        if gone {
            tracing::warn!(%key, generation = status.generation,
                "preempted while registering; the registration is taken back");
            self.unregister(put, key).await;
            self.state.lose(Loss::Fenced, &[]);
        }
        gone
    }
}
