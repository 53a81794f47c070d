//! A path as the engines use it: a nexus whose commands run off the event loop,
//! each with a deadline, and never more than a few at a time.

use crate::device::{Nexus, Transfer, TransportError};
use crate::lun::state::PathId;
use crate::scsi::{OutAction, Outcome, PrIn, PrOut, SenseCode};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

/// Commands that only read may run side by side on one path, this many.
const READERS: usize = 4;
/// The least time worth giving to a command.
const LEAST: Duration = Duration::from_millis(50);
/// TEST UNIT READY (SPC-4 6.47).
const TEST_UNIT_READY: [u8; 6] = [0; 6];

/// How many commands a path may have in flight. A command that never returns
/// keeps its place, so a hung path holds a bounded number of threads.
#[derive(Debug, Clone)]
struct Gate {
    read: Arc<Semaphore>,
    write: Arc<Semaphore>,
}

/// The gates of a logical unit's paths; they outlive each look at the paths.
#[derive(Debug, Clone, Default)]
pub struct Gates(Arc<Mutex<HashMap<PathId, Gate>>>);

impl Gates {
    fn of(&self, path: &PathId) -> Gate {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = gates.entry(path.clone()).or_insert_with(|| Gate {
            read: Arc::new(Semaphore::new(READERS)),
            write: Arc::new(Semaphore::new(1)),
        });
        gate.clone()
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

impl Late {
    /// True for a command that sets or removes a key on its path.
    pub fn registers(&self) -> bool {
        matches!(
            self.command.action,
            OutAction::Register | OutAction::RegisterAndIgnore
        )
    }
}

/// A path to a logical unit.
#[derive(Debug, Clone)]
pub struct Path {
    /// Its name.
    pub id: PathId,
    nexus: Arc<dyn Nexus>,
    gate: Gate,
    late: mpsc::UnboundedSender<Late>,
}

impl Path {
    /// A path whose late results go to `late`. That channel is unbounded but
    /// holds at most one message for each path, by the gate.
    pub fn new(
        id: PathId,
        nexus: Arc<dyn Nexus>,
        gates: &Gates,
        late: mpsc::UnboundedSender<Late>,
    ) -> Self {
        Path {
            gate: gates.of(&id),
            id,
            nexus,
            late,
        }
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
        let permit = enter(&self.gate.write, until).await?;
        let (cdb, parameters) = command.encode();
        self.run_writer(
            permit,
            Some(command.clone()),
            cdb.as_device_bytes().to_vec(),
            parameters,
            until,
        )
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
        let permit = enter(&self.gate.write, until).await?;
        self.run_writer(permit, None, cdb.to_vec(), parameters, until)
            .await
    }

    async fn run_reader(
        &self,
        cdb: Vec<u8>,
        data: Transfer<'static>,
        until: Instant,
    ) -> Result<Outcome, TransportError> {
        let permit = enter(&self.gate.read, until).await?;
        let nexus = Arc::clone(&self.nexus);
        let limit = remaining(until);
        let running = tokio::task::spawn_blocking(move || {
            let result = nexus.execute(&cdb, data, limit);
            drop(permit);
            result
        });
        match timeout_at(until, running).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(TransportError::unknown(SenseCode::IO_PROCESS_TERMINATED)),
            Err(_) => Err(TransportError::unknown(
                SenseCode::TIMEOUT_DURING_PROCESSING,
            )),
        }
    }

    async fn run_writer(
        &self,
        permit: OwnedSemaphorePermit,
        reported: Option<PrOut>,
        cdb: Vec<u8>,
        parameters: Vec<u8>,
        until: Instant,
    ) -> Result<Outcome, TransportError> {
        let nexus = Arc::clone(&self.nexus);
        let limit = remaining(until);
        let mut running = tokio::task::spawn_blocking(move || {
            let result = nexus.execute(&cdb, Transfer::Out(&parameters), limit);
            drop(permit);
            result
        });
        match timeout_at(until, &mut running).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(TransportError::unknown(SenseCode::IO_PROCESS_TERMINATED)),
            Err(_) => {
                if let Some(command) = reported {
                    let (path, late) = (self.id.clone(), self.late.clone());
                    tokio::spawn(async move {
                        if let Ok(result) = running.await {
                            // Nobody listens once the logical unit is forgotten.
                            let _ = late.send(Late {
                                path,
                                command,
                                result,
                            });
                        }
                    });
                }
                Err(TransportError::unknown(
                    SenseCode::TIMEOUT_DURING_PROCESSING,
                ))
            }
        }
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

/// Waits for a place on the path.
async fn enter(
    gate: &Arc<Semaphore>,
    until: Instant,
) -> Result<OwnedSemaphorePermit, TransportError> {
    let wait = until.saturating_duration_since(Instant::now());
    match timeout(wait, Arc::clone(gate).acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        // The semaphore is never closed.
        Ok(Err(_)) | Err(_) => Err(TransportError::not_sent(
            SenseCode::TIMEOUT_BEFORE_PROCESSING,
        )),
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
