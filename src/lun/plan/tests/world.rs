//! A unit, our paths to it, other hosts, multipathd, and a daemon that can be
//! killed: everything a round can meet, as one value that can be copied.

use super::super::round::{Answer, Register, Round, Step};
use super::super::verdict::Verdict;
use crate::device::sim::{Config, LogicalUnit};
use crate::lun::state::record::Record;
use crate::lun::state::{LunState, PathId};
use crate::scsi::pr::{FullStatus, NexusId, RegisterFlags};
use crate::scsi::{
    InAction, OutAction, Outcome, PrIn, PrOut, ReservationKey, ScopeType, SenseCode, TransportId,
};
use std::hash::{Hash, Hasher};

/// What our client registers first, and then.
pub const K1: ReservationKey = ReservationKey(0xa1);
pub const K2: ReservationKey = ReservationKey(0xa2);
/// What somebody puts on one of our own paths.
const FOREIGN: ReservationKey = ReservationKey(0xf0);
const RIVAL: ReservationKey = ReservationKey(0xb1);
/// The generation is at least this before a power cycle, and does not get there
/// again after it: or it would not show it, as on a unit that is hardly used.
const HIGH: u32 = 100;

/// What was learned when our client registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Which path is which nexus.
    Paths,
    /// Which nexuses are ours.
    Nexuses,
    /// Nothing: too much happened at the same time.
    Nothing,
}

/// Something that happens around the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A path goes away.
    Down(usize),
    /// It comes back.
    Up(usize),
    /// It is deleted and found again, over the same nexus.
    Renew(usize),
    /// It is deleted, and another nexus is found under its name.
    Swap(usize),
    /// Another host removes our key.
    Preempt,
    /// Another host removes every key.
    Clear,
    /// Another host registers with our key.
    Twin,
    /// The unit forgets everything.
    PowerCycle,
    /// Somebody puts another key on one of our paths.
    Foreign(usize),
    /// Somebody takes our key off one path.
    Unregister(usize),
    /// multipathd has read our key, and is about to register a path that
    /// returns, or one that it finds as it starts.
    MultipathdReads(usize),
    /// multipathd registers it and lets it through.
    MultipathdWrites,
    /// Our client registers, on every path that is there.
    Register(ReservationKey),
    /// Our client unregisters.
    Withdraw,
    /// Our client registers, and the daemon is killed after the first path.
    CutOff(ReservationKey),
    /// The next READ FULL STATUS is cut off.
    ShortList,
    /// The next REGISTER of the daemon is executed, and nobody hears of it.
    LostReply,
    /// The daemon is killed, and started again.
    Crash,
    /// The host is.
    Reboot,
    /// The daemon looks, though nothing happened as far as it knows.
    Poll,
}

/// Everything there is.
#[derive(Debug, Clone)]
pub struct World {
    unit: LogicalUnit,
    nexuses: Vec<NexusId>,
    spare: u64,
    up: Vec<bool>,
    state: LunState,
    round: Option<(Round, Step)>,
    /// The nexuses when the round began: its commands go to these devices.
    devices: Vec<NexusId>,
    written: Record,
    multipathd: Option<(usize, ReservationKey)>,
    notices: Vec<Option<bool>>,
    short_list: bool,
    lost_reply: bool,
    due: bool,
    /// Nothing can be proven for now; the daemon waits for the next poll.
    resting: bool,
    /// Our client's registration was taken away since it was made.
    pub fenced: bool,
    /// The paths that lost it then.
    fenced_off: Vec<usize>,
    /// Our client gave it up.
    pub withdrawn: bool,
    /// The host came back, and no client has registered since.
    rebooted: bool,
    /// A key was put on a path that nobody had asked for.
    pub unasked: bool,
    /// Something happened after which paths may stay unregistered.
    pub excused: bool,
    /// multipathd undid a fence on these paths, in a way that is noticed but
    /// proves nothing.
    pub beyond: Vec<usize>,
    /// It did so in a way that nobody can notice.
    pub unknowable: bool,
    /// Others have changed registrations.
    meddled: bool,
    lost_one: bool,
    /// A key was replaced that we do not know.
    pub trespassed: bool,
    /// What our own rounds have changed, in steps of the generation.
    pub steps: u32,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.unit.reservations().hash(hasher);
        (&self.nexuses, &self.up, &self.state, &self.round).hash(hasher);
        // The record follows from the state it was made of.
        format!("{:?}", self.written).hash(hasher);
        (&self.multipathd, &self.notices, self.short_list).hash(hasher);
        (self.lost_reply, self.due, self.resting).hash(hasher);
        (
            self.fenced,
            &self.fenced_off,
            self.withdrawn,
            self.rebooted,
            self.excused,
            &self.beyond,
        )
            .hash(hasher);
        (self.meddled, self.lost_one).hash(hasher);
    }
}

