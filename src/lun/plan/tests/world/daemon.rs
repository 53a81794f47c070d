//! The daemon: its steps, one at a time, and its end.

use super::{FOREIGN, World, path};
use crate::lun::plan::round::Round;
use crate::lun::plan::step::{Answer, Register, Step};
use crate::lun::plan::verdict::Verdict;
use crate::lun::state::record::Record;
use crate::scsi::PrOut;

impl World {
    fn take_notice(&mut self) {
        for (index, notice) in self.notices.iter().enumerate() {
            if let Some(renewed) = notice {
                self.state.disturb(&path(index), *renewed);
            }
        }
    }

    pub(super) fn restart(&mut self, same_boot: bool) {
        self.round = None;
        self.excused |= self.written.probing;
        self.state = self.written.state(same_boot);
        self.written = Record::from(&self.state);
        self.notices = vec![Some(true); self.up.len()];
        self.short_list = false;
        self.lost_reply = false;
    }

    /// True where the daemon has something to do.
    pub fn is_busy(&self) -> bool {
        let wants = || {
            let mut up = (0..self.up.len()).filter(|index| self.up[*index]);
            up.any(|index| self.state.wants(&path(index)))
        };
        let noticed = self.notices.iter().any(Option::is_some);
        let waits = !self.resting && self.some_path().is_some() && wants();
        self.round.is_some() || self.due || noticed || waits
    }

    /// The daemon takes its next step.
    pub fn step(&mut self) {
        let Some((mut round, step)) = self.round.take() else {
            self.take_notice();
            self.notices.fill(None);
            self.due = false;
            self.resting = false;
            self.devices = self.nexuses.clone();
            let present = (0..self.up.len()).map(path).collect();
            let usable = (0..self.up.len()).filter(|index| self.up[*index]);
            let mut round = Round::new(present, usable.map(path).collect(), true);
            let step = round.next(&mut self.state, Answer::Begin);
            return self.go_on(round, step);
        };
        let answer = match &step {
            Step::ReadStatus => match self.some_path() {
                Some(through) => {
                    let mut status = self.status(through);
                    // What came before the reading counts for it.
                    self.take_notice();
                    if std::mem::take(&mut self.short_list) {
                        status.complete = false;
                        status.descriptors.pop();
                    }
                    Answer::Status(Some(status))
                }
                None => Answer::Status(None),
            },
            Step::Note => {
                self.written = Record::from(&self.state);
                Answer::Noted
            }
            Step::Register(register) => self.carry_out(register),
            Step::End(_) => return,
        };
        let step = round.next(&mut self.state, answer);
        self.go_on(round, step);
    }

    fn go_on(&mut self, round: Round, step: Step) {
        match step {
            Step::End(verdict) => {
                self.written = Record::from(&self.state);
                if verdict == Verdict::Unproven {
                    self.excused = true;
                    self.resting = true;
                }
            }
            step => self.round = Some((round, step)),
        }
    }

    fn carry_out(&mut self, register: &Register) -> Answer {
        let index: usize = register.path.0.parse().expect("a number");
        if !self.up[index] || self.nexuses[index] != self.devices[index] {
            return Answer::Failed;
        }
        let before = self.key_of(index).unwrap_or_default();
        let command = PrOut::register(register.from, register.to, register.flags);
        let nexus = self.nexuses[index].clone();
        let outcome = self.send(&nexus, &command);
        if outcome.is_good() {
            self.steps += 1;
            self.trespassed |= before == FOREIGN;
            self.unasked |= self.rebooted && !register.to.is_zero();
        }
        match outcome.is_good() {
            _ if std::mem::take(&mut self.lost_reply) => {
                // What somebody else did then may look like our write's effect.
                self.lost_one = true;
                self.excused |= self.meddled;
                Answer::Unknown
            }
            true => Answer::Good,
            false => Answer::Conflict,
        }
    }

    /// The daemon works until there is nothing left to do; false where that
    /// never happens.
    pub fn settle(&mut self) -> bool {
        const MANY: usize = 200;
        for _ in 0..MANY {
            if !self.is_busy() {
                return true;
            }
            self.step();
        }
        false
    }
}
