//! One logical unit: its queue of writes and its side road for reads.

use super::guard::{Guard, Terms, Unit, Watch};
use super::route::{Route, Source};
use super::state::LunState;
use crate::config::{self, Engine};
use crate::device::TransportError;
use crate::device::identity::Wwid;
use crate::engine::direct::Direct;
use crate::engine::mpathpersist::{Engines, Worker};
use crate::engine::policy::Choice;
use crate::engine::{Gates, Late, Path, read};
use crate::scsi::{Cdb, OutAction, Outcome, PrIn, PrOut, SenseCode};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// Writes waiting for one unit. Clients have one command each in flight, so
/// only a crowd of them fills it; the rest waits outside, within its deadline.
const INBOX: usize = 64;
/// How often a path that owes a key is tried.
const DEBT_PERIOD: Duration = Duration::from_secs(1);
/// Time for one round of such tries, and for what else nobody waits for.
const DEBT_PATIENCE: Duration = Duration::from_secs(5);

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
    watch: Arc<Watch>,
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
    /// on a tokio runtime. Without terms, multipathd is left alone. Of the
    /// settings, the latest counts.
    pub fn start(
        wwid: Wwid,
        engines: Arc<Engines>,
        terms: Option<Terms>,
        settings: watch::Receiver<config::Unit>,
    ) -> Self {
        let (inbox, orders) = mpsc::channel(INBOX);
        let (late, lates) = mpsc::unbounded_channel();
        let watch = Arc::new(Watch::default());
        let shared = Arc::new(Shared {
            gates: Gates::default(),
            late,
            paths: Mutex::default(),
            preferred: AtomicUsize::new(0),
            watch: Arc::clone(&watch),
        });
        let actor = Actor {
            wwid: wwid.clone(),
            shared: Arc::clone(&shared),
            state: LunState::default(),
            source: None,
            worker: Worker::new(engines),
            settings,
            guard: Guard::new(terms, watch),
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
struct Actor {
    wwid: Wwid,
    shared: Arc<Shared>,
    state: LunState,
    /// Where the paths were last found, to look for those that owe a key.
    source: Option<Source>,
    /// libmpathpersist, where it is used.
    worker: Worker,
    /// What the configuration says of the unit.
    settings: watch::Receiver<config::Unit>,
    /// Tells multipathd.
    guard: Guard,
}

impl Actor {
    async fn run(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        mut lates: mpsc::UnboundedReceiver<Late>,
    ) {
        loop {
            let in_debt = !self.state.owed().is_empty();
            let idle_at = self.worker.idle_at();
            let idle = idle_at.unwrap_or_else(Instant::now);
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.serve(order).await,
                    None => return,
                },
                Some(late) = lates.recv() => self.late(&late).await,
                () = sleep(DEBT_PERIOD), if in_debt => self.settle_debts().await,
                () = sleep_until(idle), if idle_at.is_some() => self.worker.end(),
                event = self.guard.event() => if let Some(source) = &self.source {
                    let (shared, state) = (&*self.shared, &mut self.state);
                    self.guard.attend(event, Unit { shared, source, state }).await;
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
        // One of ours may still be in flight there.
        if let Err(error) = self.worker.settle(until).await {
            return error.answer();
        }
        let setting = self.settings.borrow().engine;
        let mut choice = self.choose(setting, source, command);
        if choice == Choice::Library && !are_quiet(&paths, until).await {
            tracing::warn!(wwid = %self.wwid,
                "an earlier command hangs on a path; sent directly to the others");
            choice = Choice::Direct;
        }
        let by_library = match choice {
            Choice::Library => {
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
        let mut engine = Direct {
            paths: &paths,
            state: &mut self.state,
            until,
            map: source.map(),
        };
        let outcome = match by_library {
            None => engine.run(command).await,
            Some(Ok(outcome)) => {
                if outcome.is_good() {
                    engine.adopt(command).await;
                }
                outcome
            }
            Some(Err(error)) => error.answer(),
        };
        let unit = Unit {
            shared: &self.shared,
            source,
            state: &mut self.state,
        };
        self.guard
            .after(unit, &paths, command, &outcome, until)
            .await;
        outcome
    }

    /// A simulated map is none to the library: only where it is demanded.
    fn choose(&self, setting: Engine, source: &Source, command: &PrOut) -> Choice {
        match (source.map(), setting) {
            (None, Engine::Auto) => Choice::Direct,
            _ => self.worker.engines().choose(setting, command),
        }
    }

    async fn late(&mut self, late: &Late) {
        Direct::late(&mut self.state, late);
        if let Some(source) = self.source.clone() {
            let paths = self.shared.refresh(&source);
            let mut engine = self.engine(&paths, &source);
            engine.undo_late_if_preempted(late).await;
            self.guard.suspect();
        }
    }

    async fn settle_debts(&mut self) {
        let Some(source) = self.source.clone() else {
            return;
        };
        let paths = self.shared.refresh(&source);
        self.engine(&paths, &source).settle_debts().await;
    }

    /// For what no client waits for.
    fn engine<'a>(&'a mut self, paths: &'a [Path], source: &Source) -> Direct<'a> {
        Direct {
            paths,
            state: &mut self.state,
            until: Instant::now() + DEBT_PATIENCE,
            map: source.map(),
        }
    }
}