fn nexus(number: u64) -> NexusId {
    NexusId {
        transport_id: TransportId::sas(number),
        relative_target_port: 1,
    }
}

fn rival() -> NexusId {
    nexus(0xb)
}

fn ignore(to: ReservationKey) -> PrOut {
    let action = OutAction::RegisterAndIgnore;
    PrOut::basic(action, ScopeType(0), ReservationKey::ZERO, to)
}

fn path(index: usize) -> PathId {
    PathId(index.to_string())
}

impl World {
    /// With so many paths, on which our client has registered.
    pub fn new(paths: usize, known: Known) -> Self {
        let nexuses: Vec<_> = (0..paths as u64).map(nexus).collect();
        let mut unit = LogicalUnit::new(Config::new("3600140500000000000000000000000a1"));
        nexuses.iter().for_each(|nexus| unit.attach(nexus));
        let mut world = World {
            unit,
            spare: 0x10,
            up: vec![true; paths],
            state: LunState::default(),
            round: None,
            devices: nexuses.clone(),
            written: Record::default(),
            multipathd: None,
            notices: vec![None; paths],
            nexuses,
            short_list: false,
            lost_reply: false,
            due: false,
            resting: false,
            fenced: false,
            fenced_off: Vec::new(),
            withdrawn: false,
            rebooted: false,
            unasked: false,
            excused: false,
            beyond: Vec::new(),
            unknowable: false,
            meddled: false,
            lost_one: false,
            trespassed: false,
            steps: 0,
        };
        for _ in 0..HIGH {
            world.register_rival();
        }
        world.client_registers(K1, None, known);
        world
    }

    fn send(&mut self, nexus: &NexusId, command: &PrOut) -> Outcome {
        let (cdb, list) = command.encode();
        loop {
            let outcome = self.unit.execute(nexus, cdb.as_device_bytes(), &list);
            let attention = outcome.sense_code();
            if !attention.is_some_and(SenseCode::is_unit_attention) {
                return outcome;
            }
        }
    }

    fn register_rival(&mut self) {
        self.send(&rival(), &ignore(RIVAL));
    }

    fn key_of(&self, index: usize) -> Option<ReservationKey> {
        self.unit.reservations().key_of(&self.nexuses[index])
    }

    fn status(&mut self, through: usize) -> FullStatus {
        let command = PrIn {
            action: InAction::ReadFullStatus,
            allocation_length: 8192,
        };
        let nexus = self.nexuses[through].clone();
        let mut outcome;
        loop {
            let cdb = command.cdb();
            outcome = self.unit.execute(&nexus, cdb.as_device_bytes(), &[]);
            if outcome.is_good() {
                break;
            }
        }
        FullStatus::parse(&outcome.data).expect("of a simulated unit")
    }

    fn some_path(&self) -> Option<usize> {
        self.up.iter().position(|up| *up)
    }

    fn ours(&self) -> Option<ReservationKey> {
        self.state.registration().map(|made| made.key)
    }

