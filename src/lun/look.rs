//! Looking at a unit: whether our registration stands, and which paths lack it.

use super::actor::Actor;
use super::history::Event;
use super::plan::round::Round;
use super::plan::step::{Answer, Step};
use super::plan::verdict::Verdict;
use super::route::Source;
use super::state::{PathId, Registration};
use super::unit::lock;
use crate::config::{KeySource, PathRepair};
use crate::engine::Path;
use crate::scsi::ReservationKey;
use crate::sys::dm::Control;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

/// How often paths are looked at that lack the registration or owe a key.
const REPAIR_PERIOD: Duration = Duration::from_secs(1);
/// For a round of looking, and for what else nobody waits for.
pub(super) const OWN_PATIENCE: Duration = Duration::from_secs(5);

impl Actor {
    pub(super) fn look_by(&mut self, time: Instant) {
        self.look_at = Some(self.look_at.map_or(time, |before| before.min(time)));
    }

    pub(super) fn take_notice(&mut self) {
        let notices = std::mem::take(&mut *lock(&self.shared.notices));
        notices.tell(&mut self.state);
        self.view.curious |= notices.is_about_all();
        if let Some(source) = notices.source {
            self.source = Some(source);
        }
        if let Some(time) = notices.at {
            self.look_by(time);
        }
    }

    /// Looks, unless everything is as it was.
    pub(super) async fn look_if_needed(&mut self) {
        let until = Instant::now() + OWN_PATIENCE;
        let Some(source) = self.source.clone() else {
            self.look_at = None;
            return;
        };
        let paths = self.shared.refresh(&source);
        let settled = !self.state.is_disturbed_at_all()
            && !paths.iter().any(|path| self.state.wants(&path.id));
        if settled && let Some(known) = self.state.generation() {
            let now = self.engine(&paths, &source, until).reservation().await;
            self.show_registrations(&source, &paths, now, until).await;
            if now.is_some_and(|now| now.generation == known) {
                return self.look_again(&paths);
            }
        }
        self.look(until).await;
    }

    /// Looks at the registrations, and brings the paths in line, as far as the
    /// configuration wants that.
    pub(super) async fn look(&mut self, until: Instant) {
        let repairs = self.settings.borrow().path_repair == PathRepair::Repair;
        self.look_and(repairs, until).await;
    }

    /// Looks at the registrations; with `repairs`, paths that lack ours get it.
    pub(super) async fn look_and(&mut self, repairs: bool, until: Instant) {
        let Some(source) = self.source.clone() else {
            return;
        };
        // One of the library's may still be in flight there.
        if self.worker.settle(until).await.is_err() {
            return self.look_by(Instant::now() + REPAIR_PERIOD);
        }
        let paths = self.shared.refresh(&source);
        self.claim(&source, &paths, until).await;
        let before = self.state.registration();
        let verdict = self.round(&source, &paths, repairs, until).await;
        self.notebook.keep(&self.state);
        if let (Some(made), true) = (before, self.said != Some(verdict)) {
            self.say(made.key, verdict);
            self.tell_unproven(verdict);
        }
        self.said = Some(verdict);
        let key = self.state.registration().map(|made| made.key);
        self.shared.watch.expect(key.unwrap_or_default());
        self.guard.judged(verdict);
        if std::mem::take(&mut self.view.curious) || !self.state.is_untouched() {
            let now = self.engine(&paths, &source, until).reservation().await;
            self.show_registrations(&source, &paths, now, until).await;
        }
        self.look_again(&paths);
    }

    /// Takes the configured key in hand, where it is on the unit and neither a
    /// client of ours nor a loss has had the last word.
    async fn claim(&mut self, source: &Source, paths: &[Path], until: Instant) {
        let Some(wanted) = self.claimable() else {
            return;
        };
        let engine = self.engine(paths, source, until);
        let generation = engine.generation().await;
        if generation.is_some() && generation == self.claimed_at {
            return;
        }
        let mut engine = self.engine(paths, source, until);
        self.claimed_at = match engine.claim(wanted).await {
            true => None,
            false => generation,
        };
    }

