//! One logical unit: its queue of writes and its side road for reads.

use super::guard::{Guard, Terms, Then, Watch};
use super::look::OWN_PATIENCE;
use super::notebook::Notebook;
use super::notice::{Notice, Notices};
use super::plan::verdict::Verdict;
use super::route::{Route, Source};
use super::state::LunState;
use super::state::record::Record;
use crate::config::{self, Engine};
use crate::device::TransportError;
use crate::device::identity::Wwid;
use crate::engine::direct::Direct;
use crate::engine::mpathpersist::{Engines, Worker};
use crate::engine::policy::Choice;
use crate::engine::{Gates, Late, Path, read};
use crate::journal::Keeper;
use crate::scsi::{Cdb, OutAction, Outcome, PrIn, PrOut, ReservationKey, SenseCode};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

/// Writes waiting for one unit. Clients have one command each in flight, so
/// only a crowd of them fills it; the rest waits outside, within its deadline.
const INBOX: usize = 64;

/// How long libmpathpersist waits for direct commands of before.
const QUIET_PATIENCE: Duration = Duration::from_millis(500);

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

#[derive(Debug)]
struct Order {
    write: Write,
    route: Route,
    until: Instant,
    reply: oneshot::Sender<Outcome>,
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
    /// What the journal has of the unit.
    pub record: Record,
    /// Written since the host was started.
    pub same_boot: bool,
}

/// A logical unit, for those who send it commands.
#[derive(Debug)]
pub struct Lun {
    wwid: Wwid,
    inbox: mpsc::Sender<Order>,
    shared: Arc<Shared>,
}

/// What the actor and the readers have in common.
#[derive(Debug)]
pub(super) struct Shared {
    gates: Gates,
    late: mpsc::UnboundedSender<Late>,
    paths: Mutex<HashMap<String, Arc<[Path]>>>,
    preferred: AtomicUsize,
    pub(super) watch: Arc<Watch>,
    pub(super) notices: Mutex<Notices>,
    noticed: Notify,
}