    /// What may happen now.
    pub fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for index in 0..self.up.len() {
            if self.up[index] {
                events.push(Event::Down(index));
                events.push(Event::Unregister(index));
            } else {
                events.extend([Event::Up(index), Event::Swap(index)]);
            }
            events.extend([Event::Renew(index), Event::Foreign(index)]);
            events.push(Event::MultipathdReads(index));
        }
        events.extend([Event::Preempt, Event::Clear, Event::Twin]);
        if self.unit.reservations().generation >= HIGH {
            events.push(Event::PowerCycle);
        }
        if self.multipathd.is_some() {
            events.push(Event::MultipathdWrites);
        }
        if self.round.is_none() && self.some_path().is_some() {
            events.extend([Event::Register(K1), Event::Register(K2), Event::Withdraw]);
            events.push(Event::CutOff(K2));
        }
        events.extend([Event::ShortList, Event::LostReply, Event::Poll]);
        events.extend([Event::Crash, Event::Reboot]);
        events
    }

    /// Lets it happen; false where it changes nothing.
    pub fn happen(&mut self, event: Event) -> bool {
        let anything = ScopeType(5);
        self.meddled |= matches!(
            event,
            Event::Twin | Event::MultipathdReads(_) | Event::Register(_) | Event::Clear
        );
        self.excused |= self.meddled && self.lost_one;
        match event {
            Event::Down(index) => {
                self.up[index] = false;
                self.noticed(index, false);
            }
            Event::Up(index) => {
                self.up[index] = true;
                self.noticed(index, false);
            }
            Event::Renew(index) => self.noticed(index, true),
            Event::Swap(index) => {
                self.spare += 1;
                self.nexuses[index] = nexus(self.spare);
                self.unit.attach(&self.nexuses[index]);
                self.up[index] = true;
                self.noticed(index, true);
                // A key may stay with a nexus that nobody can speak for.
                self.excused = true;
            }
            Event::Preempt => {
                let Some(key) = self.ours() else { return false };
                if self.unit.reservations().key_of(&rival()) != Some(RIVAL) {
                    self.register_rival();
                }
                let preempt = PrOut::basic(OutAction::Preempt, anything, RIVAL, key);
                let holding = self.registered();
                if !self.send(&rival(), &preempt).is_good() {
                    return false;
                }
                self.fence(holding);
            }
            Event::Clear => {
                self.register_rival();
                let clear = PrOut::basic(OutAction::Clear, anything, RIVAL, ReservationKey::ZERO);
                let holding = self.registered();
                self.send(&rival(), &clear);
                self.fence(holding);
            }
            Event::Twin => {
                let twin = nexus(0xc);
                let Some(key) = self.ours() else { return false };
                if self.unit.reservations().is_registered(&twin) {
                    return false;
                }
                let register = PrOut::register(ReservationKey::ZERO, key, RegisterFlags::default());
                self.send(&twin, &register);
            }
            Event::PowerCycle => {
                let holding = self.registered();
                self.unit.power_cycle();
                self.fence(holding);
            }
            Event::Foreign(index) => {
                let ignore = ignore(FOREIGN);
                let nexus = self.nexuses[index].clone();
                self.send(&nexus, &ignore);
                self.noticed(index, false);
                self.excused = true;
            }
            Event::Unregister(index) => {
                let Some(key) = self.key_of(index) else {
                    return false;
                };
                let nexus = self.nexuses[index].clone();
                let command = PrOut::register(key, ReservationKey::ZERO, RegisterFlags::default());
                self.send(&nexus, &command);
                // With others that did the same it may look like a fence.
                self.excused = true;
            }
            Event::MultipathdReads(index) => {
                let rows = &self.unit.reservations().registrations;
                let Some(key) = self.ours() else { return false };
                if self.multipathd.is_some() || !rows.iter().any(|row| row.key == key) {
                    return false;
                }
                self.multipathd = Some((index, key));
            }
            Event::MultipathdWrites => {
                let Some((index, key)) = self.multipathd.take() else {
                    return false;
                };
                let ignore = ignore(key);
                let nexus = self.nexuses[index].clone();
                // It may take the present key from its only path.
                self.excused |= self.ours() != Some(key);
                self.send(&nexus, &ignore);
                // When it starts it looks at paths that were there all along.
                let returned = !std::mem::replace(&mut self.up[index], true);
                if returned {
                    self.noticed(index, false);
                }
                // With no other path to show the loss nobody can know of it. With
                // one, but nothing that happened to this path, it stays unproven.
                let knows = !self.is_armed() || !self.state.seen_with(key).is_empty();
                let others = knows && self.fenced_off.iter().any(|lost| *lost != index);
                match (self.fenced, others, returned) {
                    (true, false, _) => self.unknowable = true,
                    (true, true, false) => self.beyond.push(index),
                    _ => {}
                }
                let back = |lost: &usize| self.beyond.contains(lost);
                self.unknowable |= self.fenced && self.fenced_off.iter().all(back);
            }
            Event::Register(key) => self.client_registers(key, None, Known::Paths),
            Event::Withdraw => {
                let Some(key) = self.ours() else { return false };
                self.client_withdraws(key);
            }
            Event::CutOff(key) => {
                self.client_registers(key, Some(1), Known::Paths);
                self.restart(true);
                self.excused = true;
            }
            Event::ShortList => {
                if std::mem::replace(&mut self.short_list, true) {
                    return false;
                }
            }
            Event::LostReply => {
                if std::mem::replace(&mut self.lost_reply, true) {
                    return false;
                }
            }
            Event::Crash => self.restart(true),
            Event::Reboot => {
                self.restart(false);
                (self.excused, self.rebooted) = (true, true);
            }
            Event::Poll => {
                if std::mem::replace(&mut self.due, true) {
                    return false;
                }
            }
        }
        true
    }

    fn fence(&mut self, holding: Vec<usize>) {
        self.fenced = true;
        self.fenced_off = holding;
    }

    fn take_notice(&mut self) {
        for (index, notice) in self.notices.iter().enumerate() {
            if let Some(renewed) = notice {
                self.state.disturb(&path(index), *renewed);
            }
        }
    }

    fn noticed(&mut self, index: usize, renewed: bool) {
        let before = self.notices[index].unwrap_or(false);
        self.notices[index] = Some(before || renewed);
    }

    fn restart(&mut self, same_boot: bool) {
        self.round = None;
        self.excused |= self.written.probing;
        self.state = self.written.state(same_boot);
        self.written = Record::from(&self.state);
        self.notices = vec![Some(true); self.up.len()];
        self.short_list = false;
        self.lost_reply = false;
    }

    /// As the engine does it on one path after the other; `most` where it is
    /// killed on the way.
    fn client_registers(&mut self, key: ReservationKey, most: Option<usize>, known: Known) {
        let from = self.ours().unwrap_or_default();
        self.state.registering(from, key);
        self.written = Record::from(&self.state);
        let present: Vec<_> = (0..self.up.len()).filter(|index| self.up[*index]).collect();
        let mut on = Vec::new();
        let first = self.status(present[0]);
        for index in present.iter().take(most.unwrap_or(usize::MAX)) {
            let before = self.status(*index);
            let ignore = ignore(key);
            let nexus = self.nexuses[*index].clone();
            self.send(&nexus, &ignore);
            let after = self.status(*index);
            if known == Known::Paths {
                self.state.learn(&path(*index), key, &before, &after);
            }
            on.push(path(*index));
        }
        (self.fenced, self.withdrawn, self.rebooted) = (false, false, false);
        (self.beyond, self.fenced_off) = (Vec::new(), Vec::new());
        self.unknowable = false;
        if most.is_some() {
            return;
        }
        let names: Vec<_> = present.iter().map(|index| path(*index)).collect();
        for index in 0..self.up.len() {
            if !self.up[index] && from != key && !from.is_zero() {
                self.state.owe(&path(index), from);
            }
        }
        self.state
            .registered(key, RegisterFlags::default(), &on, &names);
        let last = self.status(present[0]);
        if known != Known::Nothing {
            self.state.learn_all(on.len() as u32, key, &first, &last);
        }
        self.written = Record::from(&self.state);
        self.resting = false;
    }

    fn client_withdraws(&mut self, key: ReservationKey) {
        let mut on = Vec::new();
        for index in 0..self.up.len() {
            match self.up[index] {
                true => {
                    let nexus = self.nexuses[index].clone();
                    let command =
                        PrOut::register(key, ReservationKey::ZERO, RegisterFlags::default());
                    if self.send(&nexus, &command).is_good() {
                        on.push(path(index));
                    }
                }
                false => self.state.owe(&path(index), key),
            }
        }
        let present: Vec<_> = (0..self.up.len())
            .filter(|index| self.up[*index])
            .map(path)
            .collect();
        self.state.registered(
            ReservationKey::ZERO,
            RegisterFlags::default(),
            &on,
            &present,
        );
        self.written = Record::from(&self.state);
        // Gone by our own will: it is not to come back either.
        self.withdrawn = true;
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

    /// Everything comes back, and the daemon has all the time it wants.
    pub fn bring_all_up(&mut self) {
        for index in 0..self.up.len() {
            if !self.up[index] {
                self.happen(Event::Up(index));
            }
        }
        if self.multipathd.is_some() {
            self.happen(Event::MultipathdWrites);
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

    /// The paths that are there, without our client's key.
    pub fn lacking(&self) -> Vec<usize> {
        let key = self.ours();
        let lacks = |index: &usize| self.up[*index] && self.key_of(*index) != key;
        (0..self.up.len()).filter(lacks).collect()
    }

    /// Paths of ours with the key of the registration.
    fn registered(&self) -> Vec<usize> {
        let key = self.ours();
        let registered = |index: &usize| key.is_some() && self.key_of(*index) == key;
        (0..self.up.len()).filter(registered).collect()
    }

    /// Paths of ours with a key of our client's.
    pub fn holding(&self) -> Vec<usize> {
        let ours = |index: &usize| matches!(self.key_of(*index), Some(K1 | K2));
        (0..self.up.len()).filter(ours).collect()
    }

    /// Paths of ours with a key that our client has given up.
    pub fn stale(&self) -> Vec<usize> {
        let key = self.ours();
        let mut stale = self.holding();
        stale.retain(|index| self.key_of(*index) != key);
        stale
    }

    /// True while our client's registration is believed to stand.
    pub fn is_armed(&self) -> bool {
        self.state.registration().is_some()
    }
}
