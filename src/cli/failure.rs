//! What went wrong, for people, for programs and as an exit code.

use super::meaning;
use crate::client::ClientError;
use crate::config::Invalid;
use crate::scsi::{InAction, OutAction, Outcome};
use serde::Serialize;
use std::path::PathBuf;
use std::{fmt, io};

/// The command that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// PERSISTENT RESERVE IN.
    In(InAction),
    /// PERSISTENT RESERVE OUT.
    Out(OutAction),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::In(action) => action.fmt(f),
            Action::Out(action) => action.fmt(f),
        }
    }
}

/// Why a command line brought no result.
#[derive(Debug)]
pub enum Failure {
    /// The configuration of reservd is of no use.
    Config(Invalid),
    /// A file cannot be read or written.
    File(PathBuf, io::Error),
    /// This process cannot do its work.
    Runtime(io::Error),
    /// reservd cannot be asked over D-Bus.
    Bus(String),
    /// reservd did not do it.
    Refused {
        /// The name of its error, such as `NoSuchDevice`.
        name: String,
        /// In words.
        text: String,
    },
    /// It takes something away, and nobody said that it may.
    Unconfirmed(String),
    /// Nobody takes what is printed.
    Output(io::Error),
    /// The device cannot be opened.
    Device(PathBuf, io::Error),
    /// The helper cannot be reached.
    Connection(PathBuf, io::Error),
    /// The connection failed in the middle of a command.
    Lost(Action, io::Error),
    /// The device's data makes no sense.
    Malformed(Action),
    /// The device, or the helper in its stead, answered with something other
    /// than GOOD.
    Answered(Action, Outcome),
}

impl Failure {
    /// The failure of one command.
    pub fn command(action: Action, error: ClientError) -> Self {
        match error {
            ClientError::Io(error) => Failure::Lost(action, error),
            ClientError::Malformed(_) => Failure::Malformed(action),
            ClientError::Answered(outcome) => Failure::Answered(action, outcome),
        }
    }

    /// As `reservctl --help` lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Answered(_, outcome) if outcome.is_conflict() => 3,
            Failure::Answered(..) => 4,
            Failure::Refused { name, .. } => match name.as_str() {
                "ReservationConflict" => 3,
                "IllegalRequest" | "UnitAttention" | "NotReady" | "MediumError"
                | "HardwareError" | "Malformed" => 4,
                "PolicyDenied" => 5,
                _ => 1,
            },
            Failure::Unconfirmed(_) => 5,
            _ => 1,
        }
    }

    /// What `--json` prints.
    pub fn object(&self) -> FailureObject {
        let error = match self {
            Failure::Config(_) => "config",
            Failure::File(..) => "file",
            Failure::Runtime(_) => "runtime",
            Failure::Bus(_) => "bus",
            Failure::Refused { .. } => "refused",
            Failure::Unconfirmed(_) => "unconfirmed",
            Failure::Output(_) => "output",
            Failure::Device(..) => "device",
            Failure::Connection(..) => "connection",
            Failure::Lost(..) => "lost",
            Failure::Malformed(_) => "malformed",
            Failure::Answered(_, outcome) if outcome.is_conflict() => "conflict",
            Failure::Answered(..) => "status",
        };
        let outcome = match self {
            Failure::Answered(_, outcome) => Some(outcome),
            _ => None,
        };
        let name = match self {
            Failure::Refused { name, .. } => Some(name.clone()),
            _ => None,
        };
        FailureObject {
            error,
            name,
            status: outcome.map(|outcome| outcome.status.to_string()),
            sense: outcome
                .and_then(Outcome::sense_code)
                .map(|code| code.to_string()),
            text: self.to_string(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Config(error) => error.fmt(f),
            Failure::Runtime(error) => error.fmt(f),
            Failure::Bus(text) => write!(f, "D-Bus: {text}"),
            Failure::Refused { name, text } if text.is_empty() => f.write_str(name),
            Failure::Refused { text, .. } => f.write_str(text),
            Failure::Unconfirmed(why) => write!(f, "not done: {why}"),
            Failure::Output(error) => write!(f, "standard output: {error}"),
            Failure::File(path, error) | Failure::Device(path, error) => {
                write!(f, "{}: {error}", path.display())
            }
            Failure::Connection(path, error) => write!(f, "helper {}: {error}", path.display()),
            Failure::Lost(action, error) => {
                write!(f, "{action}: {error}")?;
                match action {
                    Action::In(_) => Ok(()),
                    Action::Out(_) => f.write_str("; whether it was executed is unknown"),
                }
            }
            Failure::Malformed(action) => write!(f, "{action}: the device sent malformed data"),
            Failure::Answered(action, outcome) => {
                write!(f, "{action}: {outcome}")?;
                match meaning::of(*action, outcome) {
                    Some(meaning) => write!(f, ": {meaning}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// A failure as JSON.
#[derive(Debug, Serialize)]
pub struct FailureObject {
    /// `config` (reservd's is of no use), `file` (cannot be read or written),
    /// `runtime`, `bus` (reservd cannot be asked over D-Bus), `refused` (reservd did
    /// not do it), `unconfirmed` (nobody said that it may), `output`, `device` (cannot
    /// be opened), `connection` (helper out of reach), `lost` (connection lost during
    /// the command: its fate is unknown), `malformed` (senseless data), `conflict`
    /// or `status` (see the next two).
    pub error: &'static str,
    /// The name of reservd's error, such as `NoSuchDevice`; null for others.
    pub name: Option<String>,
    /// Name of the SCSI status, such as `CHECK CONDITION`; else null.
    pub status: Option<String>,
    /// Sense key, ASC and ASCQ in hexadecimal, such as `06/2A/05`; else null.
    pub sense: Option<String>,
    /// What people are told.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_unknown_fate_says_so() {
        let lost = |action| Failure::Lost(action, io::ErrorKind::TimedOut.into()).to_string();
        let unknown = "whether it was executed is unknown";
        assert!(lost(Action::Out(OutAction::Clear)).ends_with(unknown));
        assert!(!lost(Action::In(InAction::ReadKeys)).contains(unknown));
    }

    #[test]
    fn sense_that_cannot_be_read_is_left_out() {
        let mut outcome = Outcome::check(crate::scsi::SenseCode::INVALID_OPCODE);
        outcome.sense = None;
        let failure = Failure::Answered(Action::In(InAction::ReadKeys), outcome);
        assert_eq!(failure.to_string(), "READ KEYS: CHECK CONDITION");
        assert_eq!(failure.object().sense, None);
        assert_eq!(failure.exit_code(), 4);
    }
}
