//! What the library's return codes mean to a client.
//!
//! | code | name | answer | why |
//! |---|---|---|---|
//! | 0 | SUCCESS | GOOD | |
//! | 1 | SYNTAX_ERROR | 05/26/00 | nothing was sent: the key that multipath.conf or multipathd has is missing or another; not to be retried. Commands other than new registrations go to the unit directly instead, which may see it otherwise |
//! | 2 | SENSE_NOT_READY | 02/04/00 | the library drops the rest of the sense, here as below |
//! | 3 | SENSE_MEDIUM_ERROR | 03/11/00 | |
//! | 4 | SENSE_HARDWARE_ERROR | 04/44/00 | |
//! | 5 | ILLEGAL_REQ | 05/26/00 | |
//! | 6 | SENSE_UNIT_ATTENTION | 06/29/00 | not executed, send it again; the one unit attention that claims nothing about reservations |
//! | 7 | SENSE_INVALID_OP | 05/20/00 | |
//! | 11 | RESERV_CONFLICT | RESERVATION CONFLICT | of one path; as with 1, the unit is asked again directly |
//! | 8, 9, 10, 12 to 17, -1 and all others | aborted, file, map, multipathd, thread or transport error | 0B/08/00 | it may have been executed, on some paths |

use crate::scsi::{Outcome, SenseCode};

/// A return code of `mpath_persistent_reserve_out`, one byte of it: none is
/// outside -1 to 17.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub i8);

impl Code {
    /// Done.
    pub const SUCCESS: Self = Code(0);
    /// The configured key refuses the command.
    pub const SYNTAX_ERROR: Self = Code(1);
    /// RESERVATION CONFLICT, on the path that was asked last.
    pub const CONFLICT: Self = Code(11);

    /// Reads what the library returned.
    pub fn new(returned: i32) -> Self {
        Code(i8::try_from(returned).unwrap_or(i8::MAX))
    }

    /// The answer to the client.
    pub fn outcome(self) -> Outcome {
        let code = match self.0 {
            0 => return Outcome::good(Vec::new()),
            11 => return Outcome::conflict(),
            1 | 5 => SenseCode::INVALID_FIELD_IN_PARAMETER_LIST,
            2 => SenseCode::NOT_READY,
            3 => SenseCode::READ_ERROR,
            4 => SenseCode::TARGET_FAILURE,
            6 => SenseCode::POWER_ON_OR_RESET,
            7 => SenseCode::INVALID_OPCODE,
            _ => SenseCode::COMMUNICATION_FAILURE,
        };
        Outcome::check(code)
    }

    /// What went wrong, in words.
    pub fn meaning(self) -> &'static str {
        match self.0 {
            0 => "success",
            1 => "refused by the reservation_key in multipath.conf",
            2 => "not ready",
            3 => "medium error",
            4 => "hardware error",
            5 => "illegal request",
            6 => "unit attention",
            7 => "invalid operation code",
            8 => "aborted command",
            11 => "reservation conflict",
            12 => "the device cannot be used",
            13 => "error of device-mapper or multipathd",
            14 => "no thread",
            _ => "transport or other error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zero_is_good() {
        for returned in -300..300 {
            let outcome = Code::new(returned).outcome();
            assert_eq!(outcome.is_good(), returned == 0, "{returned}");
            assert_eq!(outcome.is_conflict(), returned == 11, "{returned}");
        }
    }
}
