//! Keeps multipathd in step with a unit's registration.
//!
//! [`arming`] decides, this does: one job at a time talks to multipathd, beside
//! the actor, so that a multipathd that hangs holds up nobody. A client waits
//! for its registration to be guarded, but not for long; what is not done by
//! then is done later, and only after the unit has shown again that the
//! registration is still ours.

use super::actor::Shared;
use super::arming::{self, Decision, Fault, Goal};
use super::route::Source;
use super::state::{LunState, PathId, Standing};
use crate::config::Coordination;
use crate::engine::Path;
use crate::engine::direct::Direct;
use crate::multipathd::{Multipathd, Unreachable};
use crate::protocol::multipathd::{MapName, Reply, Request, Verb};
use crate::scsi::pr::{FullStatus, KeyList};
use crate::scsi::{InAction, Outcome, PrOut, ReservationKey};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

/// A client's answer waits this long, or half its time, for multipathd.
const CLIENT_PATIENCE: Duration = Duration::from_secs(2);
/// How often paths that a registration did not reach are looked at.
const REPAIR_PERIOD: Duration = Duration::from_secs(1);
/// For commands that nobody waits for.
const OWN_PATIENCE: Duration = Duration::from_secs(5);

/// When multipathd is asked again, and whether it is told anything.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The daemon.
    pub multipathd: Arc<Multipathd>,
    /// What it is told.
    pub coordination: Coordination,
    /// After it did not do as told.
    pub retry: Duration,
    /// While it does: it may have been restarted.
    pub check: Duration,
}

impl Terms {
    /// With the usual intervals.
    pub fn new(multipathd: Arc<Multipathd>, coordination: Coordination) -> Self {
        Terms {
            multipathd,
            coordination,
            retry: Duration::from_secs(5),
            check: Duration::from_secs(30),
        }
    }
}

/// What those who read a unit see of its guard, and tell it.
#[derive(Debug, Default)]
pub struct Watch {
    /// The key that is guarded, or zero.
    key: AtomicU64,
    confirmed: AtomicBool,
    suspicion: Notify,
}

impl Watch {
    /// True while multipathd is known to register returning paths.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed.load(Ordering::Relaxed)
    }

    /// Looks at an answer to a client: does it show that our key is gone?
    pub fn saw(&self, action: InAction, outcome: &Outcome) {
        let key = ReservationKey(self.key.load(Ordering::Relaxed));
        if key.is_zero() {
            return;
        }
        let good = outcome.is_good();
        let lost = match (outcome.sense_code(), action) {
            (Some(code), _) => arming::tells_of_loss(code),
            (None, InAction::ReadKeys) if good => KeyList::parse(&outcome.data).is_ok_and(|list| {
                let complete = list.keys.len() * 8 == list.additional_length as usize;
                complete && !list.keys.contains(&key)
            }),
            (None, InAction::ReadFullStatus) if good => {
                FullStatus::parse(&outcome.data).is_ok_and(|status| {
                    status.complete && status.descriptors.iter().all(|row| row.key != key)
                })
            }
            _ => false,
        };
        if lost {
            self.suspicion.notify_one();
        }
    }
}

/// Something the actor has to see to.
#[derive(Debug)]
pub struct Event(Kind);

#[derive(Debug)]
enum Kind {
    Told(Option<Told>),
    Due,
    Repair,
    Suspicion,
}

