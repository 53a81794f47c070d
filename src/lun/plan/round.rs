//! One round: reads the registrations, registers the paths that lack ours, and
//! takes off the keys that are to go.

use super::check::{Check, kept};
use super::step::{Answer, Register, Step};
use super::verdict::{Own, Verdict, judge};
use crate::lun::state::{Loss, LunState, PathId, Registration, new_rows};
use crate::scsi::ReservationKey;
use crate::scsi::pr::{FullStatus, RegisterFlags};
use std::collections::{BTreeSet, VecDeque};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Stage {
    Begin,
    /// The first reading.
    Judge,
    /// What is about to be tried on this path is being written down.
    Note(PathId),
    /// A path is being registered.
    Register(PathId),
    /// The reading after a path was registered; for certain, or perhaps.
    Check(PathId, bool),
    /// What was put on this path, for certain or perhaps, is being taken off.
    Undo(PathId, ReservationKey, bool),
    /// An old key is being taken off this path.
    Collect(PathId, ReservationKey),
}

/// A round at work. Ask [`Round::next`] for a command, run it, and say how it
/// ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Round {
    /// Every path there is; one that does not answer may have our key.
    present: Vec<PathId>,
    usable: Vec<PathId>,
    repairs: bool,
    verdict: Verdict,
    stage: Stage,
    missing: VecDeque<PathId>,
    /// Keys of ours that the path in hand may have instead.
    old: Vec<ReservationKey>,
    /// Steps of the generation since the last reading that are ours.
    own_steps: u32,
    last: Option<FullStatus>,
    /// Paths that were left as they are, with the key they have, if that is known.
    left: Vec<(PathId, Option<ReservationKey>)>,
    debts: VecDeque<(PathId, ReservationKey)>,
}

impl Round {
    /// A round over the paths that answer, out of those `present`. Without
    /// `repairs` nothing is put on a path; a loss is noticed, and old keys go, all
    /// the same.
    pub fn new(present: Vec<PathId>, usable: Vec<PathId>, repairs: bool) -> Self {
        Round {
            present,
            usable,
            repairs,
            verdict: Verdict::Unarmed,
            stage: Stage::Begin,
            missing: VecDeque::new(),
            old: Vec::new(),
            own_steps: 0,
            last: None,
            left: Vec::new(),
            debts: VecDeque::new(),
        }
    }

    /// The paths that this round found with a key that is not the registration's
    /// and left alone; the key, where the last reading shows it.
    pub fn left(&self) -> &[(PathId, Option<ReservationKey>)] {
        &self.left
    }

    /// The paths that can be used, but lack the registration for certain, as the
    /// last reading shows; none where another is not known to have it.
    pub fn without_key(&self, state: &LunState) -> Vec<PathId> {
        let (Some(status), Some(Registration { key, .. })) = (&self.last, state.registration())
        else {
            return Vec::new();
        };
        let row = |path: &PathId| status.row(state.nexus(path)?);
        let has = |path: &&PathId| row(path).is_some_and(|row| row.key == key);
        // A row that is nobody's may be that of a path we do not know well.
        let mut rows = status.descriptors.iter();
        let unclaimed = rows.any(|row| row.key == key && state.path_of(&row.nexus).is_none());
        if self.verdict != Verdict::Stands || !self.usable.iter().any(|path| has(&path)) {
            return Vec::new();
        }
        let lacks = |path: &&PathId| match state.nexus(path) {
            Some(_) => !has(path),
            None => !unclaimed,
        };
        self.usable.iter().filter(lacks).cloned().collect()
    }

    /// Takes the end of the last command in and says what is next.
    pub fn next(&mut self, state: &mut LunState, answer: Answer) -> Step {
        match (self.stage.clone(), answer) {
            (Stage::Begin, _) => match state.registration().or(state.former()) {
                Some(_) => self.read(Stage::Judge),
                None => self.collect_all(state),
            },
            (Stage::Judge, Answer::Status(status)) => self.judge(state, status),
            (Stage::Judge | Stage::Check(..), Answer::Absent) => {
                self.verdict = Verdict::Gone(Loss::Fenced);
                state.lose(Loss::Fenced, &self.present);
                self.collect_all(state)
            }
            (Stage::Note(path), _) => self.register(state, path, ReservationKey::ZERO),
            (Stage::Register(path), answer) => self.registered(state, path, &answer),
            (Stage::Check(path, certain), Answer::Status(status)) => {
                self.check(state, path, certain, status)
            }
            (Stage::Undo(path, key, certain), answer) => {
                match answer {
                    Answer::Good | Answer::Conflict => {
                        state.probe(false);
                        state.removed(&path, key);
                    }
                    _ => state.owe(&path, key),
                }
                if certain && answer == Answer::Conflict {
                    // Somebody else has taken it off.
                    state.doubt();
                }
                self.collect_all(state)
            }
            (Stage::Collect(path, key), answer) => {
                // On a conflict the path has another key, or none: this is gone.
                if matches!(answer, Answer::Good | Answer::Conflict) {
                    state.removed(&path, key);
                }
                self.collect(state)
            }
            // An answer to a question that was not asked ends the round.
            (Stage::Judge | Stage::Check(..), _) => Step::End(Verdict::Unproven),
        }
    }

