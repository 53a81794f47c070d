//! What can happen around the daemon, and what it does to the world.

use super::{FOREIGN, HIGH, K1, K2, Known, RIVAL, World, ignore, nexus, rival};
use crate::scsi::pr::RegisterFlags;
use crate::scsi::{OutAction, PrOut, ReservationKey, ScopeType};

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

impl World {
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

    fn noticed(&mut self, index: usize, renewed: bool) {
        let before = self.notices[index].unwrap_or(false);
        self.notices[index] = Some(before || renewed);
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
}
