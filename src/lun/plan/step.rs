//! What a round asks for, and how that ended.

use super::verdict::Verdict;
use crate::lun::state::PathId;
use crate::scsi::ReservationKey;
use crate::scsi::pr::{FullStatus, RegisterFlags};

/// The next command.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// READ FULL STATUS, through whichever path answers.
    ReadStatus,
    /// Writing the state down, for good: what comes next may only be done if it
    /// is known to have been tried.
    Note,
    /// REGISTER, which fails on a path with another key than `from`.
    Register(Register),
    /// None: the round is over.
    End(Verdict),
}

/// A REGISTER of ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Register {
    /// Where.
    pub path: PathId,
    /// The key it replaces; zero for none.
    pub from: ReservationKey,
    /// The key to be there; zero for none.
    pub to: ReservationKey,
    /// ALL_TG_PT and APTPL.
    pub flags: RegisterFlags,
}

/// How the last command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// There was none yet.
    Begin,
    /// The state is written down.
    Noted,
    /// The registrations; `None` where they cannot be read.
    Status(Option<FullStatus>),
    /// They cannot be read, but the list of keys has not ours.
    Absent,
    /// REGISTER took effect.
    Good,
    /// RESERVATION CONFLICT: another key is there.
    Conflict,
    /// It had no effect for another reason.
    Failed,
    /// Nobody knows.
    Unknown,
}