/// How a job ended.
#[derive(Debug)]
struct Told {
    goal: Goal,
    errand: Errand,
    end: Result<(), Trouble>,
    can_hold: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Errand {
    /// Lead multipathd to the goal.
    Pursue,
    /// See whether it is there still.
    Check,
    /// Tell it who holds the reservation.
    Hold,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

/// The guard of one unit.
#[derive(Debug)]
pub struct Guard {
    terms: Option<Terms>,
    watch: Arc<Watch>,
    map: Option<MapName>,
    goal: Goal,
    confirmed: bool,
    /// Pursue the goal as soon as the present job has ended.
    pending: bool,
    job: Option<JoinHandle<Told>>,
    due: Option<Instant>,
    /// Paths are still without the key; look at them then.
    repair: Option<Instant>,
    /// Paths that have a key, and are not to be tried again.
    settled: Vec<PathId>,
    /// The registration may be gone.
    suspicious: bool,
    /// Said already.
    fault: Option<Fault>,
    /// multipathd knows of holders: 0.13 and later.
    can_hold: Option<bool>,
}

impl Guard {
    /// Without terms, multipathd is left alone.
    pub fn new(terms: Option<Terms>, watch: Arc<Watch>) -> Self {
        Guard {
            terms,
            watch,
            map: None,
            goal: Goal::default(),
            confirmed: false,
            pending: false,
            job: None,
            due: None,
            repair: None,
            settled: Vec::new(),
            suspicious: false,
            fault: None,
            can_hold: None,
        }
    }

    /// A client's command has ended on the paths `used`; returns when
    /// multipathd has taken it in, or a good while before `until`.
    pub(super) async fn after(
        &mut self,
        unit: Unit<'_>,
        used: &[Path],
        command: &PrOut,
        outcome: &Outcome,
        until: Instant,
    ) {
        if self.terms.is_none() {
            return;
        }
        let standing = unit.state.registration();
        match arming::decide(self.goal, standing, command, outcome) {
            Decision::Nothing => {}
            Decision::Verify => self.suspect(),
            Decision::Hold(held) => self.hold(held),
            Decision::Holder => {
                if let (Goal::Armed(made), true) = (self.goal, self.can_hold != Some(false)) {
                    let engine = unit.engine(used, until);
                    if let Some(held) = engine.holds(made.key).await {
                        self.hold(held);
                    }
                }
            }
            Decision::Pursue(goal) => {
                self.map = unit.source.map_name().as_deref().and_then(MapName::new);
                if self.map.is_none() {
                    tracing::warn!(device = %unit.source.key(), "a map without a name that \
                        multipathd could be told");
                    return;
                }
                let before = std::mem::replace(&mut self.goal, goal);
                self.unconfirmed();
                self.pending = true;
                let now = Instant::now();
                let left = until.saturating_duration_since(now);
                self.settle(now + CLIENT_PATIENCE.min(left / 2)).await;
                self.settled.clear();
                self.cover(unit, used, before, until).await;
            }
        }
    }

    /// Paths that came up while the command ran were not among its paths, and
    /// multipathd did not know yet what to do with them.
    async fn cover(&mut self, unit: Unit<'_>, used: &[Path], before: Goal, until: Instant) {
        if self.coordination() != Some(Coordination::Coordinate) {
            return;
        }
        let known: Vec<PathId> = used.iter().map(|path| path.id.clone()).collect();
        let paths = unit.shared.refresh(unit.source);
        let mut engine = unit.engine(&paths, until);
        match (self.goal, before) {
            (Goal::Armed(made), _) => {
                self.settled = engine.register_newcomers(&known).await;
                self.plan_repair(&engine, made.key);
            }
            (Goal::Disarmed, Goal::Armed(made)) => engine.owe_newcomers(&known, made.key),
            _ => {}
        }
    }

    /// Registers paths that the registration has not reached yet.
    async fn repair(&mut self, unit: Unit<'_>) {
        self.repair = None;
        let (Goal::Armed(made), Some(Coordination::Coordinate)) = (self.goal, self.coordination())
        else {
            return;
        };
        let paths = unit.shared.refresh(unit.source);
        let mut engine = unit.engine(&paths, Instant::now() + OWN_PATIENCE);
        let odd = engine.register_newcomers(&self.settled).await;
        self.settled.extend(odd);
        match engine.state.registration() {
            Some(_) => self.plan_repair(&engine, made.key),
            // Fenced meanwhile.
            None => self.suspect(),
        }
    }

    fn plan_repair(&mut self, engine: &Direct<'_>, key: ReservationKey) {
        let waiting = |path: &Path| {
            !engine.state.was_given(&path.id, key) && !self.settled.contains(&path.id)
        };
        let any = engine.paths.iter().any(waiting);
        self.repair = any.then(|| Instant::now() + REPAIR_PERIOD);
    }

    /// What the actor has to see to next; never without a goal. May be dropped
    /// at any time.
    pub async fn event(&mut self) -> Event {
        let (due, repair) = (self.due, self.repair);
        let job = &mut self.job;
        tokio::select! {
            told = async {
                match job {
                    Some(job) => job.await.ok(),
                    None => std::future::pending().await,
                }
            } => Event(Kind::Told(told)),
            () = at(due) => Event(Kind::Due),
            () = at(repair) => Event(Kind::Repair),
            () = self.watch.suspicion.notified() => Event(Kind::Suspicion),
        }
    }

    /// Sees to it.
    pub(super) async fn attend(&mut self, event: Event, unit: Unit<'_>) {
        match event.0 {
            Kind::Told(told) => {
                self.job = None;
                let newly = told.is_some_and(|told| self.told(told));
                if newly {
                    self.repair(unit).await;
                }
            }
            Kind::Suspicion => {
                self.suspect();
                self.work(unit).await;
            }
            Kind::Due => self.work(unit).await,
            Kind::Repair => self.repair(unit).await,
        }
    }

    /// Does what is due.
    async fn work(&mut self, unit: Unit<'_>) {
        self.due = None;
        let Some(terms) = self.terms.clone() else {
            return;
        };
        if self.job.is_some() {
            // Its end will say what is next.
            return;
        }
        let stands = self.confirmed && !self.suspicious;
        match self.goal {
            Goal::Untouched => {}
            Goal::Disarmed if self.confirmed => {}
            Goal::Disarmed => self.start(Errand::Pursue),
            Goal::Armed(_) if stands => self.start(Errand::Check),
            Goal::Armed(_) if !self.suspicious && terms.multipathd.is_paused() => {
                self.due = Some(terms.multipathd.next_try());
            }
            Goal::Armed(made) => {
                let paths = unit.shared.refresh(unit.source);
                let until = Instant::now() + OWN_PATIENCE;
                let standing = unit.engine(&paths, until).standing().await;
                match standing {
                    Standing::Ours => {
                        self.suspicious = false;
                        match self.confirmed {
                            true => self.due = Some(Instant::now() + terms.check),
                            false => self.start(Errand::Pursue),
                        }
                    }
                    Standing::Gone => {
                        tracing::warn!(key = %made.key, "our registration is gone from the unit; \
                            multipathd is told not to put it back");
                        self.goal = Goal::Disarmed;
                        self.unconfirmed();
                        self.start(Errand::Pursue);
                    }
                    Standing::Unproven => self.due = Some(Instant::now() + terms.retry),
                }
            }
        }
    }

    /// Lets jobs run until nothing is pending or `limit` has passed.
    async fn settle(&mut self, limit: Instant) {
        while self.job.is_some() || self.pending {
            if self.job.is_none() {
                self.start(Errand::Pursue);
                continue;
            }
            let Some(job) = &mut self.job else { return };
            match timeout_at(limit, job).await {
                Ok(told) => {
                    self.job = None;
                    if let Ok(told) = told {
                        self.told(told);
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// Starts a job; there must be none.
    fn start(&mut self, errand: Errand) {
        self.pending = false;
        let (Some(terms), Some(map)) = (&self.terms, &self.map) else {
            return;
        };
        let observing = terms.coordination == Coordination::Observe;
        let requests = match (errand, self.goal) {
            (Errand::Pursue, Goal::Disarmed) if observing => Vec::new(),
            (Errand::Pursue, goal) if !observing => arming::requests(map, goal),
            (_, goal) => arming::questions(map, goal),
        };
        self.run(errand, requests);
    }

    /// Tells who holds the reservation, where multipathd can know.
    fn hold(&mut self, held: bool) {
        let armed = matches!(self.goal, Goal::Armed(_));
        let coordinating = self.coordination() == Some(Coordination::Coordinate);
        let Some(map) = &self.map else { return };
        if !armed || !coordinating || self.can_hold == Some(false) || self.job.is_some() {
            return;
        }
        let verb = match held {
            true => Verb::SetHold,
            false => Verb::UnsetHold,
        };
        let request = |verb| Request {
            map: map.clone(),
            verb,
        };
        let requests = vec![request(Verb::GetHold), request(verb)];
        self.run(Errand::Hold, requests);
    }

    fn run(&mut self, errand: Errand, requests: Vec<Request>) {
        let Some(terms) = &self.terms else { return };
        let multipathd = Arc::clone(&terms.multipathd);
        let goal = self.goal;
        self.job = Some(tokio::spawn(async move {
            let mut can_hold = None;
            let end = converse(&multipathd, goal, &requests, &mut can_hold).await;
            Told {
                goal,
                errand,
                end,
                can_hold,
            }
        }));
    }

    /// Takes the end of a job in; true where multipathd came to guard paths
    /// with it.
    fn told(&mut self, told: Told) -> bool {
        let Some(terms) = self.terms.clone() else {
            return false;
        };
        let now = Instant::now();
        self.can_hold = told.can_hold.or(self.can_hold);
        if matches!(told.end, Err(Trouble::Unreachable(_))) {
            // Another version may take its place.
            self.can_hold = None;
        }
        if self.suspicious || told.goal != self.goal {
            self.due = Some(now);
            return false;
        }
        if told.errand == Errand::Hold {
            if !self.confirmed || told.end.is_err() {
                self.due = Some(now);
            } else if self.due.is_none() {
                self.due = Some(now + terms.check);
            }
            return false;
        }
        let armed = matches!(self.goal, Goal::Armed(_));
        match told.end {
            Ok(()) => {
                let newly = !std::mem::replace(&mut self.confirmed, true);
                self.fault = None;
                self.publish();
                self.due = armed.then_some(now + terms.check);
                if newly {
                    tracing::info!(
                        map = self.map.as_ref().map(tracing::field::display),
                        armed,
                        "multipathd has been told"
                    );
                }
                newly && armed
            }
            // What is not running registers nothing.
            Err(Trouble::Unreachable(Unreachable::Absent(_) | Unreachable::Paused)) if !armed => {
                self.confirmed = true;
                self.due = None;
                false
            }
            Err(Trouble::Unreachable(_)) => {
                self.unconfirmed();
                self.due = Some(terms.multipathd.next_try());
                false
            }
            Err(Trouble::Fault(fault)) => {
                if self.fault.as_ref() != Some(&fault) {
                    let map = self.map.as_ref().map(tracing::field::display);
                    tracing::warn!(map, %fault, "paths that return are not guarded as they \
                        should be; trying again");
                }
                self.unconfirmed();
                self.fault = Some(fault);
                self.due = Some(match (told.errand, terms.coordination) {
                    (_, Coordination::Observe) => now + terms.check,
                    (Errand::Check, _) => now,
                    _ => now + terms.retry,
                });
                false
            }
        }
    }

    /// The registration may be gone: the unit is asked.
    pub(super) fn suspect(&mut self) {
        if matches!(self.goal, Goal::Armed(_)) {
            self.suspicious = true;
            self.due = Some(Instant::now());
        }
    }

    fn unconfirmed(&mut self) {
        self.confirmed = false;
        self.suspicious = false;
        self.publish();
    }

    fn publish(&self) {
        let (key, confirmed) = match self.goal {
            Goal::Armed(made) => (made.key, self.confirmed),
            Goal::Untouched | Goal::Disarmed => (ReservationKey::ZERO, false),
        };
        self.watch.key.store(key.0, Ordering::Relaxed);
        self.watch.confirmed.store(confirmed, Ordering::Relaxed);
    }

    fn coordination(&self) -> Option<Coordination> {
        self.terms.as_ref().map(|terms| terms.coordination)
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Sends requests until one is judged a fault or not answered.
async fn converse(
    multipathd: &Multipathd,
    goal: Goal,
    requests: &[Request],
    can_hold: &mut Option<bool>,
) -> Result<(), Trouble> {
    for request in requests {
        let reply = multipathd.ask(request).await?;
        if request.verb == Verb::GetHold {
            let known = !matches!(reply, Reply::Refused(_));
            *can_hold = Some(known);
            if !known {
                return Ok(());
            }
        }
        arming::judge(goal, request.verb, &reply)?;
    }
    Ok(())
}

/// The unit, lent by its actor.
#[derive(Debug)]
pub(super) struct Unit<'a> {
    pub(super) shared: &'a Shared,
    pub(super) source: &'a Source,
    pub(super) state: &'a mut LunState,
}

impl<'a> Unit<'a> {
    fn engine(self, paths: &'a [Path], until: Instant) -> Direct<'a> {
        Direct {
            paths,
            state: self.state,
            until,
            map: self.source.map(),
        }
    }
}
