//! PERSISTENT RESERVE OUT on a map, path by path over SG_IO.
//!
//! The paths of a map are separate nexuses to the unit and one initiator to the
//! client. So a registration goes to every path ([`register`]), a reservation
//! is ours if any of our nexuses holds it ([`reserve`]), and a PREEMPT of our
//! own key must not lose our other paths ([`preempt`]).
//!
//! Two rules hold everywhere. Only keys that the client names or that this host
//! is known to have set are ever replaced, and by REGISTER, which fails where
//! somebody else's key stands: never by REGISTER AND IGNORE EXISTING KEY. And
//! after writing to several paths the registrations are read again: where our
//! key was taken away meanwhile, what was just put is removed.

mod adopt;
mod claim;
mod preempt;
mod register;
mod repair;
mod reserve;
mod suspend;

use super::Path;
use crate::device::TransportError;
use crate::device::identity::DeviceNumber;
use crate::lun::state::{LunState, PathId};
use crate::scsi::pr::{FullStatus, RegisterFlags};
use crate::scsi::{InAction, OutAction, Outcome, PrIn, PrOut, SenseCode, Status};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Unit attentions, and answers that say "later", are met this often on a path.
const RETRIES: usize = 6;
/// Pause after BUSY and TASK SET FULL.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// Allocation length that suffices for all but very large clusters, in bytes.
const STATUS_LENGTH: u16 = 8192;

/// One command's turn on a map.
#[derive(Debug)]
pub struct Direct<'a> {
    /// The paths, the most promising first.
    pub paths: &'a [Path],
    /// What we know of the unit, brought up to date by the command.
    pub state: &'a mut LunState,
    /// When the client stops waiting.
    pub until: Instant,
    /// The map to hold still while registrations are put back, if it is one.
    pub map: Option<DeviceNumber>,
}

