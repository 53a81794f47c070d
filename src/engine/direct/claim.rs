//! A registration that somebody else on this host made, with the key that the
//! administrator has configured.

use super::{Direct, Tell};
use crate::lun::state::Registration;
use crate::scsi::pr::KeyList;
use crate::scsi::{InAction, PrOut, ReservationKey};

impl Direct<'_> {
    /// Takes the configured registration in hand, where paths of ours have it:
    /// REGISTER from that key to itself succeeds on those only, and makes none.
    /// It steps PRGENERATION, so it is tried only where the key is on the unit
    /// at all. True where some path has it.
    pub async fn claim(&mut self, registration: Registration) -> bool {
        let Registration { key, flags } = registration;
        let Some(before) = self.full_status().await else {
            return false;
        };
        if before.descriptors.iter().all(|row| row.key != key) {
            return false;
        }
        let command = PrOut::register(key, key, flags);
        let mut on = Vec::new();
        for (index, path) in self.paths.iter().enumerate() {
            let left = self.paths.len() - index;
            match self.send(path, &command, Tell::Nobody, left).await {
                Ok(outcome) if outcome.is_good() => on.push(path.id.clone()),
                end => tracing::debug!(path = %path.id, ?end, "not registered here"),
            }
        }
        if on.is_empty() {
            return false;
        }
        self.state.claimed(registration, &on);
        if let Some(after) = self.full_status().await {
            self.state.learn_all(on.len() as u32, key, &before, &after);
        }
        tracing::info!(%key, paths = on.len(), "the configured key is registered here: paths \
            that lack it get it");
        true
    }

    /// How many nexuses have this key, whosever they are; `None` where that
    /// cannot be told for certain.
    pub async fn nexuses_with(&self, key: ReservationKey) -> Option<usize> {
        if let Some(status) = self.full_status().await {
            let rows = status.descriptors.iter().filter(|row| row.key == key);
            return status.complete.then(|| rows.count());
        }
        let data = self.read_now(InAction::ReadKeys, u16::MAX).await?;
        let list = KeyList::parse(&data).ok()?;
        let complete = list.keys.len() * 8 == list.additional_length as usize;
        complete.then(|| list.keys.iter().filter(|listed| **listed == key).count())
    }
}
