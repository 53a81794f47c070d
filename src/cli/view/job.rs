//! A change of a unit that reservd was asked for.

use super::properties::{Mistake, Properties};
use serde::Serialize;

/// One change.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Job {
    /// Its object on the bus; it is kept for a minute.
    pub object: String,
    /// The method, such as `Register`.
    pub verb: String,
    /// The unit's object.
    pub device: Option<String>,
    /// `done`, `planned` (nothing was changed) or `running`.
    pub state: String,
    /// The reason that was given.
    pub reason: Option<String>,
    /// What was done, or would be.
    pub steps: Vec<Step>,
}

/// One step of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Step {
    /// The command, in hexadecimal digits.
    pub cdb: Option<String>,
    /// The path it goes to first.
    pub path: Option<String>,
    /// In words.
    pub what: String,
    /// What somebody may lose by it.
    pub risk: Option<String>,
}

impl Job {
    /// From its properties.
    ///
    /// # Errors
    /// [`Mistake`]
    pub fn read(object: &str, mut from: Properties) -> Result<Self, Mistake> {
        let steps = from.rows("Steps")?.into_iter().map(Step::read);
        Ok(Job {
            object: object.to_owned(),
            verb: from.take("Verb")?,
            device: from.object("Device")?,
            state: from.take("State")?,
            reason: from.text("Reason")?,
            steps: steps.collect::<Result<_, _>>()?,
        })
    }
}

impl Step {
    fn read(mut from: Properties) -> Result<Self, Mistake> {
        Ok(Step {
            cdb: from.text("cdb")?,
            path: from.text("path")?,
            what: from.take("what")?,
            risk: from.text("risk")?,
        })
    }
}
