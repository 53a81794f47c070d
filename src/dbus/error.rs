//! What can go wrong, as errors of the bus: never a return code.

use crate::device::identity::Refusal;
use crate::lun::upkeep::Unmet;
use crate::scsi::{Outcome, SenseCode, Status};
use std::collections::HashMap;
use zbus::DBusError;

/// The errors `org.reservd1.Error.*`, each with words for people.
#[allow(clippy::enum_variant_names, reason = "names as the bus has them")]
#[derive(Debug, DBusError)]
#[zbus(prefix = "org.reservd1.Error")]
pub enum Error {
    /// The bus itself.
    #[zbus(error)]
    ZBus(zbus::Error),
    /// Nothing here has this name, or it is no device that is served.
    NoSuchDevice(String),
    /// Several units have this name.
    AmbiguousDevice(String),
    /// No reservation key, or zero where one is needed.
    InvalidKey(String),
    /// No reservation type.
    InvalidType(String),
    /// An option or argument that makes no sense.
    InvalidArgument(String),
    /// This host has no key registered, as far as reservd knows.
    NotRegistered(String),
    /// The key was taken away from this host.
    Fenced(String),
    /// It does not go with what is registered now.
    WrongState(String),
    /// Some paths are not as they should be.
    PartialFailure(String),
    /// RESERVATION CONFLICT.
    ReservationConflict(String),
    /// The unit, or reservd for this kind of device, does not do that.
    NotSupported(String),
    /// ILLEGAL REQUEST for another reason.
    IllegalRequest(String),
    /// UNIT ATTENTION: the command was not executed.
    UnitAttention(String),
    /// NOT READY.
    NotReady(String),
    /// MEDIUM ERROR.
    MediumError(String),
    /// HARDWARE ERROR.
    HardwareError(String),
    /// ABORTED COMMAND, BUSY and the like.
    Aborted(String),
    /// The answer cannot be read.
    Malformed(String),
    /// No path brought the command to the unit.
    NoUsablePath(String),
    /// As many commands as may run are running.
    Busy(String),
    /// No end in time.
    Timeout(String),
    /// A file of the configuration is wrong.
    ConfigInvalid(String),
    /// The caller may not do that.
    PolicyDenied(String),
}

/// Nothing but an empty dictionary.
///
/// # Errors
/// [`Error::InvalidArgument`].
pub fn no_options<V>(options: &HashMap<String, V>) -> Result<(), Error> {
    match options.keys().next() {
        Some(name) => Err(Error::InvalidArgument(format!(
            "there is no option {name:?}"
        ))),
        None => Ok(()),
    }
}

/// GOOD, or the error for it.
///
/// # Errors
/// Everything but GOOD.
pub fn good(outcome: Outcome) -> Result<Vec<u8>, Error> {
    let text = outcome.to_string();
    let Some(code) = outcome.sense_code() else {
        return match outcome.status {
            Status::Good => Ok(outcome.data),
            Status::ReservationConflict => Err(Error::ReservationConflict(text)),
            _ => Err(Error::Aborted(text)),
        };
    };
    Err(match code {
        SenseCode::TIMEOUT_BEFORE_PROCESSING => Error::Timeout(format!(
            "{text}: no path was free in time, nothing was sent"
        )),
        SenseCode::TIMEOUT_DURING_PROCESSING => Error::Timeout(format!(
            "{text}: sent, and not answered in time; what it did is unknown"
        )),
        SenseCode::NO_RESPONSE_TO_SELECTION | SenseCode::COMMUNICATION_FAILURE => {
            Error::NoUsablePath(format!("{text}: no path brought the command to the unit"))
        }
        SenseCode::INVALID_OPCODE | SenseCode::INVALID_FIELD_IN_CDB => {
            Error::NotSupported(format!("{text}: the unit does not support it"))
        }
        _ => match code.key {
            0x02 => Error::NotReady(text),
            0x03 => Error::MediumError(text),
            0x04 => Error::HardwareError(text),
            0x05 => Error::IllegalRequest(text),
            0x06 => Error::UnitAttention(format!(
                "{text}: something happened to the unit; nothing was done"
            )),
            _ => Error::Aborted(text),
        },
    })
}

impl From<Unmet> for Error {
    fn from(unmet: Unmet) -> Self {
        let text = unmet.to_string();
        match unmet {
            Unmet::SinglePath => Error::NotSupported(text),
            Unmet::NotRegistered(_) | Unmet::NotHere(_) => Error::NotRegistered(text),
            Unmet::TakenAway(_) => Error::Fenced(text),
            Unmet::Registered(_) | Unmet::NothingTaken | Unmet::InUse { .. } | Unmet::Unproven => {
                Error::WrongState(text)
            }
            Unmet::Lacking(_) => Error::PartialFailure(text),
            Unmet::Unreadable => Error::Aborted(text),
            Unmet::Answer(outcome) => match good(outcome) {
                Err(error) => error,
                Ok(_) => Error::Aborted(text),
            },
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Error::NoSuchDevice(refusal.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_but_good_has_a_name() {
        let name = |outcome| good(outcome).unwrap_err().name().to_string();
        let check = |code| name(Outcome::check(code));
        assert_eq!(
            name(Outcome::conflict()),
            "org.reservd1.Error.ReservationConflict"
        );
        for (code, expected) in [
            (SenseCode::TIMEOUT_DURING_PROCESSING, "Timeout"),
            (SenseCode::NO_RESPONSE_TO_SELECTION, "NoUsablePath"),
            (SenseCode::INVALID_OPCODE, "NotSupported"),
            (SenseCode::INVALID_RELEASE, "IllegalRequest"),
            (SenseCode::REGISTRATIONS_PREEMPTED, "UnitAttention"),
            (SenseCode::NOT_READY, "NotReady"),
            (SenseCode::TARGET_FAILURE, "HardwareError"),
            (SenseCode::IO_PROCESS_TERMINATED, "Aborted"),
        ] {
            assert_eq!(check(code), format!("org.reservd1.Error.{expected}"));
        }
        for code in 0..=255 {
            let outcome = Outcome::status(Status::from(code));
            assert_eq!(good(outcome).is_ok(), code == 0, "{code}");
        }
    }
}
