//! What the common answers of devices mean, in a few words.

use super::failure::Action;
use crate::scsi::{OutAction, Outcome, SenseCode, Status};

/// What this answer to this command most likely means; `None` for one that is
/// rare and speaks for itself.
pub(super) fn of(action: Action, outcome: &Outcome) -> Option<&'static str> {
    match outcome.status {
        Status::ReservationConflict => Some(conflict(action)),
        Status::Busy | Status::TaskSetFull => Some("the device is busy, try again"),
        Status::TaskAborted => Some("another initiator aborted it"),
        _ => outcome.sense_code().and_then(sense),
    }
}

/// SPC-4 6.16 names the cases in which each command conflicts.
fn conflict(action: Action) -> &'static str {
    match action {
        Action::In(_) => "another initiator holds a reservation of the old kind (RESERVE)",
        Action::Out(OutAction::Register) => {
            "the key of this host is not the one given with --key (without it: none)"
        }
        Action::Out(OutAction::Reserve) => {
            "the key given is not the one registered for this host, \
             or there is a reservation of another holder or type"
        }
        Action::Out(OutAction::Preempt | OutAction::PreemptAndAbort) => {
            "the key given is not the one registered for this host, \
             or nobody has the victim's key"
        }
        Action::Out(_) => "the key given is not the one registered for this host",
    }
}

fn sense(code: SenseCode) -> Option<&'static str> {
    Some(match code {
        SenseCode::INVALID_OPCODE => {
            "not a SCSI disk or multipath map, or one without persistent reservations, \
             or opened read-only"
        }
        SenseCode::INVALID_FIELD_IN_CDB => "the device does not support this action or type",
        SenseCode::INVALID_FIELD_IN_PARAMETER_LIST => {
            "a flag that the device does not support, \
             or a key that it or reservd.toml does not want here"
        }
        SenseCode::INVALID_RELEASE => "the reservation is of another type",
        SenseCode::INSUFFICIENT_REGISTRATION_RESOURCES => "the device has no room for another key",
        SenseCode::RESERVATIONS_PREEMPTED => {
            "not executed: another host removed all keys and the reservation (CLEAR)"
        }
        SenseCode::RESERVATIONS_RELEASED => "not executed: a reservation was released meanwhile",
        SenseCode::REGISTRATIONS_PREEMPTED => {
            "not executed: another host removed this host's key (PREEMPT)"
        }
        SenseCode::IO_PROCESS_TERMINATED => "not a block device, or the helper gave up on it",
        SenseCode::NO_RESPONSE_TO_SELECTION => "no path to the device",
        SenseCode::COMMUNICATION_FAILURE => "the path to the device failed",
        SenseCode::TIMEOUT_BEFORE_PROCESSING => {
            "never sent: the device was busy with other commands for too long"
        }
        SenseCode::TIMEOUT_DURING_PROCESSING => {
            "no answer in time; whether it was executed is unknown"
        }
        SenseCode::TARGET_FAILURE => "the device failed",
        code if code.is_port_unusable() => "this path cannot be used at present",
        code if code.is_unit_attention() => "not executed: the device's state changed, try again",
        SenseCode { key: 0x02, .. } => "the device is not ready",
        _ => return None,
    })
}
