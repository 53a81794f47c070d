//! A path as the engines use it: a nexus whose commands run off the event loop,
//! each with a deadline, and never more than a few at a time.

use super::lane::{Lane, Overdue};
use crate::device::{Nexus, Transfer, TransportError};
use crate::lun::state::PathId;
use crate::scsi::{Outcome, PrIn, PrOut, SenseCode};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Commands that only read may run side by side on one path, this many.
const READERS: usize = 4;
/// The least time worth giving to a command.
const LEAST: Duration = Duration::from_millis(50);
const NEVER_SENT: TransportError = TransportError::not_sent(SenseCode::TIMEOUT_BEFORE_PROCESSING);
const STILL_OUT: TransportError = TransportError::unknown(SenseCode::TIMEOUT_DURING_PROCESSING);
/// TEST UNIT READY (SPC-4 6.47).
const TEST_UNIT_READY: [u8; 6] = [0; 6];

/// The threads of a path. A command that never returns keeps its own, so a hung
/// path holds a bounded number of them.
#[derive(Debug, Clone)]
struct Lanes {
    read: Lane,
    write: Lane,
    sense: Arc<LastSense>,
}

/// The sense code that a path last ended a command with.
#[derive(Debug, Default)]
struct LastSense(AtomicU32);

impl LastSense {
    fn note(&self, end: &Result<Outcome, TransportError>) {
        if let Some(code) = end.as_ref().ok().and_then(Outcome::sense_code) {
            let packed = u32::from_be_bytes([1, code.key, code.asc, code.ascq]);
            self.0.store(packed, Ordering::Relaxed);
        }
    }

    fn get(&self) -> Option<SenseCode> {
        match self.0.load(Ordering::Relaxed).to_be_bytes() {
            [0, ..] => None,
            [_, key, asc, ascq] => Some(SenseCode { key, asc, ascq }),
        }
    }
}

/// The lanes of a logical unit's paths; they outlive each look at the paths.
#[derive(Debug, Clone, Default)]
pub struct Gates(Arc<Mutex<HashMap<PathId, Lanes>>>);

impl Gates {
    fn of(&self, path: &PathId) -> Lanes {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lanes) = lanes.get(path) {
            return lanes.clone();
        }
        let made = Lanes {
            read: Lane::new(READERS),
            write: Lane::new(1),
            sense: Arc::default(),
        };
        lanes.insert(path.clone(), made.clone());
        made
    }
}

/// A PERSISTENT RESERVE OUT that ended after everybody had given up on it.
#[derive(Debug)]
pub struct Late {
    /// Where it was sent.
    pub path: PathId,
    /// What was sent.
    pub command: PrOut,
    /// How it ended.
    pub result: Result<Outcome, TransportError>,
}

/// A path to a logical unit.
#[derive(Debug, Clone)]
pub struct Path {
    /// Its name.
    pub id: PathId,
    /// Kernel name, `sdb`, where it is a disk.
    pub name: Option<Arc<str>>,
    /// False where the kernel fails its commands at once.
    pub ready: bool,
    nexus: Arc<dyn Nexus>,
    lanes: Lanes,
    late: mpsc::UnboundedSender<Late>,
}

impl Path {
    /// A path whose late results go to `late`. That channel is unbounded but
    /// holds at most one message for each path, by its lane.
    pub fn new(
        id: PathId,
        nexus: Arc<dyn Nexus>,
        gates: &Gates,
        late: mpsc::UnboundedSender<Late>,
    ) -> Self {
        Path {
            lanes: gates.of(&id),
            id,
            name: None,
            ready: true,
            nexus,
            late,
        }
    }

    /// The same, known to be this disk.
    #[must_use]
    pub fn of_disk(self, name: &str, ready: bool) -> Self {
        Path {
            name: Some(Arc::from(name)),
            ready,
            ..self
        }
    }

    /// The sense code that a command here last ended with.
    pub fn last_sense(&self) -> Option<SenseCode> {
        self.lanes.sense.get()
    }

    /// Sends a PERSISTENT RESERVE IN.
    ///
    /// # Errors
    /// [`TransportError`], also when `until` passes first.
    pub async fn read(&self, command: PrIn, until: Instant) -> Result<Outcome, TransportError> {
        let length = usize::from(command.allocation_length);
        self.run_reader(
            command.cdb().as_device_bytes().to_vec(),
            Transfer::In(length),
            until,
        )
        .await
    }

    /// Sends a TEST UNIT READY, which also takes a pending unit attention.
    ///
    /// # Errors
    /// [`TransportError`], also when `until` passes first.
    pub async fn test_unit_ready(&self, until: Instant) -> Result<Outcome, TransportError> {
        self.run_reader(TEST_UNIT_READY.to_vec(), Transfer::None, until)
            .await
    }

    /// Sends a PERSISTENT RESERVE OUT. One at a time on each path: where an
    /// earlier one never came back, this one is not sent.
    ///
    /// # Errors
    /// [`TransportError`], also when `until` passes first; the result is then
    /// reported as [`Late`] when it comes.
    pub async fn write(&self, command: &PrOut, until: Instant) -> Result<Outcome, TransportError> {
        let (cdb, parameters) = command.encode();
        let cdb = cdb.as_device_bytes().to_vec();
        self.run_writer(Some(command.clone()), cdb, parameters, until)
            .await
    }

