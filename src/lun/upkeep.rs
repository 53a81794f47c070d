//! What an administrator asks of a unit's actor, besides commands: done in its
//! turn, and bound by the rules that hold for everything else.

use super::actor::Actor;
use super::plan::verdict::Verdict;
use super::route::{Route, Source};
use super::state::{PathId, Registration};
use crate::engine::Path;
use crate::scsi::pr::{RegisterFlags, ReservationData};
use crate::scsi::{InAction, Outcome, PrIn, PrOut, ReservationKey, SenseCode};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// A fence leaves a unit attention, which an administrator knows of already.
const ATTENTIONS: usize = 3;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upkeep {
    /// Take this registration in hand, where paths of ours have it already. None
    /// is made.
    Adopt(Registration),
    /// Register again the key whose registration was taken away, from no key on
    /// every path, unless somebody has it.
    Rearm(RegisterFlags),
    /// Know nothing of the unit any more.
    Forget,
    /// Look at the registrations now, and bring every path in line, or this one.
    Repair(Option<PathId>),
    /// Read what is registered and reserved, now.
    Refresh,
}

/// Why it was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unmet {
    /// The unit is not used as a map.
    #[error("it is used by a single path, whose registration is its client's own")]
    SinglePath,
    /// A client's registration stands.
    #[error("{0} is registered: it has to be unregistered first")]
    Registered(ReservationKey),
    /// None does.
    #[error("no key of this host is registered ({0})")]
    NotRegistered(String),
    /// No path of this host has the key.
    #[error("no path of this host has {0}")]
    NotHere(ReservationKey),
    /// A registration with this key was taken away.
    #[error(
        "{0} was taken away from this host: Rearm registers it again where nobody has it, \
        Forget ends what is remembered of that"
    )]
    TakenAway(ReservationKey),
    /// No registration was taken away.
    #[error("no registration of this host was taken away")]
    NothingTaken,
    /// Nexuses have the key that is to be registered again.
    #[error("{key} is registered on {nexuses} nexuses: it is another host's, or still to go")]
    InUse {
        /// The key.
        key: ReservationKey,
        /// How many have it.
        nexuses: usize,
    },
    /// Nothing shows that the registration stands.
    #[error("nothing shows that the registration stands: paths are left as they are")]
    Unproven,
    /// Paths that can be used still lack the registration.
    #[error("not registered on {}", join(.0))]
    Lacking(Vec<PathId>),
    /// The unit does not tell of its registrations.
    #[error("the registrations cannot be read")]
    Unreadable,
    /// A command ended like this.
    #[error("{0}")]
    Answer(Outcome),
}

fn join(paths: &[PathId]) -> String {
    let paths: Vec<_> = paths.iter().map(ToString::to_string).collect();
    paths.join(", ")
}

impl From<SenseCode> for Unmet {
    fn from(code: SenseCode) -> Self {
        Unmet::Answer(Outcome::check(code))
    }
}

/// An [`Upkeep`] in the actor's queue.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) upkeep: Upkeep,
    pub(super) route: Route,
    pub(super) until: Instant,
    pub(super) reply: oneshot::Sender<Result<(), Unmet>>,
}

impl Actor {
    pub(super) async fn attend(&mut self, request: Request) {
        let Request {
            upkeep,
            route,
            until,
            reply,
        } = request;
        let end = match Instant::now() < until {
            true => self.keep_up(&upkeep, &route, until).await,
            false => Err(SenseCode::TIMEOUT_BEFORE_PROCESSING.into()),
        };
        self.notebook.note(&self.state).await;
        self.publish();
        let error = end.as_ref().err().map(tracing::field::display);
        tracing::info!(wwid = %self.wwid, ?upkeep, error, "upkeep");
        // Who gave up hears nothing; the state is up to date anyway.
        let _ = reply.send(end);
    }

    async fn keep_up(
        &mut self,
        upkeep: &Upkeep,
        route: &Route,
        until: Instant,
    ) -> Result<(), Unmet> {
        match (upkeep, route) {
            (Upkeep::Forget, _) => self.forget(),
            (Upkeep::Refresh, _) => self.refresh(route, until).await,
            (_, Route::Single(..)) => Err(Unmet::SinglePath),
            (Upkeep::Adopt(wanted), Route::Multipath(source, _)) => {
                self.adopt(*wanted, source, until).await
            }
            (Upkeep::Rearm(flags), Route::Multipath(source, device)) => {
                self.rearm(*flags, source, device, until).await
            }
            (Upkeep::Repair(path), Route::Multipath(source, _)) => {
                self.source = Some(source.clone());
                self.repair(path.as_ref(), until).await
            }
        }
    }

    async fn adopt(
        &mut self,
        wanted: Registration,
        source: &Source,
        until: Instant,
    ) -> Result<(), Unmet> {
        let Registration { key, flags } = wanted;
        match self.state.registration() {
            Some(made) if made.key == key => return Ok(()),
            Some(made) => return Err(Unmet::Registered(made.key)),
            None => {}
        }
        let taken = self.state.ended().is_some_and(|(ended, _)| ended == key);
        if taken || self.state.owed().iter().any(|(_, owed)| *owed == key) {
            return Err(Unmet::TakenAway(key));
        }
        let command = PrOut::register(key, key, flags);
        self.admit(&command)?;
        let paths = self.settled_paths(source, until).await?;
        if !self.engine(&paths, source, until).claim(wanted).await {
            return Err(Unmet::NotHere(key));
        }
        let good = Outcome::good(Vec::new());
        self.after(source, &paths, &command, &good, until).await;
        Ok(())
    }

