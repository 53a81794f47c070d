//! Keeps multipathd in step with a unit's registration.
//!
//! [`arming`] decides, this does: one [`errand`](super::errand) at a time, beside
//! the actor, so that a multipathd that hangs holds up nobody. A client waits
//! for its registration to be guarded, but not for long; what is not done by
//! then is done later, and only after the actor has looked at the unit and found
//! that the registration is still ours.

use super::arming::{self, Decision, Fault, Goal};
use super::errand::{Errand, Told, Trouble};
use super::plan::verdict::Verdict;
use super::state::Registration;
use super::watch::Watch;
use crate::config::Coordination;
use crate::multipathd::{Multipathd, Unreachable};
use crate::protocol::multipathd::MapName;
use crate::scsi::{Outcome, PrOut, ReservationKey};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

/// A client's answer waits this long, or half its time, for multipathd.
const CLIENT_PATIENCE: Duration = Duration::from_secs(2);

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

/// Something the actor has to see to.
#[derive(Debug)]
pub struct Event(Kind);

#[derive(Debug)]
enum Kind {
    Told(Option<Told>),
    Due,
}

/// What a command's end calls for besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Nothing,
    /// To look whether the registration still stands.
    Look,
    /// To find out whether this key holds the reservation, and say so to
    /// [`Guard::hold`].
    FindHolder(ReservationKey),
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
    /// Nothing is said before the unit has been looked at.
    waits_for_proof: bool,
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
            waits_for_proof: false,
            fault: None,
            can_hold: None,
        }
    }

    /// A client's command has ended, and this is what stands after it; returns
    /// when multipathd has taken it in, or a good while before `until`.
    pub async fn after(
        &mut self,
        map: Option<&str>,
        standing: Option<Registration>,
        command: &PrOut,
        outcome: &Outcome,
        until: Instant,
    ) -> Then {
        if self.terms.is_none() {
            return Then::Nothing;
        }
        match arming::decide(self.goal, standing, command, outcome) {
            Decision::Nothing => {}
            Decision::Verify => return Then::Look,
            Decision::Hold(held) => self.hold(held),
            Decision::Holder => {
                if let (Goal::Armed(made), true) = (self.goal, self.can_hold != Some(false)) {
                    return Then::FindHolder(made.key);
                }
            }
            Decision::Pursue(goal) => {
                self.map = map.and_then(MapName::new);
                if self.map.is_none() {
                    tracing::warn!("a map without a name that multipathd could be told");
                    return Then::Nothing;
                }
                self.goal = goal;
                self.waits_for_proof = false;
                self.unconfirmed();
                self.pending = true;
                let now = Instant::now();
                let left = until.saturating_duration_since(now);
                self.settle(now + CLIENT_PATIENCE.min(left / 2)).await;
            }
        }
        Then::Nothing
    }

    /// What is to be done next; never without a goal. May be dropped at any
    /// time.
    pub async fn event(&mut self) -> Event {
        let due = self.due;
        let job = &mut self.job;
        tokio::select! {
            told = async {
                match job {
                    Some(job) => job.await.ok(),
                    None => std::future::pending().await,
                }
            } => Event(Kind::Told(told)),
            () = at(due) => Event(Kind::Due),
        }
    }

    /// Does it. True where the unit is to be looked at: paths that came before
    /// multipathd was told are nobody's but ours, and before it is told again
    /// the registration must show that it stands.
    pub fn attend(&mut self, event: Event) -> bool {
        match event.0 {
            Kind::Told(told) => {
                self.job = None;
                told.is_some_and(|told| self.told(told))
            }
            Kind::Due => self.work(),
        }
    }

    /// Does what is due.
    fn work(&mut self) -> bool {
        self.due = None;
        let Some(terms) = &self.terms else {
            return false;
        };
        if self.job.is_some() {
            // Its end will say what is next.
            return false;
        }
        match self.goal {
            Goal::Untouched => false,
            Goal::Disarmed => {
                if !self.confirmed {
                    self.start(Errand::Pursue);
                }
                false
            }
            Goal::Armed(_) if self.confirmed => {
                self.start(Errand::Check);
                false
            }
            Goal::Armed(_) if terms.multipathd.is_paused() => {
                self.due = Some(terms.multipathd.next_try());
                false
            }
            Goal::Armed(_) => {
                self.waits_for_proof = true;
                true
            }
        }
    }

    /// The unit has been looked at.
    pub fn judged(&mut self, verdict: Verdict) {
        let (Goal::Armed(_), Some(terms)) = (self.goal, &self.terms) else {
            return;
        };
        match verdict {
            // The end of a job that is under way says what is next.
            Verdict::Stands => {
                let told_again = std::mem::take(&mut self.waits_for_proof);
                if told_again && self.job.is_none() {
                    self.start(Errand::Pursue);
                }
            }
            Verdict::Gone(_) | Verdict::Unarmed => {
                tracing::info!("multipathd is told not to put our registration back");
                self.waits_for_proof = false;
                self.goal = Goal::Disarmed;
                self.unconfirmed();
                if self.job.is_none() {
                    self.start(Errand::Pursue);
                }
            }
            Verdict::Unproven if self.waits_for_proof => {
                self.due = Some(Instant::now() + terms.retry);
            }
            Verdict::Unproven => {}
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
        // Who holds is beside the goal.
        self.pending &= matches!(errand, Errand::Hold(_));
        let (Some(terms), Some(map)) = (&self.terms, &self.map) else {
            return;
        };
        let requests = errand.requests(map, self.goal, terms.coordination);
        let talk = errand.run(Arc::clone(&terms.multipathd), self.goal, requests);
        self.job = Some(tokio::spawn(talk));
    }

    /// Tells who holds the reservation, where multipathd can know.
    pub fn hold(&mut self, held: bool) {
        let armed = matches!(self.goal, Goal::Armed(_));
        let coordinating = self.coordination() == Some(Coordination::Coordinate);
        if armed && coordinating && self.can_hold != Some(false) && self.job.is_none() {
            self.start(Errand::Hold(held));
        }
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
        if told.goal != self.goal {
            self.due = Some(now);
            return false;
        }
        if matches!(told.errand, Errand::Hold(_)) {
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

    fn unconfirmed(&mut self) {
        self.confirmed = false;
        self.publish();
    }

    fn publish(&self) {
        let confirmed = self.confirmed && matches!(self.goal, Goal::Armed(_));
        self.watch.confirm(confirmed);
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
