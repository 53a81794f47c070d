//! The two commands: PERSISTENT RESERVE IN (5Eh) and OUT (5Fh).
//!
//! A [`Cdb`] is what arrived; [`Cdb::command`] turns it and its parameter list
//! into a [`Command`], or says which sense the client gets instead.

use super::pr::{MoveParameters, OutParameters, RegisterFlags, ScopeType};
use super::{ReservationKey, SenseCode};
use std::fmt;

/// Length of the persistent reservation CDBs (SPC-4 6.15.1, 6.16.1).
pub const CDB_LENGTH: usize = 10;
/// Shortest parameter list of PERSISTENT RESERVE OUT (SPC-4 6.16.3).
pub const PARAMETER_LIST_MINIMUM: usize = 24;

const PR_IN: u8 = 0x5e;
const PR_OUT: u8 = 0x5f;

/// Which way the data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// PERSISTENT RESERVE IN: the device sends.
    In,
    /// PERSISTENT RESERVE OUT: the device receives.
    Out,
}

/// A 16-byte CDB field whose operation code is 5Eh or 5Fh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cdb([u8; 16]);

/// An operation code other than 5Eh and 5Fh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("operation code {0:02X}h is not a persistent reservation command")]
pub struct UnknownOpcode(pub u8);

impl TryFrom<[u8; 16]> for Cdb {
    type Error = UnknownOpcode;

    fn try_from(bytes: [u8; 16]) -> Result<Self, UnknownOpcode> {
        match bytes[0] {
            PR_IN | PR_OUT => Ok(Cdb(bytes)),
            other => Err(UnknownOpcode(other)),
        }
    }
}

impl Cdb {
    /// The CDB of a PERSISTENT RESERVE IN.
    pub fn pr_in(action: InAction, allocation_length: u16) -> Self {
        let mut bytes = [0; 16];
        bytes[0] = PR_IN;
        bytes[1] = action as u8;
        bytes[7..9].copy_from_slice(&allocation_length.to_be_bytes());
        Cdb(bytes)
    }

    /// The CDB of a PERSISTENT RESERVE OUT.
    pub fn pr_out(action: OutAction, scope_type: ScopeType, parameter_list_length: u16) -> Self {
        let mut bytes = [0; 16];
        bytes[0] = PR_OUT;
        bytes[1] = action as u8;
        bytes[2] = scope_type.0;
        bytes[7..9].copy_from_slice(&parameter_list_length.to_be_bytes());
        Cdb(bytes)
    }

    /// The ten bytes that go to a device.
    pub fn as_device_bytes(&self) -> &[u8] {
        &self.0[..CDB_LENGTH]
    }

    /// All sixteen bytes, as the helper protocol carries them.
    pub fn as_wire_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Which of the two commands this is.
    pub fn direction(&self) -> Direction {
        match self.0[0] {
            PR_IN => Direction::In,
            _ => Direction::Out,
        }
    }

    /// Bytes 7 and 8: the allocation length of an IN, and the part of the
    /// parameter list length of an OUT that the helper protocol transfers.
    pub fn transfer_length(&self) -> u16 {
        u16::from_be_bytes([self.0[7], self.0[8]])
    }

    /// The command, given the parameter list that came with it.
    ///
    /// # Errors
    /// The sense to answer with, where the command could not mean anything to
    /// any device: an unknown service action (05/24/00), a parameter list whose
    /// length in the CDB is not the one that was sent or that is shorter than
    /// 24 bytes (05/1A/00).
    pub fn command(&self, parameters: &[u8]) -> Result<Command, SenseCode> {
        let action = self.0[1] & 0x1f;
        match self.direction() {
            Direction::In => Ok(Command::In(PrIn {
                action: InAction::from_bits(action).ok_or(SenseCode::INVALID_FIELD_IN_CDB)?,
                allocation_length: self.transfer_length(),
            })),
            Direction::Out => {
                let announced =
                    u32::from_be_bytes([self.0[5], self.0[6], self.0[7], self.0[8]]) as usize;
                if announced != parameters.len() || announced < PARAMETER_LIST_MINIMUM {
                    return Err(SenseCode::PARAMETER_LIST_LENGTH_ERROR);
                }
                let action = OutAction::from_bits(action).ok_or(SenseCode::INVALID_FIELD_IN_CDB)?;
                Ok(Command::Out(PrOut {
                    action,
                    scope_type: ScopeType(self.0[2]),
                    parameters: OutParameters::parse(action, parameters)
                        .ok_or(SenseCode::PARAMETER_LIST_LENGTH_ERROR)?,
                }))
            }
        }
    }
}

