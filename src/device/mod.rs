//! Logical units and the ways to reach them.
//!
//! A [`Nexus`] is one I_T nexus: one path from this host to a logical unit. It
//! runs one command at a time, blocking, and tells the three fates apart: the
//! unit answered ([`Outcome`]), the command never left
//! ([`TransportError::NotSent`]), or nobody knows ([`TransportError::Unknown`]).

pub mod identity;
pub mod maps;
pub mod sg;
pub mod sim;

use crate::scsi::{Outcome, SenseCode};
use std::time::Duration;

/// The data phase of a command.
#[derive(Debug, Clone, Copy)]
pub enum Transfer<'a> {
    /// No data.
    None,
    /// Up to this many bytes come from the device.
    In(usize),
    /// These bytes go to the device.
    Out(&'a [u8]),
}

/// Why there is no outcome. Never turned into GOOD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The command did not reach the logical unit: no such path, link down,
    /// device offline, refused by the kernel.
    #[error("not sent ({0})")]
    NotSent(Answer),
    /// The command was sent and no status came back: time-out, reset, link lost
    /// half-way. The logical unit may or may not have executed it.
    #[error("fate unknown ({0})")]
    Unknown(Answer),
}

impl TransportError {
    /// What a client is told when this ends its command.
    pub fn answer(self) -> Outcome {
        match self {
            TransportError::NotSent(answer) | TransportError::Unknown(answer) => answer.outcome(),
        }
    }

    /// Not sent, with this sense for the client.
    pub const fn not_sent(code: SenseCode) -> Self {
        TransportError::NotSent(Answer::Check(code))
    }

    /// Fate unknown, with this sense for the client.
    pub const fn unknown(code: SenseCode) -> Self {
        TransportError::Unknown(Answer::Check(code))
    }
}

/// How a transport error is told to a client: never GOOD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// BUSY: try again.
    Busy,
    /// CHECK CONDITION.
    Check(SenseCode),
}

impl Answer {
    fn outcome(self) -> Outcome {
        match self {
            Answer::Busy => Outcome::status(crate::scsi::Status::Busy),
            Answer::Check(code) => Outcome::check(code),
        }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Answer::Busy => f.write_str("BUSY"),
            Answer::Check(code) => write!(f, "{code}"),
        }
    }
}

/// One I_T nexus to a logical unit.
pub trait Nexus: Send + Sync + std::fmt::Debug {
    /// Sends one CDB and waits for its status; blocks for at most about
    /// `timeout` where the transport can keep time at all.
    ///
    /// # Errors
    /// [`TransportError`] when no status came back.
    fn execute(
        &self,
        cdb: &[u8],
        data: Transfer<'_>,
        timeout: Duration,
    ) -> Result<Outcome, TransportError>;
}
