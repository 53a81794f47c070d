//! A logical unit, as those who send it commands or tell it news see it.

use super::actor::Actor;
use super::guard::Terms;
use super::history::History;
use super::notice::{Notice, Notices};
use super::pulse::Pulse;
use super::route::{Route, Source};
use super::snapshot::Snapshot;
use super::state::PathId;
use super::state::record::Record;
use super::upkeep::{Request, Unmet, Upkeep};
use super::watch::Watch;
use crate::config;
use crate::device::identity::{SysFs, Wwid};
use crate::device::{Nexus, TransportError};
use crate::engine::mpathpersist::Engines;
use crate::engine::{Gates, Late, Path, read};
use crate::journal::Keeper;
use crate::scsi::{Cdb, Outcome, PrIn, PrOut, ReservationKey, SenseCode};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

/// Writes waiting for one unit. Clients have one command each in flight, so
/// only a crowd of them fills it; the rest waits outside, within its deadline.
const INBOX: usize = 64;

/// A PERSISTENT RESERVE OUT on its way.
#[derive(Debug, Clone)]
pub struct Write {
    /// Parsed.
    pub command: PrOut,
    /// As the client sent it.
    pub cdb: Cdb,
    /// As the client sent it.
    pub parameters: Vec<u8>,
}

/// Something in the actor's queue.
#[derive(Debug)]
pub(super) enum Task {
    /// A command.
    Write(Order),
    /// An administrator's request.
    Tend(Request),
}

/// A command in the actor's queue.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) write: Write,
    pub(super) route: Route,
    pub(super) until: Instant,
    pub(super) reply: oneshot::Sender<Outcome>,
}

/// What a unit is served with.
#[derive(Debug)]
pub struct Means {
    /// The engines of this host.
    pub engines: Arc<Engines>,
    /// When multipathd is told what; without, it is left alone.
    pub terms: Option<Terms>,
    /// What the configuration says of the unit.
    pub settings: watch::Receiver<config::Unit>,
    /// The journal; without, a restart forgets.
    pub keeper: Option<Arc<Keeper>>,
    /// Where its paths are, as far as that is known.
    pub source: Option<Source>,
    /// Where the kernel describes devices.
    pub sysfs: SysFs,
    /// What the journal has of the unit.
    pub record: Record,
    /// Written since the host was started.
    pub same_boot: bool,
}

/// A logical unit, for those who send it commands.
#[derive(Debug)]
pub struct Lun {
    wwid: Wwid,
    inbox: mpsc::Sender<Task>,
    shared: Arc<Shared>,
    snapshot: watch::Receiver<Snapshot>,
}

/// What the actor and the readers have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) gates: Gates,
    pub(super) late: mpsc::UnboundedSender<Late>,
    paths: Mutex<HashMap<String, Arc<[Path]>>>,
    preferred: AtomicUsize,
    pub(super) watch: Arc<Watch>,
    pub(super) notices: Mutex<Notices>,
    pub(super) noticed: Notify,
    pub(super) history: History,
    pub(super) pulse: Pulse,
}

impl Shared {
    pub(super) fn cached(&self, source: &Source) -> Option<Arc<[Path]>> {
        let paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        paths.get(&source.key()).cloned()
    }

    /// Looks at the paths anew. Only sysfs is read, which does not wait for
    /// devices.
    pub(super) fn refresh(&self, source: &Source) -> Arc<[Path]> {
        let found = source.paths(&self.gates, &self.late);
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        paths.insert(source.key(), Arc::clone(&found));
        found
    }
}