/// Service actions of PERSISTENT RESERVE IN (SPC-4 table 211).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum InAction {
    /// All registered keys.
    ReadKeys = 0,
    /// The reservation, if there is one.
    ReadReservation = 1,
    /// What the device server supports.
    ReportCapabilities = 2,
    /// Every registration with its nexus.
    ReadFullStatus = 3,
}

impl InAction {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => InAction::ReadKeys,
            1 => InAction::ReadReservation,
            2 => InAction::ReportCapabilities,
            3 => InAction::ReadFullStatus,
            _ => return None,
        })
    }
}

impl fmt::Display for InAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InAction::ReadKeys => "READ KEYS",
            InAction::ReadReservation => "READ RESERVATION",
            InAction::ReportCapabilities => "REPORT CAPABILITIES",
            InAction::ReadFullStatus => "READ FULL STATUS",
        })
    }
}

/// The name of the service action, or its number where nobody knows it.
impl fmt::Display for Cdb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (opcode, action) = (self.0[0], self.0[1] & 0x1f);
        let name = match self.direction() {
            Direction::In => InAction::from_bits(action).map(|action| action.to_string()),
            Direction::Out => OutAction::from_bits(action).map(|action| action.to_string()),
        };
        match name {
            Some(name) => f.write_str(&name),
            None => write!(f, "{opcode:02X}h/{action:02X}h"),
        }
    }
}

/// Service actions of PERSISTENT RESERVE OUT (SPC-4 table 219).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OutAction {
    /// Register, change or remove the key of this nexus.
    Register = 0,
    /// Create a reservation.
    Reserve = 1,
    /// Give the reservation up.
    Release = 2,
    /// Remove the reservation and every registration.
    Clear = 3,
    /// Remove registrations by key, and take the reservation over from them.
    Preempt = 4,
    /// PREEMPT, and abort the commands of those that lost their registration.
    PreemptAndAbort = 5,
    /// REGISTER without naming the present key.
    RegisterAndIgnore = 6,
    /// Register another nexus and hand it the reservation.
    RegisterAndMove = 7,
    /// Start anew after the device lost its reservation information.
    ReplaceLostReservation = 8,
}

impl OutAction {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => OutAction::Register,
            1 => OutAction::Reserve,
            2 => OutAction::Release,
            3 => OutAction::Clear,
            4 => OutAction::Preempt,
            5 => OutAction::PreemptAndAbort,
            6 => OutAction::RegisterAndIgnore,
            7 => OutAction::RegisterAndMove,
            8 => OutAction::ReplaceLostReservation,
            _ => return None,
        })
    }

    /// True for a command that sets or removes the key of its own nexus.
    pub fn registers(self) -> bool {
        matches!(self, OutAction::Register | OutAction::RegisterAndIgnore)
    }

    /// True for a command that, when it takes effect, steps PRGENERATION: all
    /// but RESERVE and RELEASE (SPC-4 6.15.2).
    pub fn steps_generation(self) -> bool {
        !matches!(self, OutAction::Reserve | OutAction::Release)
    }
}

impl fmt::Display for OutAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OutAction::Register => "REGISTER",
            OutAction::Reserve => "RESERVE",
            OutAction::Release => "RELEASE",
            OutAction::Clear => "CLEAR",
            OutAction::Preempt => "PREEMPT",
            OutAction::PreemptAndAbort => "PREEMPT AND ABORT",
            OutAction::RegisterAndIgnore => "REGISTER AND IGNORE EXISTING KEY",
            OutAction::RegisterAndMove => "REGISTER AND MOVE",
            OutAction::ReplaceLostReservation => "REPLACE LOST RESERVATION",
        })
    }
}

/// A parsed persistent reservation command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// PERSISTENT RESERVE IN.
    In(PrIn),
    /// PERSISTENT RESERVE OUT.
    Out(PrOut),
}

/// A parsed PERSISTENT RESERVE IN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrIn {
    /// What to read.
    pub action: InAction,
    /// Most bytes the client takes.
    pub allocation_length: u16,
}

