//! A connection to a helper socket.

use super::properties::{Mistake, Properties};
use serde::Serialize;

/// One client. What is not there is null.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Client {
    /// Its object on the bus.
    pub object: String,
    /// The process that connected.
    pub pid: Option<u32>,
    /// That process's user.
    pub uid: u32,
    /// That process's systemd unit.
    pub unit: Option<String>,
    /// Its virtual machine.
    pub machine: Option<String>,
    /// The socket it came by.
    pub socket: Option<String>,
    /// Since when, in microseconds since 1970.
    pub connected_usec: Option<u64>,
    /// Requests answered.
    pub commands: u64,
    /// How many of them ended in RESERVATION CONFLICT.
    pub conflicts: u64,
    /// The last one, and how it ended.
    pub last_command: Option<String>,
    /// The objects of the units it has used.
    pub devices: Vec<String>,
}

impl Client {
    /// From its properties.
    ///
    /// # Errors
    /// [`Mistake`]
    pub fn read(object: &str, mut from: Properties) -> Result<Self, Mistake> {
        let pid: u32 = from.take("Pid")?;
        Ok(Client {
            object: object.to_owned(),
            pid: Some(pid).filter(|pid| *pid > 0),
            uid: from.take("Uid")?,
            unit: from.text("Unit")?,
            machine: from.text("Machine")?,
            socket: from.text("Socket")?,
            connected_usec: from.time("ConnectedUSec")?,
            commands: from.take("Commands")?,
            conflicts: from.take("Conflicts")?,
            last_command: from.text("LastCommand")?,
            devices: from.objects("Devices")?,
        })
    }

    /// The number at the end of its object.
    pub fn number(&self) -> u64 {
        let last = self.object.rsplit('/').next();
        last.and_then(|last| last.parse().ok()).unwrap_or(u64::MAX)
    }

    /// Its machine, or else its process.
    pub fn label(&self) -> String {
        match (&self.machine, self.pid) {
            (Some(machine), _) => machine.clone(),
            (None, Some(pid)) => format!("process {pid}"),
            (None, None) => "unknown process".to_owned(),
        }
    }
}
