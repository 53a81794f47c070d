//! The client's side of the protocol, as QEMU speaks it.

use super::{DATA_MAXIMUM, REPLY_HEADER};
use crate::scsi::{Outcome, Sense, Status};

/// A reply that breaks the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReply {
    /// A payload length that is negative or above 8192.
    #[error("reply announces {0} bytes of data")]
    PayloadLength(i32),
}

/// The header of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyHeader {
    outcome: Outcome,
    /// Bytes of data that follow.
    pub payload: usize,
}

impl ReplyHeader {
    /// Reads the fixed part of a reply.
    ///
    /// # Errors
    /// [`InvalidReply`] for a payload length no helper may send.
    pub fn parse(header: &[u8; REPLY_HEADER]) -> Result<Self, InvalidReply> {
        let word = |at: usize| {
            i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let length = word(4);
        let payload = usize::try_from(length)
            .ok()
            .filter(|length| *length <= DATA_MAXIMUM)
            .ok_or(InvalidReply::PayloadLength(length))?;
        // QEMU keeps the low eight bits of the status word as well.
        let status = Status::from(header[3]);
        Ok(ReplyHeader {
            outcome: Outcome {
                status,
                sense: (status == Status::CheckCondition).then(|| Sense::from_device(&header[8..])),
                data: Vec::new(),
            },
            payload,
        })
    }

    /// The outcome, given the data that followed.
    pub fn with_data(self, data: Vec<u8>) -> Outcome {
        Outcome {
            data,
            ..self.outcome
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_lie_are_refused() {
        let mut header = [0; REPLY_HEADER];
        header[4] = 0xff;
        assert!(ReplyHeader::parse(&header).is_err());
        header[4..8].copy_from_slice(&8193u32.to_be_bytes());
        assert!(ReplyHeader::parse(&header).is_err());
        header[4..8].copy_from_slice(&16u32.to_be_bytes());
        assert_eq!(ReplyHeader::parse(&header).unwrap().payload, 16);
    }
}