impl PrIn {
    /// Its CDB.
    pub fn cdb(&self) -> Cdb {
        Cdb::pr_in(self.action, self.allocation_length)
    }
}

/// A parsed PERSISTENT RESERVE OUT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrOut {
    /// What to do.
    pub action: OutAction,
    /// Scope and type, as they stand in the CDB.
    pub scope_type: ScopeType,
    /// The parameter list.
    pub parameters: OutParameters,
}

impl PrOut {
    /// A command with the basic parameter list and no flags.
    pub fn basic(
        action: OutAction,
        scope_type: ScopeType,
        key: ReservationKey,
        service_action_key: ReservationKey,
    ) -> Self {
        PrOut {
            action,
            scope_type,
            parameters: OutParameters {
                key,
                service_action_key,
                flags: RegisterFlags::default(),
                transport_ids: Vec::new(),
                moved: None,
            },
        }
    }

    /// REGISTER from one key to another; zero means unregistered.
    pub fn register(from: ReservationKey, to: ReservationKey, flags: RegisterFlags) -> Self {
        let mut command = Self::basic(OutAction::Register, ScopeType(0), from, to);
        command.parameters.flags = flags;
        command
    }

    /// REGISTER AND MOVE, with the parameter list of SPC-4 6.16.4.
    pub fn register_and_move(
        key: ReservationKey,
        service_action_key: ReservationKey,
        moved: MoveParameters,
    ) -> Self {
        let mut command = Self::basic(
            OutAction::RegisterAndMove,
            ScopeType(0),
            key,
            service_action_key,
        );
        command.parameters.moved = Some(moved);
        command
    }

    /// The same command with another key and service action key.
    pub fn with_keys(&self, key: ReservationKey, service_action_key: ReservationKey) -> Self {
        let mut command = self.clone();
        command.parameters.key = key;
        command.parameters.service_action_key = service_action_key;
        command
    }

    /// Its CDB and parameter list.
    pub fn encode(&self) -> (Cdb, Vec<u8>) {
        let parameters = self.parameters.encode();
        // The list was read from at most 8192 bytes or made by us: it fits.
        let length = parameters.len() as u16;
        (
            Cdb::pr_out(self.action, self.scope_type, length),
            parameters,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out_cdb(action: u8, length: u32) -> Cdb {
        let mut bytes = [0; 16];
        bytes[0] = 0x5f;
        bytes[1] = action;
        bytes[2] = 0x05;
        bytes[5..9].copy_from_slice(&length.to_be_bytes());
        Cdb::try_from(bytes).unwrap()
    }

    #[test]
    fn only_the_two_opcodes_are_cdbs() {
        assert_eq!(Cdb::try_from([0x12; 16]), Err(UnknownOpcode(0x12)));
    }

    #[test]
    fn unknown_service_actions_are_refused() {
        let cdb = Cdb::try_from([0x5e, 4, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(cdb.command(&[]), Err(SenseCode::INVALID_FIELD_IN_CDB));
        assert_eq!(
            out_cdb(9, 24).command(&[0; 24]),
            Err(SenseCode::INVALID_FIELD_IN_CDB)
        );
    }

    #[test]
    fn the_whole_32_bit_parameter_list_length_counts() {
        assert_eq!(
            out_cdb(0, 0x0001_0018).command(&[0; 24]),
            Err(SenseCode::PARAMETER_LIST_LENGTH_ERROR)
        );
        assert_eq!(
            out_cdb(0, 23).command(&[0; 23]),
            Err(SenseCode::PARAMETER_LIST_LENGTH_ERROR)
        );
        assert!(out_cdb(0, 24).command(&[0; 24]).is_ok());
    }

    #[test]
    fn a_register_goes_out_as_it_came_in() {
        let mut list = [0; 24];
        list[7] = 0xa1;
        list[15] = 0xa2;
        list[20] = 0x01;
        let Ok(Command::Out(command)) = out_cdb(0, 24).command(&list) else {
            panic!("a REGISTER")
        };
        assert_eq!(command.parameters.key, ReservationKey(0xa1));
        assert!(command.parameters.flags.aptpl);
        let (cdb, parameters) = command.encode();
        assert_eq!(parameters, list);
        assert_eq!(cdb, out_cdb(0, 24));
    }
}
