//! SCSI persistent reservations as types: bytes in, types out, and back.
//!
//! Pure: no I/O, no clock, no `unsafe`. Everything here follows SPC-4 (the
//! clauses on PERSISTENT RESERVE IN and OUT, 6.15 and 6.16) and SAM-5 (status
//! codes, 5.3.1). A SCSI outcome is data: a RESERVATION CONFLICT is as good an
//! [`Outcome`] as GOOD is.

#![forbid(unsafe_code)]

pub mod cdb;
pub mod key;
pub mod pr;
pub mod sense;
pub mod transport_id;

pub use cdb::{Cdb, Command, InAction, OutAction, PrIn, PrOut};
pub use key::ReservationKey;
pub use pr::{ReservationType, ScopeType};
pub use sense::{Sense, SenseCode, Status};
pub use transport_id::TransportId;

/// What a logical unit answered to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// SAM-5 status code.
    pub status: Status,
    /// Present with CHECK CONDITION.
    pub sense: Option<Sense>,
    /// Data-in, already cut to what the device really sent. Empty unless GOOD.
    pub data: Vec<u8>,
}

impl Outcome {
    /// GOOD, with data for a PERSISTENT RESERVE IN and none for an OUT.
    pub fn good(data: Vec<u8>) -> Self {
        Outcome {
            status: Status::Good,
            sense: None,
            data,
        }
    }

    /// A status other than CHECK CONDITION, without data.
    pub fn status(status: Status) -> Self {
        Outcome {
            status,
            sense: None,
            data: Vec::new(),
        }
    }

    /// CHECK CONDITION with fixed-format sense.
    pub fn check(code: SenseCode) -> Self {
        Outcome {
            status: Status::CheckCondition,
            sense: Some(Sense::fixed(code)),
            data: Vec::new(),
        }
    }

    /// RESERVATION CONFLICT.
    pub fn conflict() -> Self {
        Outcome::status(Status::ReservationConflict)
    }

    /// True for GOOD.
    pub fn is_good(&self) -> bool {
        self.status == Status::Good
    }

    /// True for RESERVATION CONFLICT.
    pub fn is_conflict(&self) -> bool {
        self.status == Status::ReservationConflict
    }

    /// Sense key, ASC and ASCQ of a CHECK CONDITION whose sense can be read.
    pub fn sense_code(&self) -> Option<SenseCode> {
        match self.status {
            Status::CheckCondition => self.sense.as_ref().and_then(Sense::code),
            _ => None,
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.sense_code() {
            Some(code) => write!(f, "{} {code}", self.status),
            None => write!(f, "{}", self.status),
        }
    }
}