    fn read(&mut self, stage: Stage) -> Step {
        self.stage = stage;
        Step::ReadStatus
    }

    fn judge(&mut self, state: &mut LunState, status: Option<FullStatus>) -> Step {
        let Some(status) = status else {
            self.verdict = Verdict::Unproven;
            return match state.former() {
                Some(_) => Step::End(Verdict::Unproven),
                None => self.collect_all(state),
            };
        };
        self.verdict = judge(state, &status, &Own::default());
        if state.is_probing() {
            // We died over it, and cannot tell whether it restored a key that had
            // been taken away: an equal generation may be one that started anew.
            self.verdict = Verdict::Gone(Loss::Doubtful);
        }
        match (state.former(), self.verdict) {
            (None, _) | (_, Verdict::Gone(_)) => {}
            (Some(_), Verdict::Unproven) => return Step::End(Verdict::Unproven),
            (Some(_), _) => {
                state.retire();
                self.verdict = Verdict::Unarmed;
            }
        }
        match self.verdict {
            Verdict::Stands => {
                state.saw(&status);
                self.missing = self.lacking(state, &status);
                self.last = Some(status);
                self.register_next(state)
            }
            Verdict::Gone(loss) => {
                state.lose(loss, &self.present);
                self.collect_all(state)
            }
            Verdict::Unproven | Verdict::Unarmed => self.collect_all(state),
        }
    }

    /// The paths that lack the registration, or may.
    fn lacking(&self, state: &LunState, status: &FullStatus) -> VecDeque<PathId> {
        let Some(Registration { key, .. }) = state.registration().filter(|_| self.repairs) else {
            return VecDeque::new();
        };
        let lacks = |path: &&PathId| {
            let row = state.nexus(path).and_then(|nexus| status.row(nexus));
            let has = row.is_some_and(|row| row.key == key);
            let sure = has && !state.is_renewed(path);
            !sure && !state.is_odd(path)
        };
        self.usable.iter().filter(lacks).cloned().collect()
    }

    fn register_next(&mut self, state: &mut LunState) -> Step {
        state.probe(false);
        let (Some(path), Some(Registration { key, .. })) =
            (self.missing.pop_front(), state.registration())
        else {
            return self.collect_all(state);
        };
        self.old = state.old_keys(&path);
        if state.may_be_seen(&path, key) && kept(Check::NoteFirst) {
            // Fenced just now, it would get back the key that shows us to stand.
            // If we die before we have read that, it is to show nothing.
            state.probe(true);
            self.stage = Stage::Note(path);
            return Step::Note;
        }
        self.register(state, path, ReservationKey::ZERO)
    }

    fn register(&mut self, state: &LunState, path: PathId, from: ReservationKey) -> Step {
        let Some(Registration { key, flags }) = state.registration() else {
            return Step::End(self.verdict);
        };
        self.stage = Stage::Register(path.clone());
        Step::Register(Register {
            path,
            from,
            to: key,
            flags,
        })
    }

    fn registered(&mut self, state: &mut LunState, path: PathId, answer: &Answer) -> Step {
        match answer {
            Answer::Good | Answer::Unknown => {
                let certain = *answer == Answer::Good;
                self.own_steps += u32::from(certain);
                // What we wrote shows nothing of what was there before.
                state.disturb(&path, false);
                match kept(Check::ReadAgain) {
                    true => self.read(Stage::Check(path, certain)),
                    false => {
                        let key = state.registration().map(|registration| registration.key);
                        state.carries(&path, key.unwrap_or_default());
                        self.register_next(state)
                    }
                }
            }
            Answer::Conflict => match self.old.pop() {
                // A key of ours that it may have kept.
                Some(old) => self.register(state, path, old),
                None => self.has_a_key(state, path),
            },
            _ => self.register_next(state),
        }
    }

