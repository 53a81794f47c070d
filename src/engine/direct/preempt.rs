//! PREEMPT, PREEMPT AND ABORT and CLEAR.

use super::suspend::Hold;
use super::{Direct, OnePath, Tell};
use crate::lun::state::Loss;
use crate::scsi::pr::{Capabilities, FullStatus, RegisterFlags};
use crate::scsi::{InAction, Outcome, PrIn, PrOut, ReservationKey};

impl Direct<'_> {
    /// Preempts through the first path that is let. A PREEMPT of the client's
    /// own key, or of all registrants, also removes our other paths: they are
    /// put back, with the map held still so that no I/O meets the gap.
    pub(super) async fn preempt(&mut self, command: &PrOut) -> Outcome {
        let victim = command.parameters.service_action_key;
        if victim == command.parameters.key || victim.is_zero() {
            return self.preempt_own(command).await.outcome;
        }
        let end = self.on_one_path(command).await;
        if end.outcome.is_good() {
            self.drain_others(end.by).await;
        }
        end.outcome
    }

    /// Clears through the first path that is let.
    pub(super) async fn clear(&mut self, command: &PrOut) -> Outcome {
        let end = self.on_one_path(command).await;
        if end.outcome.is_good() {
            self.state.cleared();
            self.drain_others(end.by).await;
        }
        end.outcome
    }

    pub(super) async fn preempt_own(&mut self, command: &PrOut) -> OnePath {
        let key = command.parameters.key;
        let flags = self.recorded_flags(key).await;
        let hold = Hold::take(self.map).await;
        let end = self.on_one_path(command).await;
        if let Some(by) = end.by {
            self.put_back_others(by, key, flags).await;
        }
        hold.release().await;
        if end.outcome.is_good() {
            self.drain_others(end.by).await;
        }
        end
    }

    /// Registers our other paths again after a PREEMPT through path `by`.
    async fn put_back_others(&mut self, by: usize, key: ReservationKey, flags: RegisterFlags) {
        // Without a reservation the standard lets the sender go as well; and a
        // fence from outside may have come in between. Either way: no key of
        // ours on the sender, none for its siblings.
        let Some(status) = self.full_status().await else {
            tracing::warn!(%key, "registrations cannot be read; our other paths stay unregistered");
            return;
        };
        if !self.sender_registered(by, key, &status) {
            tracing::info!(%key, "the PREEMPT removed its sender too");
            self.state.lose(Loss::Fenced, &[]);
            return;
        }
        let command = PrOut::register(ReservationKey::ZERO, key, flags);
        let mut put = vec![by];
        for (index, path) in self.paths.iter().enumerate() {
            if index == by {
                continue;
            }
            match self
                .send(path, &command, Tell::Nobody, self.paths.len())
                .await
            {
                Ok(outcome) if outcome.is_good() => put.push(index),
                // It still has a key: not among those the PREEMPT removed.
                Ok(outcome) if outcome.is_conflict() => {}
                Ok(outcome) => {
                    tracing::warn!(path = %path.id, %key, %outcome, "path not registered again");
                }
                Err(error) => {
                    tracing::warn!(path = %path.id, %key, %error, "path not registered again");
                }
            }
        }
        for index in &put {
            self.state.carries(&self.paths[*index].id, key);
        }
        if put.len() > 1 {
            let after = self.full_status().await;
            let sender_gone = after
                .as_ref()
                .is_some_and(|after| !self.sender_registered(by, key, after));
            if sender_gone {
                tracing::warn!(%key, "preempted while putting paths back; they are taken off again");
                self.unregister(&put, key).await;
                self.state.lose(Loss::Fenced, &[]);
                return;
            }
            if let Some(after) = after {
                // Paths that could not be put back lack it by our own doing.
                self.state.saw(&after);
            }
        }
    }

    /// Right after a PREEMPT of `key`, a registration with it is the sender's,
    /// where its nexus is not known better.
    fn sender_registered(&self, by: usize, key: ReservationKey, status: &FullStatus) -> bool {
        match self.state.nexus(&self.paths[by].id) {
            Some(nexus) => status.row(nexus).is_some_and(|row| row.key == key),
            None => status.descriptors.iter().any(|row| row.key == key),
        }
    }

    /// How `key` was registered: as recorded, or else with APTPL as the unit
    /// has it now, since one registration without it would switch it off.
    async fn recorded_flags(&self, key: ReservationKey) -> RegisterFlags {
        match self.state.registration() {
            Some(registration) if registration.key == key => registration.flags,
            _ => RegisterFlags {
                aptpl: self.persist_active().await,
                ..Default::default()
            },
        }
    }

    pub(super) async fn persist_active(&self) -> bool {
        let command = PrIn {
            action: InAction::ReportCapabilities,
            allocation_length: Capabilities::LENGTH,
        };
        let answer = crate::engine::read::read(self.paths, 0, command, self.until).await;
        answer.outcome.is_good()
            && Capabilities::parse(&answer.outcome.data).is_ok_and(|it| it.persist_active)
    }
}
