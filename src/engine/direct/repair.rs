//! Rounds of [`plan`](crate::lun::plan), carried out.

use super::{Direct, Tell, send_by};
use crate::device::TransportError;
use crate::engine::Path;
use crate::engine::path::Late;
use crate::lun::plan::step::{Answer, Register, Step};
use crate::lun::state::{LunState, PathId};
use crate::scsi::pr::{FullStatus, KeyList, ReservationData};
use crate::scsi::{InAction, PrIn, PrOut, ReservationKey, SenseCode};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A path that answers nothing for this long counts as away.
const ANSWERING: Duration = Duration::from_millis(500);
/// A command that has not come back yet is not waited for longer.
const QUIET: Duration = Duration::from_millis(100);
/// A path gets this long for a REGISTER: the next client waits behind it.
const REGISTERING: Duration = Duration::from_secs(2);

impl Direct<'_> {
    /// Does what a round asks for; what is to be written down is its caller's.
    pub async fn carry_out(&self, step: &Step) -> Answer {
        match step {
            Step::ReadStatus => self.read_registrations().await,
            Step::Register(register) => self.register_one(register).await,
            Step::Note | Step::End(_) => Answer::Noted,
        }
    }

    /// The paths that can be written to. Those that nothing is known to be
    /// missing on are not bothered.
    pub async fn usable(&self) -> Vec<PathId> {
        let until = self.until.min(Instant::now() + ANSWERING);
        let mut asked = JoinSet::new();
        for (index, path) in self.paths.iter().enumerate() {
            let (path, wants) = (path.clone(), self.state.wants(&path.id));
            asked.spawn(async move { (index, !wants || is_usable(&path, until).await) });
        }
        let mut usable = Vec::new();
        while let Some(end) = asked.join_next().await {
            if let Ok((index, true)) = end {
                usable.push(index);
            }
        }
        usable.sort_unstable();
        self.ids(&usable).cloned().collect()
    }

    /// The registrations as they are now; `None` where they cannot be read.
    pub async fn registrations(&self) -> Option<FullStatus> {
        self.full_status().await
    }

    async fn read_registrations(&self) -> Answer {
        if let Some(status) = self.full_status().await {
            return Answer::Status(Some(status));
        }
        // A unit without READ FULL STATUS: the key's absence proves that it is
        // gone; its presence proves nothing, for it may be another host's.
        let keys = self
            .read_now(InAction::ReadKeys, super::STATUS_LENGTH)
            .await;
        let registration = self.state.registration();
        match (
            keys.and_then(|data| KeyList::parse(&data).ok()),
            registration,
        ) {
            // A list that was cut off proves nothing either.
            (Some(list), Some(made))
                if !list.keys.contains(&made.key)
                    && list.keys.len() * 8 == list.additional_length as usize =>
            {
                Answer::Absent
            }
            _ => Answer::Status(None),
        }
    }

    async fn register_one(&self, register: &Register) -> Answer {
        let Register {
            path: id,
            from,
            to,
            flags,
        } = register;
        let Some(path) = self.paths.iter().find(|path| path.id == *id) else {
            return Answer::Failed;
        };
        let mut flags = *flags;
        if to.is_zero() {
            // Without the bit it would switch off every host's APTPL.
            flags.aptpl = self.persist_active().await;
        }
        let command = PrOut::register(*from, *to, flags);
        let until = self.until.min(Instant::now() + REGISTERING);
        let end = send_by(path, &command, Tell::Nobody, until).await;
        let answer = match &end {
            Ok(outcome) if outcome.is_good() => Answer::Good,
            Ok(outcome) if outcome.is_conflict() => Answer::Conflict,
            Err(TransportError::Unknown(_)) => Answer::Unknown,
            Ok(_) | Err(TransportError::NotSent(_)) => Answer::Failed,
        };
        match answer {
            Answer::Good => {
                tracing::info!(path = %id, %from, %to, "path brought in line");
            }
            _ => tracing::debug!(path = %id, %from, %to, ?end, "path left as it is"),
        }
        answer
    }

    /// Whether `key` holds the reservation; `None` where that cannot be read.
    pub async fn holds(&self, key: ReservationKey) -> Option<bool> {
        let held = self.reservation().await?.reservation;
        Some(held.is_some_and(|held| held.key == key))
    }

    /// PRGENERATION as it is now; `None` where it cannot be read.
    pub async fn generation(&self) -> Option<u32> {
        Some(self.reservation().await?.generation)
    }

    /// PRGENERATION and the reservation as they are now; `None` where they cannot
    /// be read.
    pub async fn reservation(&self) -> Option<ReservationData> {
        let length = ReservationData::LENGTH;
        let data = self.read_now(InAction::ReadReservation, length).await?;
        ReservationData::parse(&data).ok()
    }

    /// The registered keys, from a unit that may know no more of them; `None`
    /// where they cannot be read.
    pub async fn keys(&self) -> Option<KeyList> {
        let data = self.read_now(InAction::ReadKeys, u16::MAX).await?;
        KeyList::parse(&data).ok()
    }

    pub(super) async fn read_now(
        &self,
        action: InAction,
        allocation_length: u16,
    ) -> Option<Vec<u8>> {
        let command = PrIn {
            action,
            allocation_length,
        };
        let answer = crate::engine::read::read(self.paths, 0, command, self.until).await;
        answer.outcome.is_good().then_some(answer.outcome.data)
    }

    /// A command that everybody had given up on has ended after all. A round is
    /// to follow.
    pub fn late(state: &mut LunState, late: &Late) {
        let Late {
            path,
            command,
            result,
        } = late;
        tracing::warn!(%path, action = %command.action, ?result, "a command ended late");
        if !command.action.registers() {
            return;
        }
        let target = command.parameters.service_action_key;
        let current = state.registration().map(|registration| registration.key);
        match current == Some(target) {
            true => state.disturb(path, false),
            false => state.owe(path, target),
        }
    }
}

/// It answers, and no command of ours hangs there.
async fn is_usable(path: &Path, until: Instant) -> bool {
    if path.quiet(Instant::now() + QUIET).await.is_err() {
        return false;
    }
    let answer = path.test_unit_ready(until).await;
    answer.is_ok_and(|outcome| {
        !outcome
            .sense_code()
            .is_some_and(SenseCode::is_port_unusable)
    })
}
