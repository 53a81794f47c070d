//! Commands that another engine has run on the whole map.

use super::Direct;
use crate::scsi::pr::FullStatus;
use crate::scsi::{OutAction, PrOut, ReservationKey, SenseCode};
use std::time::Duration;
use tokio::time::Instant;

/// A path that answers nothing for this long counts as away.
const ANSWERING: Duration = Duration::from_millis(500);

impl Direct<'_> {
    /// Takes a command that ended GOOD into account as if it had been ours: what
    /// is registered, which paths that did not answer may carry an old key, and
    /// the unit attentions that it raised on our own paths.
    ///
    /// The other engine registers all paths at once, so the registrations from
    /// `before` show at best which nexuses are ours, not which path is which.
    pub async fn adopt(&mut self, command: &PrOut, before: Option<&FullStatus>) {
        match command.action {
            OutAction::Register | OutAction::RegisterAndIgnore => {
                self.adopt_registration(command, before).await;
            }
            OutAction::Clear => {
                self.state.cleared();
                self.drain_others(None).await;
            }
            OutAction::Release | OutAction::Preempt | OutAction::PreemptAndAbort => {
                self.drain_others(None).await;
            }
            OutAction::Reserve | OutAction::RegisterAndMove | OutAction::ReplaceLostReservation => {
            }
        }
    }

    async fn adopt_registration(&mut self, command: &PrOut, before: Option<&FullStatus>) {
        let from = match (command.action, self.state.registration()) {
            (OutAction::Register, _) => command.parameters.key,
            (_, Some(registration)) => registration.key,
            (_, None) => ReservationKey::ZERO,
        };
        let to = command.parameters.service_action_key;
        // Dead paths do not fail the other engine's command, and keep their key.
        let mut on = Vec::new();
        for path in self.paths {
            let answer = path.test_unit_ready(Instant::now() + ANSWERING).await;
            let usable = answer.as_ref().is_ok_and(|outcome| {
                !outcome
                    .sense_code()
                    .is_some_and(SenseCode::is_port_unusable)
            });
            if usable {
                on.push(path.id.clone());
            } else {
                tracing::warn!(path = %path.id, ?answer, key = %to,
                    "path not reached by a registration");
                if from != to {
                    self.state.owe(&path.id, from);
                }
            }
        }
        let present: Vec<_> = self.paths.iter().map(|path| path.id.clone()).collect();
        self.state
            .registered(to, command.parameters.flags, &on, &present);
        if to.is_zero() {
            self.drain_others(None).await;
        } else if let (Some(before), Some(after)) = (before, self.full_status().await) {
            self.state.learn_all(on.len() as u32, to, before, &after);
        }
    }
}