impl Shared {
    fn cached(&self, source: &Source) -> Option<Arc<[Path]>> {
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
        let Means {
            engines,
            terms,
            settings,
            keeper,
            record,
            same_boot,
        } = means;
        let (inbox, orders) = mpsc::channel(INBOX);
        let (late, lates) = mpsc::unbounded_channel();
        let watch = Arc::new(Watch::default());
        let shared = Arc::new(Shared {
            gates: Gates::default(),
            late,
            paths: Mutex::default(),
            preferred: AtomicUsize::new(0),
            watch: Arc::clone(&watch),
            notices: Mutex::default(),
            noticed: Notify::new(),
        });
        let actor = Actor {
            wwid: wwid.clone(),
            shared: Arc::clone(&shared),
            state: record.state(same_boot),
            source: None,
            worker: Worker::new(engines),
            settings,
            guard: Guard::new(terms, watch),
            look_at: None,
            said: None,
            claimed_at: None,
            notebook: Notebook::new(keeper, &wwid, record),
        };
        tokio::spawn(actor.run(orders, lates));
        Lun {
            wwid,
            inbox,
            shared,
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
        match timeout_at(until, self.inbox.send(order)).await {
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

    fn single(&self, id: &super::state::PathId, nexus: &Arc<dyn crate::device::Nexus>) -> Path {
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

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// True where no PERSISTENT RESERVE OUT of ours is in flight on any path; the
/// library looks at none of them before it sends its own.
async fn are_quiet(paths: &[Path], until: Instant) -> bool {
    let until = until.min(Instant::now() + QUIET_PATIENCE);
    for path in paths {
        if path.quiet(until).await.is_err() {
            return false;
        }
    }
    true
}

/// The one owner of a unit's state.
#[derive(Debug)]
pub(super) struct Actor {
    pub(super) wwid: Wwid,
    pub(super) shared: Arc<Shared>,
    pub(super) state: LunState,
    /// Where the paths were last found, to look for those that owe a key.
    pub(super) source: Option<Source>,
    /// libmpathpersist, where it is used.
    pub(super) worker: Worker,
    /// What the configuration says of the unit.
    pub(super) settings: watch::Receiver<config::Unit>,
    /// Tells multipathd.
    pub(super) guard: Guard,
    /// When the unit is looked at again.
    pub(super) look_at: Option<Instant>,
    /// The last verdict that was said.
    pub(super) said: Option<Verdict>,
    /// PRGENERATION when the configured key was last not found on our paths.
    pub(super) claimed_at: Option<u32>,
    /// What outlives us.
    pub(super) notebook: Notebook,
}

impl Actor {
    async fn run(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        mut lates: mpsc::UnboundedReceiver<Late>,
    ) {
        loop {
            let idle_at = self.worker.idle_at();
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.serve(order).await,
                    None => return,
                },
                Some(late) = lates.recv() => {
                    Direct::late(&mut self.state, &late);
                    self.look_by(Instant::now());
                }
                () = shared.noticed.notified() => self.take_notice(),
                () = at(self.look_at) => self.look_if_needed().await,
                () = shared.watch.suspicion() => self.look_by(Instant::now()),
                () = at(idle_at) => self.worker.end(),
                event = self.guard.event() => if self.guard.attend(event) {
                    self.look(Instant::now() + OWN_PATIENCE).await;
                },
            }
        }
    }

    async fn serve(&mut self, order: Order) {
        let started = Instant::now();
        let outcome = if started >= order.until {
            Outcome::check(SenseCode::TIMEOUT_BEFORE_PROCESSING)
        } else if let Err(sense) = self.admit(&order.write.command) {
            Outcome::check(sense)
        } else {
            self.execute(&order).await
        };
        let parameters = &order.write.command.parameters;
        tracing::info!(
            wwid = %self.wwid,
            action = %order.write.command.action,
            key = %parameters.key,
            service_action_key = %parameters.service_action_key,
            scope_type = order.write.command.scope_type.0,
            status = %outcome,
            micros = started.elapsed().as_micros() as u64,
            "persistent reserve out"
        );
        // A client that gave up hears nothing; the state is up to date anyway.
        let _ = order.reply.send(outcome);
    }

    /// Whether the configuration lets a client send this.
    fn admit(&self, command: &PrOut) -> Result<(), SenseCode> {
        let settings = self.settings.borrow();
        let admitted = settings.admits(command);
        if admitted.is_err() {
            tracing::warn!(
                wwid = %self.wwid,
                key = %command.parameters.service_action_key,
                reservation_key = %settings.reservation_key,
                configured = settings.key_place.as_ref().map(tracing::field::display),
                "not registered: another key is configured"
            );
        }
        admitted
    }

    async fn execute(&mut self, order: &Order) -> Outcome {
        let command = &order.write.command;
        match &order.route {
            Route::Single(id, nexus) => {
                let path = Path::new(
                    id.clone(),
                    Arc::clone(nexus),
                    &self.shared.gates,
                    self.shared.late.clone(),
                );
                let outcome = path
                    .write_verbatim(
                        order.write.cdb.as_device_bytes(),
                        order.write.parameters.clone(),
                        order.until,
                    )
                    .await
                    .unwrap_or_else(TransportError::answer);
                if outcome.is_good() && command.action == OutAction::Clear {
                    self.state.cleared();
                }
                outcome
            }
            Route::Multipath(source, device) => {
                self.execute_on_map(source, device, command, order.until)
                    .await
            }
        }
    }

    async fn execute_on_map(
        &mut self,
        source: &Source,
        device: &OwnedFd,
        command: &PrOut,
        until: Instant,
    ) -> Outcome {
        let paths = self.shared.refresh(source);
        self.source = Some(source.clone());
        let parameters = &command.parameters;
        let registers = command.action.registers();
        if registers {
            self.state
                .registering(parameters.key, parameters.service_action_key);
            self.notebook.note(&self.state).await;
        }
        let outcome = self.bring(source, device, &paths, command, until).await;
        if registers {
            self.state.settled();
        }
        self.notebook.keep(&self.state);
        self.after(source, &paths, command, &outcome, until).await;
        outcome
    }

    /// Brings a command to the map by the engine of choice.
    async fn bring(
        &mut self,
        source: &Source,
        device: &OwnedFd,
        paths: &[Path],
        command: &PrOut,
        until: Instant,
    ) -> Outcome {
        // One of ours may still be in flight there.
        if let Err(error) = self.worker.settle(until).await {
            return error.answer();
        }
        let setting = self.settings.borrow().engine;
        let mut choice = self.choose(setting, source, command);
        if choice == Choice::Library && !are_quiet(paths, until).await {
            tracing::warn!(wwid = %self.wwid,
                "an earlier command hangs on a path; sent directly to the others");
            choice = Choice::Direct;
        }
        let mut before = None;
        let by_library = match choice {
            Choice::Library => {
                if command.action.registers() {
                    before = self.engine(paths, source, until).registrations().await;
                }
                let result = self.worker.ask(device.as_fd(), command, until).await;
                match (result, setting) {
                    (Err(TransportError::NotSent(reason)), Engine::Auto) => {
                        tracing::warn!(wwid = %self.wwid, %reason,
                            "libmpathpersist is out of reach; sent directly");
                        None
                    }
                    (Ok(reply), _) if reply.is_for_the_unit(command) => None,
                    (result, _) => Some(result.map(|reply| reply.outcome)),
                }
            }
            Choice::Direct => None,
            Choice::Refuse => {
                tracing::error!(wwid = %self.wwid, action = %command.action,
                    "engine is \"mpathpersist\" and libmpathpersist is not there: refused");
                return Outcome::check(SenseCode::COMMUNICATION_FAILURE);
            }
        };
        let mut engine = self.engine(paths, source, until);
        match by_library {
            None => engine.run(command).await,
            Some(Ok(outcome)) => {
                if outcome.is_good() {
                    engine.adopt(command, before.as_ref()).await;
                }
                outcome
            }
            Some(Err(error)) => error.answer(),
        }
    }

    /// A command has ended on the paths `used`.
    async fn after(
        &mut self,
        source: &Source,
        used: &[Path],
        command: &PrOut,
        outcome: &Outcome,
        until: Instant,
    ) {
        let standing = self.state.registration();
        let key = standing.map_or(ReservationKey::ZERO, |made| made.key);
        self.shared.watch.expect(key);
        let map = source.map_name();
        let then = self
            .guard
            .after(map.as_deref(), standing, command, outcome, until)
            .await;
        let moved = outcome.is_good() && command.action.steps_generation();
        let suspicious = outcome.is_conflict()
            || then == Then::Look
            || outcome
                .sense_code()
                .is_some_and(SenseCode::is_reservation_event);
        if let Then::FindHolder(key) = then {
            let engine = self.engine(used, source, until);
            if let Some(held) = engine.holds(key).await {
                self.guard.hold(held);
            }
        }
        // What came up while the command ran was not among its paths, and
        // multipathd did not know yet what to do with it.
        let known = |path: &Path| used.iter().any(|used| used.id == path.id);
        if moved && !self.shared.refresh(source).iter().all(known) {
            self.look(until).await;
        } else if moved || (suspicious && standing.is_some()) {
            self.look_by(Instant::now());
        }
    }

    /// A simulated map is none to the library: only where it is demanded.
    fn choose(&self, setting: Engine, source: &Source, command: &PrOut) -> Choice {
        match (source.map(), setting) {
            (None, Engine::Auto) => Choice::Direct,
            _ => self.worker.engines().choose(setting, command),
        }
    }

    pub(super) fn engine<'a>(
        &'a mut self,
        paths: &'a [Path],
        source: &Source,
        until: Instant,
    ) -> Direct<'a> {
        Direct {
            paths,
            state: &mut self.state,
            until,
            map: source.map(),
        }
    }
}
