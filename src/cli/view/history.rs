//! What happened to a unit.

use super::properties::{Mistake, Properties};
use serde::Serialize;

/// One event.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Event {
    /// In microseconds since 1970.
    pub time_usec: u64,
    /// `command`, `state`, `registrations`, `reservation`, `preempted`,
    /// `repaired`, `refused` or `conflict`.
    pub event: String,
    /// In words.
    pub text: String,
}

impl Event {
    /// From a row of the method History.
    ///
    /// # Errors
    /// [`Mistake`]
    pub fn read(mut from: Properties) -> Result<Self, Mistake> {
        Ok(Event {
            time_usec: from.take("time")?,
            event: from.take("event")?,
            text: from.take("text")?,
        })
    }
}