    /// The path has a key already: ours, by multipathd, or one we do not know.
    fn has_a_key(&mut self, state: &mut LunState, path: PathId) -> Step {
        let ours = state.registration().map(|registration| registration.key);
        let status = self.last.as_ref();
        let row = status.and_then(|status| status.row(state.nexus(&path)?));
        match row.map(|row| row.key) {
            key if key == ours => state.confirm(&path),
            Some(foreign) if !kept(Check::FromNothing) => {
                return self.register(state, path, foreign);
            }
            key => {
                state.leave(&path);
                self.left.push((path, key));
            }
        }
        self.register_next(state)
    }

    fn check(
        &mut self,
        state: &mut LunState,
        path: PathId,
        certain: bool,
        status: Option<FullStatus>,
    ) -> Step {
        let Some(Registration { key, .. }) = state.registration() else {
            return Step::End(self.verdict);
        };
        self.verdict = match &status {
            Some(status) => {
                let own = Own {
                    steps: self.own_steps,
                    wrote: match self.shows_what_we_wrote(status, key, certain) {
                        true => BTreeSet::new(),
                        false => state.may_be(&path),
                    },
                    vanished: certain && self.has_vanished(state, &path, status, key),
                };
                judge(state, status, &own)
            }
            None => Verdict::Unproven,
        };
        match (self.verdict, status) {
            (Verdict::Stands, Some(status)) => {
                state.probe(false);
                if let Some(before) = &self.last {
                    state.learn(&path, key, before, &status);
                }
                if certain && state.is_renewed(&path) {
                    // It had no key, so it is not the nexus it was.
                    state.forget(&path);
                }
                let row = state.nexus(&path).and_then(|nexus| status.row(nexus));
                if certain || row.is_some_and(|row| row.key == key) {
                    state.carries(&path, key);
                }
                if certain && state.nexus(&path).is_none() {
                    // Too much happened to tell which nexus it is.
                    state.leave(&path);
                }
                state.saw(&status);
                self.own_steps = 0;
                self.last = Some(status);
                self.register_next(state)
            }
            (Verdict::Gone(loss), _) => {
                state.lose(loss, &self.present);
                // Taken off before all else.
                state.owe(&path, key);
                self.collect_all(state)
            }
            _ => {
                self.stage = Stage::Undo(path.clone(), key, certain);
                Step::Register(self.removal(state, path, key))
            }
        }
    }

    /// True where the key we put on a path is on no nexus that this path can be.
    fn has_vanished(
        &self,
        state: &LunState,
        path: &PathId,
        status: &FullStatus,
        key: ReservationKey,
    ) -> bool {
        let has = |status: &FullStatus, nexus| status.row(nexus).is_some_and(|row| row.key == key);
        let is_new = |nexus| !self.last.as_ref().is_some_and(|last| has(last, nexus));
        let ours = state.may_be(path);
        let certain = state.nexus(path).is_some() && !state.is_renewed(path);
        let mut rows = status.descriptors.iter().filter(|row| row.key == key);
        !rows.any(|row| ours.contains(&row.nexus) || !certain && is_new(&row.nexus))
    }

    /// True where nothing happened since the reading before but that our write
    /// gave the key to a nexus that had it not; or, where nobody knows whether it
    /// did anything, nothing at all.
    fn shows_what_we_wrote(&self, status: &FullStatus, key: ReservationKey, certain: bool) -> bool {
        self.last.as_ref().is_some_and(|last| {
            let nothing = !certain && last.generation == status.generation;
            nothing || new_rows(key, last, status, 1).len() == 1
        })
    }

    fn collect_all(&mut self, state: &mut LunState) -> Step {
        let usable = |(path, _): &(PathId, ReservationKey)| self.usable.contains(path);
        self.debts = match kept(Check::PayDebts) {
            true => state.owed().into_iter().filter(usable).collect(),
            false => VecDeque::new(),
        };
        self.collect(state)
    }

    fn collect(&mut self, state: &LunState) -> Step {
        let Some((path, key)) = self.debts.pop_front() else {
            return Step::End(self.verdict);
        };
        self.stage = Stage::Collect(path.clone(), key);
        Step::Register(self.removal(state, path, key))
    }

    /// With the client's own flags; whoever sends it sees to it that the unit's
    /// APTPL stays as it is.
    fn removal(&self, state: &LunState, path: PathId, key: ReservationKey) -> Register {
        let registration = state.registration();
        let flags = registration.map_or(RegisterFlags::default(), |made| made.flags);
        Register {
            path,
            from: key,
            to: ReservationKey::ZERO,
            flags,
        }
    }
}
