//! One path of a simulated host, and the ways in which it can fail.

use super::unit::LogicalUnit;
use crate::device::{Nexus, Transfer, TransportError};
use crate::scsi::pr::NexusId;
use crate::scsi::{Outcome, SenseCode, Status};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Commands kept in the log of a LUN; older ones are dropped.
const LOG_LENGTH: usize = 4096;

/// What a path does with a command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Fault {
    /// Delivers it.
    #[default]
    Up,
    /// Refuses it: never sent.
    Down,
    /// Delivers it and loses the reply: fate unknown, executed.
    Lost,
    /// Loses it: fate unknown, not executed.
    Swallowed,
    /// Blocks until the fault is changed, whatever the time-out.
    Hang(Stuck),
    /// Answers in place of the unit: BUSY, NOT READY in transition, and so on.
    Answer(Outcome),
}

/// Where a hanging command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stuck {
    /// On its way: executed once released, as the unit is by then, and its
    /// outcome returned.
    Before,
    /// On its way back: executed at once, its outcome returned once released.
    After,
    /// Nowhere: never executed, fate unknown once released.
    Never,
}

/// A command the unit has executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// The nexus it came through.
    pub nexus: NexusId,
    /// Its CDB.
    pub cdb: Vec<u8>,
    /// Its data-out, empty for most.
    pub data: Vec<u8>,
    /// How it ended.
    pub status: Status,
}

/// The unit and its log, shared by all paths.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) unit: LogicalUnit,
    pub(super) log: VecDeque<Executed>,
}

#[derive(Debug, Default)]
struct Control {
    /// What the next commands meet, one each.
    script: VecDeque<Fault>,
    /// What the others meet.
    fault: Fault,
    delay: Duration,
    received: u64,
    executed: u64,
    hanging: usize,
    /// Moves on whenever hanging commands are released.
    releases: u64,
}

/// A path: one nexus of a simulated host.
#[derive(Debug)]
pub struct SimPath {
    host: String,
    index: usize,
    nexus: NexusId,
    shared: Arc<Mutex<Shared>>,
    control: Mutex<Control>,
    changed: Condvar,
}

impl SimPath {
    pub(super) fn new(
        host: &str,
        index: usize,
        nexus: NexusId,
        shared: Arc<Mutex<Shared>>,
    ) -> Self {
        SimPath {
            host: host.to_owned(),
            index,
            nexus,
            shared,
            control: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// The host it belongs to.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its number among the paths of the host, from zero.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Initiator port and target port.
    pub fn nexus(&self) -> &NexusId {
        &self.nexus
    }

    /// From now on, commands meet this; those that hang are released.
    pub fn set_fault(&self, fault: Fault) {
        let mut control = lock(&self.control);
        control.fault = fault;
        control.script.clear();
        control.releases += 1;
        self.changed.notify_all();
    }

    /// The next commands meet these, one each; then the standing fault again.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.control).script.extend(faults);
    }

    /// Releases the commands that hang and leaves the fault as it is.
    pub fn release(&self) {
        lock(&self.control).releases += 1;
        self.changed.notify_all();
    }

    /// Replies come this much later; past the time-out the fate is unknown,
    /// though the command was executed.
    pub fn set_delay(&self, delay: Duration) {
        lock(&self.control).delay = delay;
    }

    /// Commands handed to this path, whatever became of them.
    pub fn received(&self) -> u64 {
        lock(&self.control).received
    }

    /// Commands the unit executed for this path.
    pub fn executed(&self) -> u64 {
        lock(&self.control).executed
    }

    /// Commands that hang now.
    pub fn hanging(&self) -> usize {
        lock(&self.control).hanging
    }

    /// Waits until a command hangs here; false when none does in time.
    pub fn wait_until_hanging(&self, timeout: Duration) -> bool {
        let control = lock(&self.control);
        let waited = self
            .changed
            .wait_timeout_while(control, timeout, |control| control.hanging == 0);
        let (control, _) = waited.unwrap_or_else(PoisonError::into_inner);
        control.hanging > 0
    }

    /// The commands of this path that the unit executed, oldest first, as far
    /// as the log of the LUN reaches back.
    pub fn log(&self) -> Vec<Executed> {
        let shared = lock(&self.shared);
        let own = shared.log.iter().filter(|line| line.nexus == self.nexus);
        own.cloned().collect()
    }

    /// The unit attentions this path has not been told of.
    pub fn pending(&self) -> Vec<SenseCode> {
        lock(&self.shared).unit.pending(&self.nexus)
    }

    /// The session ends and starts again: 29/07 is pending, nothing else is
    /// changed.
    pub fn relogin(&self) {
        let mut code = SenseCode::NEXUS_LOSS;
        code.key = 0x06;
        lock(&self.shared).unit.raise(&self.nexus, code);
    }

    fn run(&self, cdb: &[u8], data: Transfer<'_>) -> Outcome {
        let sent = match data {
            Transfer::Out(bytes) => bytes,
            Transfer::None | Transfer::In(_) => &[],
        };
        let mut shared = lock(&self.shared);
        let mut outcome = shared.unit.execute(&self.nexus, cdb, sent);
        outcome.data.truncate(match data {
            Transfer::In(length) => length,
            Transfer::None | Transfer::Out(_) => 0,
        });
        if shared.log.len() == LOG_LENGTH {
            shared.log.pop_front();
        }
        shared.log.push_back(Executed {
            nexus: self.nexus.clone(),
            cdb: cdb.to_vec(),
            data: sent.to_vec(),
            status: outcome.status,
        });
        drop(shared);
        lock(&self.control).executed += 1;
        outcome
    }

    /// Waits for a release after the `before`th: one that comes between taking
    /// the fault and waiting here counts.
    fn hang(&self, before: u64) {
        let mut control = lock(&self.control);
        control.hanging += 1;
        self.changed.notify_all();
        let waited = self
            .changed
            .wait_while(control, |control| control.releases == before);
        waited.unwrap_or_else(PoisonError::into_inner).hanging -= 1;
    }
}

impl Nexus for SimPath {
    fn execute(
        &self,
        cdb: &[u8],
        data: Transfer<'_>,
        timeout: Duration,
    ) -> Result<Outcome, TransportError> {
        const LOST: TransportError = TransportError::unknown(SenseCode::TIMEOUT_DURING_PROCESSING);
        let (fault, delay, releases) = {
            let mut control = lock(&self.control);
            control.received += 1;
            let scripted = control.script.pop_front();
            let fault = scripted.unwrap_or_else(|| control.fault.clone());
            (fault, control.delay, control.releases)
        };
        let reply = match fault {
            Fault::Down => {
                return Err(TransportError::not_sent(
                    SenseCode::NO_RESPONSE_TO_SELECTION,
                ));
            }
            Fault::Up => Ok(self.run(cdb, data)),
            Fault::Answer(outcome) => Ok(outcome),
            Fault::Swallowed => Err(LOST),
            Fault::Lost => {
                self.run(cdb, data);
                Err(LOST)
            }
            Fault::Hang(Stuck::Before) => {
                self.hang(releases);
                Ok(self.run(cdb, data))
            }
            Fault::Hang(Stuck::After) => {
                let outcome = self.run(cdb, data);
                self.hang(releases);
                Ok(outcome)
            }
            Fault::Hang(Stuck::Never) => {
                self.hang(releases);
                Err(LOST)
            }
        };
        std::thread::sleep(delay.min(timeout));
        match delay > timeout {
            true => Err(LOST),
            false => reply,
        }
    }
}

/// The state is whole after every statement, so a panic elsewhere spoils
/// nothing.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