impl Direct<'_> {
    /// Runs a client's command.
    pub async fn run(&mut self, command: &PrOut) -> Outcome {
        let outcome = self.dispatch(command).await;
        let event = outcome.sense_code();
        if event.is_some_and(SenseCode::is_reservation_event) {
            // The client hears of it now; its other paths need not say so too.
            self.drain_others(None).await;
        }
        outcome
    }

    async fn dispatch(&mut self, command: &PrOut) -> Outcome {
        match command.action {
            OutAction::Register | OutAction::RegisterAndIgnore => self.register(command).await,
            OutAction::Reserve => self.reserve(command).await,
            OutAction::Release => self.release(command).await,
            OutAction::Preempt | OutAction::PreemptAndAbort => self.preempt(command).await,
            OutAction::Clear => self.clear(command).await,
            OutAction::RegisterAndMove | OutAction::ReplaceLostReservation => {
                self.on_one_path(command).await.outcome
            }
        }
    }

    /// Sends a command through one path, within a fair share of the time left
    /// for `left` paths.
    async fn send(
        &self,
        path: &Path,
        command: &PrOut,
        tell: Tell,
        left: usize,
    ) -> Result<Outcome, TransportError> {
        let now = Instant::now();
        let share = self.until.saturating_duration_since(now) / left.max(1) as u32;
        send_by(path, command, tell, now + share).await
    }

    /// Sends a command that concerns the unit rather than a path: the first
    /// path to accept it decides. A conflict may only mean that this path is
    /// the odd one out, so the others are asked too.
    async fn on_one_path(&self, command: &PrOut) -> OnePath {
        let mut tell = Tell::Client;
        let mut conflict = None;
        let mut unknown = None;
        let mut failed = TransportError::not_sent(SenseCode::NO_RESPONSE_TO_SELECTION);
        for (index, path) in self.paths.iter().enumerate() {
            match self
                .send(path, command, tell, self.paths.len() - index)
                .await
            {
                Ok(outcome) if outcome.is_conflict() => {
                    tell = Tell::Nobody;
                    conflict = Some(outcome);
                }
                Ok(outcome) => {
                    let by = outcome.is_good().then_some(index);
                    return OnePath { outcome, by };
                }
                Err(error @ TransportError::Unknown(_)) => unknown = Some(error),
                Err(error) => failed = error,
            }
        }
        // Where a path swallowed the command, a conflict on the next may be its
        // effect: the client hears that its fate is unknown.
        let outcome = match (unknown, conflict) {
            (Some(error), _) => error.answer(),
            (None, Some(conflict)) => conflict,
            (None, None) => failed.answer(),
        };
        OnePath { outcome, by: None }
    }

    /// All registrations, from whichever path answers; `None` where the unit
    /// does not support READ FULL STATUS or no path answers.
    async fn full_status(&self) -> Option<FullStatus> {
        let mut answer = self.status_or_attention().await;
        for _ in 0..RETRIES {
            match answer {
                Ok(status) => return status,
                Err(_attention) => answer = self.status_or_attention().await,
            }
        }
        None
    }

    /// As [`Direct::full_status`], at the start of a client's command: a unit
    /// attention about reservations is the client's to hear first.
    ///
    /// # Errors
    /// That unit attention.
    async fn status_or_attention(&self) -> Result<Option<FullStatus>, Outcome> {
        let status = self.read_status(STATUS_LENGTH).await?;
        match status {
            Some(status) if !status.complete => self.read_status(u16::MAX).await,
            status => Ok(status),
        }
    }

    async fn read_status(&self, allocation_length: u16) -> Result<Option<FullStatus>, Outcome> {
        let command = PrIn {
            action: InAction::ReadFullStatus,
            allocation_length,
        };
        let outcome = super::read::read(self.paths, 0, command, self.until)
            .await
            .outcome;
        match outcome.sense_code() {
            Some(code) if code.is_reservation_event() => Err(outcome),
            _ if outcome.is_good() => Ok(FullStatus::parse(&outcome.data).ok()),
            _ => Ok(None),
        }
    }

    /// Takes the unit attentions that our own command raised on our other
    /// paths: a disk with one port would not raise them for its own initiator.
    async fn drain_others(&self, by: Option<usize>) {
        for (index, path) in self.paths.iter().enumerate() {
            if Some(index) != by {
                path.drain().await;
            }
        }
    }

    /// The flags to register with: the client's own, as recorded.
    fn flags(&self) -> RegisterFlags {
        self.state
            .registration()
            .map(|registration| registration.flags)
            .unwrap_or_default()
    }

    fn ids<'p>(&'p self, indexes: &'p [usize]) -> impl Iterator<Item = &'p PathId> {
        indexes.iter().map(|index| &self.paths[*index].id)
    }
}

/// Sends a command through one path, and again after unit attentions.
async fn send_by(
    path: &Path,
    command: &PrOut,
    tell: Tell,
    until: Instant,
) -> Result<Outcome, TransportError> {
    let mut outcome = path.write(command, until).await?;
    for _ in 0..RETRIES {
        match (outcome.status, outcome.sense_code()) {
            (_, Some(code)) if code.is_port_unusable() => {
                return Err(TransportError::not_sent(code));
            }
            (_, Some(code)) if tell == Tell::Client && code.is_reservation_event() => break,
            (_, Some(code)) if code.is_unit_attention() => {}
            (Status::Busy | Status::TaskSetFull, _) if tell == Tell::Nobody => {
                sleep(BUSY_PAUSE).await;
            }
            _ => break,
        }
        outcome = path.write(command, until).await?;
    }
    Ok(outcome)
}

/// Who hears of a unit attention about reservations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tell {
    /// The client, who must send its command again.
    Client,
    /// Nobody: the command is sent again at once.
    Nobody,
}

/// The end of a command that needed one path.
#[derive(Debug)]
struct OnePath {
    outcome: Outcome,
    /// Index of the path that brought GOOD.
    by: Option<usize>,
}
