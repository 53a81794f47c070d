//! A registration that somebody else on this host made, with the key that the
//! administrator has configured.

use super::{Direct, Tell};
use crate::lun::state::Registration;
use crate::scsi::PrOut;

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
}
