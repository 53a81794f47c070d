//! Which commands a reservation lets through (the tables of commands
//! allowed in the presence of reservations in SPC-4 5.13 and SBC-3 4).

use super::reservations::{Held, Reservations};
use crate::scsi::pr::NexusId;
use crate::scsi::{OutAction, ReservationType};

/// What a command does to the medium, as far as reservations care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Allowed to everybody under every reservation.
    Free,
    /// Reads: conflicts with the exclusive-access types.
    Read,
    /// Writes or changes the state of the unit: conflicts with all types.
    Write,
}

/// The class of a CDB other than PERSISTENT RESERVE OUT. An operation code that
/// nobody knows is free: INVALID COMMAND OPERATION CODE ends it for everyone.
pub(super) fn class(cdb: &[u8]) -> Class {
    let byte = |at: usize| cdb.get(at).copied().unwrap_or(0);
    match byte(0) {
        // READ(6, 10, 12, 16), VERIFY, PRE-FETCH, MODE SENSE, READ BUFFER, READ
        // ATTRIBUTE, READ DEFECT DATA, RECEIVE DIAGNOSTIC, SECURITY PROTOCOL IN
        0x08 | 0x28 | 0xa8 | 0x88 | 0x2f | 0xaf | 0x8f | 0x34 | 0x90 | 0x1a | 0x5a | 0x3c
        | 0x8c | 0x37 | 0xb7 | 0x1c | 0xa2 => Class::Read,
        // READ(32)
        0x7f if (byte(8), byte(9)) == (0x00, 0x09) => Class::Read,
        // GET LBA STATUS
        0x9e if byte(1) & 0x1f == 0x12 => Class::Read,
        // START STOP UNIT that only starts
        0x1b if byte(4) & 0xf1 == 0x01 => Class::Read,
        // PREVENT ALLOW MEDIUM REMOVAL that allows
        0x1e if byte(4) & 0x03 == 0 => Class::Free,
        // WRITE(6, 10, 12, 16), WRITE AND VERIFY, WRITE SAME, UNMAP, COMPARE AND
        // WRITE, EXTENDED COPY, FORMAT UNIT, MODE SELECT, LOG SELECT, WRITE
        // BUFFER, SEND DIAGNOSTIC, SANITIZE, SYNCHRONIZE CACHE, and the other
        // forms of the two above and of the 32-byte commands
        0x0a | 0x2a | 0xaa | 0x8a | 0x2e | 0xae | 0x8e | 0x41 | 0x93 | 0x42 | 0x89 | 0x83
        | 0x04 | 0x15 | 0x55 | 0x4c | 0x3b | 0x1d | 0x48 | 0x35 | 0x91 | 0x1b | 0x1e | 0x7f => {
            Class::Write
        }
        _ => Class::Free,
    }
}

/// True where the reservation forbids this nexus a command of this class.
pub(super) fn conflicts(state: &Reservations, nexus: &NexusId, class: Class) -> bool {
    let Some(Held { kind, .. }) = &state.held else {
        return false;
    };
    let insider = state.is_holder(nexus) || (!kind.is_holder_only() && state.is_registered(nexus));
    !insider
        && match class {
            Class::Free => false,
            Class::Read => matches!(
                kind,
                ReservationType::ExclusiveAccess
                    | ReservationType::ExclusiveAccessRegistrantsOnly
                    | ReservationType::ExclusiveAccessAllRegistrants
            ),
            Class::Write => true,
        }
}

/// True where the reservation forbids this nexus a PERSISTENT RESERVE OUT with
/// this service action, whatever its parameter list says. One that nobody knows
/// ends in INVALID FIELD IN CDB for everyone.
pub(super) fn out_conflicts(state: &Reservations, nexus: &NexusId, action: u8) -> bool {
    const RESERVE: u8 = OutAction::Reserve as u8;
    const RELEASE: u8 = OutAction::Release as u8;
    const CLEAR: u8 = OutAction::Clear as u8;
    const PREEMPT: u8 = OutAction::Preempt as u8;
    const PREEMPT_AND_ABORT: u8 = OutAction::PreemptAndAbort as u8;
    const REGISTER_AND_MOVE: u8 = OutAction::RegisterAndMove as u8;
    state.held.is_some()
        && match action {
            RELEASE | CLEAR | PREEMPT | PREEMPT_AND_ABORT => !state.is_registered(nexus),
            RESERVE | REGISTER_AND_MOVE => !state.is_holder(nexus),
            _ => false,
        }
}