impl Lun {
    /// Starts the actor of a unit; it ends when this is dropped. Must be called
    /// on a tokio runtime.
    pub fn start(wwid: Wwid, means: Means) -> Self {
        let (inbox, tasks) = mpsc::channel(INBOX);
        let (late, lates) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            gates: Gates::default(),
            late,
            paths: Mutex::default(),
            preferred: AtomicUsize::new(0),
            watch: Arc::default(),
            notices: Mutex::default(),
            noticed: Notify::new(),
            history: History::default(),
            pulse: Pulse::default(),
        });
        let (shown, snapshot) = watch::channel(Snapshot::new(wwid.clone()));
        let actor = Actor::new(wwid.clone(), Arc::clone(&shared), means, shown);
        tokio::spawn(actor.run(tasks, lates));
        Lun {
            wwid,
            inbox,
            shared,
            snapshot,
        }
    }

    /// The unit as its actor last saw it, and as it changes. Looking at it sends
    /// nothing to the unit.
    pub fn snapshot(&self) -> watch::Receiver<Snapshot> {
        self.snapshot.clone()
    }

    /// What happened to the unit.
    pub fn history(&self) -> &History {
        &self.shared.history
    }

    /// Asks the actor for a sign of life; returns for how long it has owed one.
    pub fn pulse(&self, now: Instant) -> Duration {
        match self.inbox.is_closed() {
            true => Duration::MAX,
            false => self.shared.pulse.ask(now),
        }
    }

    /// The unit's name.
    pub fn wwid(&self) -> &Wwid {
        &self.wwid
    }

    /// Something happened to the unit's paths, which may be found elsewhere now.
    pub fn notice(&self, notice: &Notice, source: Option<Source>) {
        let guarded = self.is_guarded();
        lock(&self.shared.notices).add(notice, source, guarded);
        self.shared.noticed.notify_one();
    }

    /// True while multipathd is known to register this unit's returning paths.
    pub fn is_guarded(&self) -> bool {
        self.shared.watch.is_confirmed()
    }

    /// The key this host has registered, if that stands; up to date when a command
    /// has been answered.
    pub fn registered_key(&self) -> Option<ReservationKey> {
        self.shared.watch.key()
    }

    /// The paths that a command takes, in the order in which it tries them. Only
    /// sysfs is read.
    pub fn paths(&self, route: &Route) -> Vec<PathId> {
        match route {
            Route::Single(id, _) => vec![id.clone()],
            Route::Multipath(source, _) => {
                let paths = self.shared.refresh(source);
                paths.iter().map(|path| path.id.clone()).collect()
            }
        }
    }

    /// Runs a PERSISTENT RESERVE IN. Answers by `until`, which every path keeps.
    pub async fn read(&self, route: &Route, command: PrIn, until: Instant) -> Outcome {
        match route {
            Route::Single(id, nexus) => {
                let path = self.single(id, nexus);
                path.read(command, until)
                    .await
                    .unwrap_or_else(TransportError::answer)
            }
            Route::Multipath(source, _) => self.read_map(source, command, until).await,
        }
    }

    /// Runs a PERSISTENT RESERVE OUT in its turn. Answers by `until`; a command
    /// that takes longer runs to its end all the same.
    pub async fn write(&self, route: Route, write: Write, until: Instant) -> Outcome {
        let (reply, answer) = oneshot::channel();
        let order = Order {
            write,
            route,
            until,
            reply,
        };
        match timeout_at(until, self.inbox.send(Task::Write(order))).await {
            Ok(Ok(())) => {}
            // The actor lives as long as its inbox.
            Ok(Err(_)) => return Outcome::check(SenseCode::IO_PROCESS_TERMINATED),
            Err(_) => return Outcome::check(SenseCode::TIMEOUT_BEFORE_PROCESSING),
        }
        match timeout_at(until, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Outcome::check(SenseCode::IO_PROCESS_TERMINATED),
            Err(_) => Outcome::check(SenseCode::TIMEOUT_DURING_PROCESSING),
        }
    }

    /// Has the actor do this in its turn. Answers by `until`, as
    /// [`Lun::write`] does.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn tend(&self, route: Route, upkeep: Upkeep, until: Instant) -> Result<(), Unmet> {
        let (reply, answer) = oneshot::channel();
        let request = Request {
            upkeep,
            route,
            until,
            reply,
        };
        match timeout_at(until, self.inbox.send(Task::Tend(request))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(SenseCode::IO_PROCESS_TERMINATED.into()),
            Err(_) => return Err(SenseCode::TIMEOUT_BEFORE_PROCESSING.into()),
        }
        match timeout_at(until, answer).await {
            Ok(Ok(end)) => end,
            Ok(Err(_)) => Err(SenseCode::IO_PROCESS_TERMINATED.into()),
            Err(_) => Err(SenseCode::TIMEOUT_DURING_PROCESSING.into()),
        }
    }

    fn single(&self, id: &PathId, nexus: &Arc<dyn Nexus>) -> Path {
        Path::new(
            id.clone(),
            Arc::clone(nexus),
            &self.shared.gates,
            self.shared.late.clone(),
        )
    }

    async fn read_map(&self, source: &Source, command: PrIn, until: Instant) -> Outcome {
        let cached = self.shared.cached(source);
        let fresh = cached.is_none();
        let mut paths = cached.unwrap_or_else(|| self.shared.refresh(source));
        let start = self.shared.preferred.load(Ordering::Relaxed);
        let mut answer = read::read(&paths, start, command, until).await;
        if answer.by.is_none() && !fresh {
            paths = self.shared.refresh(source);
            answer = read::read(&paths, 0, command, until).await;
        }
        if let Some(by) = answer.by {
            self.shared.preferred.store(by, Ordering::Relaxed);
            self.shared.watch.saw(command.action, &answer.outcome);
            let event = answer.outcome.sense_code();
            if event.is_some_and(SenseCode::is_reservation_event) {
                // The client hears of it now; its other paths need not say so too.
                tokio::spawn(async move {
                    for (index, path) in paths.iter().enumerate() {
                        if index != by {
                            path.drain().await;
                        }
                    }
                });
            }
        }
        answer.outcome
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