    /// As [`Path::write`], but with the bytes as the client sent them, and never
    /// reported as [`Late`]: on a path of its own the client answers for what
    /// it sent.
    ///
    /// # Errors
    /// [`TransportError`], also when `until` passes first.
    pub async fn write_verbatim(
        &self,
        cdb: &[u8],
        parameters: Vec<u8>,
        until: Instant,
    ) -> Result<Outcome, TransportError> {
        self.run_writer(None, cdb.to_vec(), parameters, until).await
    }

    /// Waits until no PERSISTENT RESERVE OUT of ours is in flight here.
    ///
    /// # Errors
    /// [`TransportError::NotSent`] where one still is at `until`.
    pub async fn quiet(&self, until: Instant) -> Result<(), TransportError> {
        let nothing = || Ok(Outcome::good(Vec::new()));
        match self.lanes.write.run(nothing, until).await {
            Ok(_) => Ok(()),
            Err(_) => Err(NEVER_SENT),
        }
    }

    async fn run_reader(
        &self,
        cdb: Vec<u8>,
        data: Transfer<'static>,
        until: Instant,
    ) -> Result<Outcome, TransportError> {
        let nexus = Arc::clone(&self.nexus);
        let sense = Arc::clone(&self.lanes.sense);
        let work = move || {
            let end = nexus.execute(&cdb, data, remaining(until));
            sense.note(&end);
            end
        };
        match self.lanes.read.run(work, until).await {
            Ok(ended) => ended,
            Err(Overdue::NotStarted) => Err(NEVER_SENT),
            Err(Overdue::Running(_)) => Err(STILL_OUT),
        }
    }

    async fn run_writer(
        &self,
        reported: Option<PrOut>,
        cdb: Vec<u8>,
        parameters: Vec<u8>,
        until: Instant,
    ) -> Result<Outcome, TransportError> {
        let nexus = Arc::clone(&self.nexus);
        let sense = Arc::clone(&self.lanes.sense);
        let work = move || {
            let end = nexus.execute(&cdb, Transfer::Out(&parameters), remaining(until));
            sense.note(&end);
            end
        };
        let pending = match self.lanes.write.run(work, until).await {
            Ok(ended) => return ended,
            Err(Overdue::NotStarted) => return Err(NEVER_SENT),
            Err(Overdue::Running(pending)) => pending,
        };
        if let Some(command) = reported {
            let (path, late) = (self.id.clone(), self.late.clone());
            tokio::spawn(async move {
                if let Ok(result) = pending.await {
                    // Nobody listens once the logical unit is forgotten.
                    let _ = late.send(Late {
                        path,
                        command,
                        result,
                    });
                }
            });
        }
        Err(STILL_OUT)
    }

    /// Takes unit attentions that wait on this path, since the host as a whole
    /// has been told, or caused them itself.
    pub async fn drain(&self) {
        const MOST: usize = 8;
        let until = Instant::now() + Duration::from_millis(500);
        for _ in 0..MOST {
            match self.test_unit_ready(until).await {
                Ok(outcome)
                    if outcome
                        .sense_code()
                        .is_some_and(SenseCode::is_unit_attention) => {}
                _ => return,
            }
        }
    }
}

fn remaining(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::sim::{Fault, SimLun, Stuck};
    use crate::scsi::ReservationKey;
    use crate::scsi::pr::RegisterFlags;

    /// Sends REGISTER into a path that hangs until everybody has given up, and
    /// returns what is reported afterwards.
    async fn after_the_deadline(verbatim: bool) -> Option<Late> {
        let lun = SimLun::new("3600140500000000000000000000000a0");
        let nexus = lun.paths("host-a").remove(0);
        nexus.set_fault(Fault::Hang(Stuck::Before));
        let (late, mut lates) = mpsc::unbounded_channel();
        let id = PathId("host-a.0".into());
        let path = Path::new(id, Arc::clone(&nexus) as _, &Gates::default(), late);
        let key = ReservationKey(0xa1);
        let command = PrOut::register(ReservationKey::ZERO, key, RegisterFlags::default());
        let (cdb, parameters) = command.encode();
        let until = Instant::now() + Duration::from_millis(100);
        let result = match verbatim {
            true => {
                let cdb = cdb.as_device_bytes();
                path.write_verbatim(cdb, parameters, until).await
            }
            false => path.write(&command, until).await,
        };
        assert!(matches!(result, Err(TransportError::Unknown(_))));
        nexus.set_fault(Fault::Up);
        // Every sender is gone once the command has returned.
        drop(path);
        let reported = lates.recv().await;
        let executed = || lun.keys("host-a")[0] == Some(key);
        while !executed() {
            tokio::task::yield_now().await;
        }
        reported
    }

    #[tokio::test]
    async fn a_command_that_ends_late_is_reported() {
        let late = after_the_deadline(false).await.expect("a report");
        assert_eq!(late.path, PathId("host-a.0".into()));
        assert!(late.result.expect("an outcome").is_good());
    }

    #[tokio::test]
    async fn a_late_command_of_a_single_path_is_its_clients_own() {
        assert!(after_the_deadline(true).await.is_none());
    }
}
