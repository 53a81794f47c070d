//! The input as what the client does.
//!
//! Two bytes are the faults of the two paths, the third says whether the
//! handshake is done properly. Then one byte is a step, with its arguments
//! behind it.

use super::host::World;
use reservd::scsi::pr::RegisterFlags;
use reservd::scsi::{PrOut, ReservationKey, ScopeType};

/// Enough for any order of things.
const MOST_STEPS: usize = 48;

/// What the client does next.
pub enum Step<'i> {
    /// Sends bytes, with these devices beside the first.
    Send(Vec<u8>, &'i [u8]),
    /// Lets the service do something.
    Wait,
    /// Ends its direction.
    Finish,
    /// Is gone.
    Close,
}

/// A client's life.
pub struct Script<'i> {
    input: &'i [u8],
    left: usize,
    shakes_hands: bool,
}

impl<'i> Script<'i> {
    /// Sets the faults and returns the rest.
    pub fn read(input: &'i [u8], world: &World) -> Script<'i> {
        let mut script = Script {
            input,
            left: MOST_STEPS,
            shakes_hands: false,
        };
        for path in 0..2 {
            world.set_faults(path, script.byte());
        }
        script.shakes_hands = script.byte() & 7 != 7;
        script
    }

    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    fn take(&mut self, length: usize) -> &'i [u8] {
        let (taken, rest) = self.input.split_at(length.min(self.input.len()));
        self.input = rest;
        taken
    }

    /// A device list of one, as a rule.
    fn devices(&mut self) -> &'i [u8] {
        let control = self.input.first().copied().unwrap_or_default();
        match control >> 6 {
            3 => {
                self.byte();
                self.take(usize::from(control & 3))
            }
            _ => self.take(1),
        }
    }

    /// A PERSISTENT RESERVE OUT that makes sense: action, type and both keys
    /// from a small choice.
    fn out(&mut self) -> (Vec<u8>, Vec<u8>) {
        let (action, keys, flags) = (self.byte(), self.byte(), self.byte());
        let key = |bits: u8| ReservationKey(u64::from(bits & 3));
        let mut command = PrOut::register(key(keys), key(keys >> 2), RegisterFlags::default());
        command.scope_type = ScopeType(keys >> 4);
        let (cdb, mut parameters) = command.encode();
        let mut cdb = *cdb.as_wire_bytes();
        cdb[1] = action % 10;
        parameters[20] = flags & 0x0d;
        (cdb.to_vec(), parameters)
    }
}

impl<'i> Iterator for Script<'i> {
    type Item = Step<'i>;

    fn next(&mut self) -> Option<Step<'i>> {
        if std::mem::take(&mut self.shakes_hands) {
            return Some(Step::Send(vec![0; 4], &[]));
        }
        if self.input.is_empty() || self.left == 0 {
            return None;
        }
        self.left -= 1;
        let step = self.byte();
        Some(match step & 7 {
            0 => Step::Wait,
            1 => {
                let length = self.byte();
                Step::Send(self.take(usize::from(length)).to_vec(), &[])
            }
            2 => {
                let (devices, length) = (self.devices(), self.byte());
                Step::Send(self.take(usize::from(length)).to_vec(), devices)
            }
            3 => {
                // PERSISTENT RESERVE IN.
                let (action, devices) = (self.byte(), self.devices());
                let length = self.take(2);
                let mut cdb = vec![0; 16];
                cdb[0] = 0x5e;
                cdb[1] = action;
                cdb[7..7 + length.len()].copy_from_slice(length);
                Step::Send(cdb, devices)
            }
            4 | 5 => {
                // PERSISTENT RESERVE OUT; its parameters in the same message, for which a
                // stream has no meaning, or as many as fit this step.
                let devices = self.devices();
                let (mut bytes, parameters) = self.out();
                bytes.extend(parameters);
                if step & 0x80 != 0 {
                    bytes.truncate(usize::from(self.byte()));
                }
                Step::Send(bytes, devices)
            }
            6 => {
                // Filler, up to what a field can take.
                let length = usize::from(self.byte()) << (step >> 3 & 7);
                Step::Send(vec![step; length], &[])
            }
            _ if step & 0x38 == 0x38 => Step::Close,
            _ if step & 0x30 == 0x20 => Step::Finish,
            _ => Step::Wait,
        })
    }
}