    /// An administrator's word that this host may have its key again. It undoes
    /// no fence by itself: where the key is anywhere, nothing is sent, and what
    /// is sent fails on a path with any key.
    async fn rearm(
        &mut self,
        flags: RegisterFlags,
        source: &Source,
        device: &OwnedFd,
        until: Instant,
    ) -> Result<(), Unmet> {
        let (None, Some((key, _))) = (self.state.registration(), self.state.ended()) else {
            return Err(Unmet::NothingTaken);
        };
        let command = PrOut::register(ReservationKey::ZERO, key, flags);
        self.admit(&command)?;
        let paths = self.settled_paths(source, until).await?;
        let engine = self.engine(&paths, source, until);
        match engine.nexuses_with(key).await {
            Some(0) => {}
            Some(nexuses) => return Err(Unmet::InUse { key, nexuses }),
            None => return Err(Unmet::Unreadable),
        }
        let mut outcome = self.execute_on_map(source, device, &command, until).await;
        for _ in 0..ATTENTIONS {
            let attention = outcome.sense_code();
            if !attention.is_some_and(SenseCode::is_unit_attention) {
                break;
            }
            outcome = self.execute_on_map(source, device, &command, until).await;
        }
        match outcome.is_good() {
            true => Ok(()),
            false => Err(Unmet::Answer(outcome)),
        }
    }

    fn forget(&mut self) -> Result<(), Unmet> {
        if let Some(made) = self.state.registration() {
            return Err(Unmet::Registered(made.key));
        }
        self.state = Default::default();
        self.said = None;
        self.claimed_at = None;
        self.view.single = None;
        self.shared.watch.expect(ReservationKey::ZERO);
        // A key in the configuration is looked for as on the first day.
        self.look_by(Instant::now());
        Ok(())
    }

    async fn repair(&mut self, only: Option<&PathId>, until: Instant) -> Result<(), Unmet> {
        let Some(source) = self.source.clone() else {
            return Err(Unmet::SinglePath);
        };
        let paths = self.settled_paths(&source, until).await?;
        if self.state.registration().is_some() {
            // A foreign key may have gone meanwhile.
            for path in &*paths {
                if self.state.is_odd(&path.id) {
                    self.state.disturb(&path.id, false);
                }
            }
        }
        self.look_and(true, until).await;
        if self.state.registration().is_none() {
            let reason = self.state.ended().map(|(_, loss)| loss.reason());
            let reason = reason.unwrap_or("nobody here has registered");
            return Err(Unmet::NotRegistered(reason.into()));
        }
        if self.said != Some(Verdict::Stands) {
            return Err(Unmet::Unproven);
        }
        let usable = self.view.usable.iter().flatten();
        let asked: Vec<_> = match only {
            Some(path) => vec![path],
            None => usable.collect(),
        };
        let lacking = asked.into_iter().filter(|path| {
            // One that is odd is covered by nobody's word.
            self.state.is_odd(path) || !self.state.is_covered(path)
        });
        let lacking: Vec<_> = lacking.cloned().collect();
        match lacking.is_empty() {
            true => Ok(()),
            false => Err(Unmet::Lacking(lacking)),
        }
    }

    async fn refresh(&mut self, route: &Route, until: Instant) -> Result<(), Unmet> {
        match route {
            Route::Multipath(source, _) => {
                let paths = self.shared.refresh(source);
                self.source = Some(source.clone());
                let engine = self.engine(&paths, source, until);
                let mut now = engine.reservation().await;
                for _ in 0..ATTENTIONS {
                    if now.is_some() {
                        break;
                    }
                    now = engine.reservation().await;
                }
                let now = now.ok_or(Unmet::Unreadable)?;
                self.show_registrations(source, &paths, Some(now), until)
                    .await;
                let known = self.state.generation();
                if self.state.registration().is_some() && known != Some(now.generation) {
                    self.look_by(Instant::now());
                }
                Ok(())
            }
            Route::Single(id, nexus) => {
                let (gates, late) = (&self.shared.gates, self.shared.late.clone());
                let path = Path::new(id.clone(), Arc::clone(nexus), gates, late);
                let command = PrIn {
                    action: InAction::ReadReservation,
                    allocation_length: ReservationData::LENGTH,
                };
                let outcome = path.read(command, until).await;
                let outcome = outcome.map_err(|error| Unmet::Answer(error.answer()))?;
                if !outcome.is_good() {
                    return Err(Unmet::Answer(outcome));
                }
                let data = ReservationData::parse(&outcome.data);
                self.view.saw(Some(data.map_err(|_| Unmet::Unreadable)?));
                Ok(())
            }
        }
    }

    /// The paths as they are now, none with a command of the library's on it.
    async fn settled_paths(
        &mut self,
        source: &Source,
        until: Instant,
    ) -> Result<Arc<[Path]>, Unmet> {
        let settled = self.worker.settle(until).await;
        settled.map_err(|error| Unmet::Answer(error.answer()))?;
        self.source = Some(source.clone());
        Ok(self.shared.refresh(source))
    }
}
