//! The one owner of a unit's state: writes one after another, and what is to be
//! done in between.

use super::guard::{Guard, Then};
use super::history::Event;
use super::look::OWN_PATIENCE;
use super::notebook::Notebook;
use super::plan::verdict::Verdict;
use super::route::{Route, Source};
use super::snapshot::Snapshot;
use super::state::LunState;
use super::unit::{Means, Order, Shared, Task};
use super::view::View;
use crate::config::{self, Engine};
use crate::device::TransportError;
use crate::device::identity::{SysFs, Wwid};
use crate::engine::direct::Direct;
use crate::engine::mpathpersist::Worker;
use crate::engine::policy::Choice;
use crate::engine::{Late, Path};
use crate::scsi::{OutAction, Outcome, PrOut, ReservationKey, SenseCode};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// How long libmpathpersist waits for direct commands of before.
const QUIET_PATIENCE: Duration = Duration::from_millis(500);

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
    /// Where the unit's own words are found.
    pub(super) sysfs: SysFs,
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
    /// What others see of the unit.
    pub(super) view: View,
}

impl Actor {
    /// With what the journal has of the unit.
    pub(super) fn new(
        wwid: Wwid,
        shared: Arc<Shared>,
        means: Means,
        shown: watch::Sender<Snapshot>,
    ) -> Self {
        let Means {
            engines,
            terms,
            settings,
            keeper,
            source,
            sysfs,
            record,
            same_boot,
        } = means;
        let policy = settings.borrow().multipathd;
        Actor {
            state: record.state(same_boot),
            source,
            sysfs,
            worker: Worker::new(engines),
            settings,
            guard: Guard::new(terms, Arc::clone(&shared.watch)),
            look_at: None,
            said: None,
            claimed_at: None,
            notebook: Notebook::new(keeper, &wwid, record),
            view: View::new(shown, policy),
            wwid,
            shared,
        }
    }

    /// Works until the unit is no longer used.
    pub(super) async fn run(
        mut self,
        mut tasks: mpsc::Receiver<Task>,
        mut lates: mpsc::UnboundedReceiver<Late>,
    ) {
        if let Some(source) = &self.source {
            self.shared.refresh(source);
        }
        loop {
            // What is about to be looked at may be half the truth.
            if self.look_at.is_none_or(|time| time > Instant::now()) {
                self.publish();
            }
            let idle_at = self.worker.idle_at();
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                task = tasks.recv() => match task {
                    Some(Task::Write(order)) => self.serve(order).await,
                    Some(Task::Tend(request)) => self.attend(request).await,
                    None => return,
                },
                Some(late) = lates.recv() => {
                    Direct::late(&mut self.state, &late);
                    self.look_by(Instant::now());
                }
                () = shared.noticed.notified() => self.take_notice(),
                () = at(self.look_at) => self.look_if_needed().await,
                () = shared.watch.suspicion() => self.look_by(Instant::now()),
                () = shared.pulse.asked() => shared.pulse.answer(),
                () = at(idle_at) => self.worker.end(),
                // They are shown, too.
                Ok(()) = self.settings.changed() => {}
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
        self.remember(&order.write.command, &outcome);
        // A client that gave up hears nothing; the state is up to date anyway.
        let _ = order.reply.send(outcome);
    }

    /// A client's command has ended.
    fn remember(&mut self, command: &PrOut, outcome: &Outcome) {
        let (action, parameters) = (command.action, &command.parameters);
        let event = Event::Command {
            action,
            key: parameters.key,
            service_action_key: parameters.service_action_key,
            outcome: outcome.to_string(),
        };
        if !outcome.is_good() {
            self.view.failure = Some(event.to_string());
        }
        self.tell(event);
    }

    /// Whether the configuration lets a client send this.
    pub(super) fn admit(&self, command: &PrOut) -> Result<(), SenseCode> {
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
                self.view.single = Some(id.clone());
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
                if outcome.is_good() {
                    let key = command.parameters.service_action_key;
                    match command.action {
                        OutAction::Clear => self.state.cleared(),
                        action if action.registers() => self.state.let_be(id, key),
                        _ => {}
                    }
                    self.notebook.keep(&self.state);
                }
                outcome
            }
            Route::Multipath(source, device) => {
                self.execute_on_map(source, device, command, order.until)
                    .await
            }
        }
    }

    pub(super) async fn execute_on_map(
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
    pub(super) async fn after(
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
        let holds = matches!(command.action, OutAction::Reserve | OutAction::Release);
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
        } else if moved || ((suspicious || holds) && standing.is_some()) {
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