    fn claimable(&self) -> Option<Registration> {
        let settings = self.settings.borrow();
        let KeySource::Fixed { key, .. } = settings.reservation_key else {
            return None;
        };
        let wanted = settings.path_repair == PathRepair::Repair && self.state.is_untouched();
        wanted.then(|| Registration {
            key,
            flags: settings.flags(),
        })
    }

    /// Carries a round out.
    async fn round(
        &mut self,
        source: &Source,
        paths: &[Path],
        repairs: bool,
        until: Instant,
    ) -> Verdict {
        let usable = self.engine(paths, source, until).usable().await;
        self.view.usable = Some(usable.iter().cloned().collect());
        let present = paths.iter().map(|path| path.id.clone()).collect();
        let mut round = Round::new(present, usable, repairs);
        let mut answer = Answer::Begin;
        let mut repaired = Vec::new();
        loop {
            let step = round.next(&mut self.state, answer);
            answer = match &step {
                Step::End(verdict) => {
                    for (path, key) in round.left() {
                        let key = key.map(tracing::field::display);
                        tracing::warn!(wwid = %self.wwid, %path, key, state = "conflict",
                            "path has a key already that we did not put there: left as it is");
                        let reason = "it has a key already that we did not put there".into();
                        self.tell(Event::Refused {
                            path: path.clone(),
                            reason,
                        });
                    }
                    for (path, key) in repaired {
                        if *verdict == Verdict::Stands {
                            self.tell(Event::Repaired { path, key });
                        }
                    }
                    if self.settings.borrow().strict {
                        keep_out(source, round.without_key(&self.state)).await;
                    }
                    return *verdict;
                }
                Step::Note => {
                    self.notebook.note(&self.state).await;
                    Answer::Noted
                }
                step => self.engine(paths, source, until).carry_out(step).await,
            };
            match (&step, &answer) {
                (Step::Register(made), Answer::Good) if !made.to.is_zero() => {
                    repaired.push((made.path.clone(), made.to));
                }
                (Step::ReadStatus, Answer::Status(Some(status))) => self.view.saw_status(status),
                _ => {}
            }
            if step == Step::ReadStatus {
                // What happened to paths before the reading counts for it.
                lock(&self.shared.notices).tell(&mut self.state);
            }
        }
    }

    /// The journal's line on what became of the registration, and why.
    pub(super) fn say(&self, key: ReservationKey, verdict: Verdict) {
        let (wwid, generation) = (&self.wwid, self.state.generation());
        match verdict {
            Verdict::Gone(loss) => tracing::warn!(%wwid, %key, state = %loss, generation,
                reason = loss.reason(), "our registration is gone, and stays so"),
            Verdict::Unproven => tracing::warn!(%wwid, %key, state = "unproven", generation,
                "nothing shows that our registration stands: paths are left as they are"),
            Verdict::Stands | Verdict::Unarmed => {}
        }
    }

    /// Plans the next look.
    pub(super) fn look_again(&mut self, paths: &[Path]) {
        let registered = self.state.registration().or(self.state.former()).is_some();
        let waiting = paths.iter().any(|path| self.state.wants(&path.id));
        let proven = self.said != Some(Verdict::Unproven);
        let period = match (waiting && proven, registered) {
            (true, _) => Some(REPAIR_PERIOD),
            (false, true) => Some(self.settings.borrow().poll_interval),
            (false, false) if self.claimable().is_some() => {
                Some(self.settings.borrow().poll_interval)
            }
            (false, false) => None,
        };
        self.look_at = period.map(|period| Instant::now() + period);
    }
}

/// Keeps paths out of the I/O of their map: they would fail every write with a
/// RESERVATION CONFLICT. multipathd's checker lets them in again, and the event
/// of that has us look again.
async fn keep_out(source: &Source, paths: Vec<PathId>) {
    for path in paths {
        let Some((map, number)) = source.number_of(&path) else {
            continue;
        };
        let fail = move || {
            let path = (number.major, number.minor);
            Control::open()?.fail_path(map.major, map.minor, path)
        };
        match spawn_blocking(fail).await {
            Ok(Ok(())) => {
                tracing::warn!(%path, %map, "not registered: kept out of I/O (strict)");
            }
            Ok(Err(error)) => tracing::error!(%path, %map, %error, "not kept out of I/O"),
            // The runtime is about to end.
            Err(_) => return,
        }
    }
}
