//! What the actor of a unit has to remember beyond its own end.

use super::state::LunState;
use super::state::record::Record;
use crate::device::identity::Wwid;
use crate::journal::{Keeper, NotSaved};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// A slow disk is waited for this long; then work goes on, and says so.
const PATIENCE: Duration = Duration::from_secs(1);

/// One unit's page of the journal; blank without a journal.
#[derive(Debug, Default)]
pub(super) struct Notebook {
    keeper: Option<Arc<Keeper>>,
    wwid: String,
    /// What was handed to the keeper last.
    written: Mutex<Record>,
    /// It did not get to the disk.
    failed: Arc<AtomicBool>,
}

impl Notebook {
    /// The page of this unit, with what is on it.
    pub(super) fn new(keeper: Option<Arc<Keeper>>, wwid: &Wwid, written: Record) -> Self {
        Notebook {
            keeper,
            wwid: wwid.to_string(),
            written: Mutex::new(written),
            failed: Arc::default(),
        }
    }

    /// Writes the state down; returns when it is on the disk, or the disk takes
    /// too long or fails: that keeps nobody from his work.
    pub(super) async fn note(&self, state: &LunState) {
        if let Some(saving) = self.submit(state)
            && timeout(PATIENCE, saving).await.is_err()
        {
            tracing::warn!(wwid = %self.wwid, "the journal's disk is slow; going on");
        }
    }

    /// Writes the state down, soon.
    pub(super) fn keep(&self, state: &LunState) {
        if let Some(saving) = self.submit(state) {
            tokio::spawn(saving);
        }
    }

    /// `None` where there is nothing new to write.
    fn submit(&self, state: &LunState) -> Option<impl Future<Output = ()> + Send + use<>> {
        let keeper = self.keeper.as_ref()?;
        let record = Record::from(state);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = self.failed.swap(false, Ordering::Relaxed);
        if *written == record && !failed {
            return None;
        }
        // A record is plain data, which JSON has a form for.
        let value = serde_json::to_value(&record).ok()?;
        let blank = record == Record::default();
        *written = record;
        let (saved, removed) = match blank {
            false => (Some(keeper.save(&self.wwid, value)), None),
            true => (None, Some(keeper.remove(&self.wwid))),
        };
        let failed = Arc::clone(&self.failed);
        Some(async move {
            let result: Result<(), NotSaved> = match (saved, removed) {
                (Some(saved), _) => saved.await,
                (None, Some(removed)) => removed.await,
                (None, None) => Ok(()),
            };
            if result.is_err() {
                // The keeper has logged it; it is tried again with the next look.
                failed.store(true, Ordering::Relaxed);
            }
        })
    }
}
