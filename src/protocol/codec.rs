//! The helper's side of the protocol.

use super::{CDB_FIELD, DATA_MAXIMUM, FEATURES_LENGTH, REPLY_HEADER};
use crate::scsi::cdb::Direction;
use crate::scsi::{Cdb, Outcome};

/// Feature bits this helper supports: none is defined.
pub const SUPPORTED_FEATURES: u32 = 0;

/// What a helper sends first.
pub fn greeting() -> [u8; FEATURES_LENGTH] {
    SUPPORTED_FEATURES.to_be_bytes()
}

/// One request of a client, with the descriptor `F` of the device it is for.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<F> {
    /// The CDB field, its operation code checked.
    pub cdb: Cdb,
    /// The parameter list of a PERSISTENT RESERVE OUT; empty for an IN.
    pub parameters: Vec<u8>,
    /// The device.
    pub device: F,
}

/// What the client did that ends its connection. Nothing else does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The client asked for features nobody defined.
    #[error("asked for unknown features {0:#x}")]
    UnknownFeatures(u32),
    /// The CDB came without a descriptor.
    #[error("sent a CDB without a file descriptor")]
    NoDescriptor,
    /// More than one descriptor, or one where none belongs.
    #[error("sent more file descriptors than the one that belongs to a CDB")]
    ExtraDescriptor,
    /// An operation code other than 5Eh and 5Fh.
    #[error("sent operation code {0:02X}h")]
    Opcode(u8),
    /// A transfer length above 8192.
    #[error("asked for a transfer of {0} bytes")]
    TooLong(u16),
}

#[derive(Debug)]
enum Stage<F> {
    Features,
    Cdb,
    Parameters { cdb: Cdb, device: F },
}

/// Turns what a client sends into requests.
///
/// The caller reads at most [`Decoder::wanted`] bytes at a time and hands them
/// in together with the descriptors that came beside them, so that bytes of a
/// following request are never taken early.
#[derive(Debug)]
pub struct Decoder<F> {
    stage: Stage<F>,
    buffer: Vec<u8>,
    expected: usize,
    device: Option<F>,
}

impl<F> Default for Decoder<F> {
    fn default() -> Self {
        Decoder {
            stage: Stage::Features,
            buffer: Vec::with_capacity(CDB_FIELD),
            expected: FEATURES_LENGTH,
            device: None,
        }
    }
}

impl<F> Decoder<F> {
    /// For a client whose feature word was read already.
    pub fn past_features() -> Self {
        Decoder {
            stage: Stage::Cdb,
            buffer: Vec::with_capacity(CDB_FIELD),
            expected: CDB_FIELD,
            device: None,
        }
    }

    /// How many bytes are missing to the end of the present field; at least 1.
    pub fn wanted(&self) -> usize {
        self.expected - self.buffer.len()
    }

    /// True between two requests: the client owes nothing, and may stay silent
    /// for ever.
    pub fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Cdb) && self.buffer.is_empty() && self.device.is_none()
    }

    /// Takes bytes and the descriptors that came with them. Returns a request
    /// once it is whole.
    ///
    /// # Errors
    /// A [`Violation`]; the decoder must not be used any more.
    ///
    /// # Panics
    /// When given more bytes than [`Decoder::wanted`].
    pub fn feed(
        &mut self,
        bytes: &[u8],
        descriptors: impl IntoIterator<Item = F>,
    ) -> Result<Option<Request<F>>, Violation> {
        assert!(bytes.len() <= self.wanted(), "more bytes than wanted");
        for descriptor in descriptors {
            let belongs = matches!(self.stage, Stage::Cdb) && self.device.is_none();
            if !belongs {
                return Err(Violation::ExtraDescriptor);
            }
            self.device = Some(descriptor);
        }
        self.buffer.extend_from_slice(bytes);
        if self.wanted() > 0 {
            return Ok(None);
        }
        self.field_complete()
    }

    fn field_complete(&mut self) -> Result<Option<Request<F>>, Violation> {
        let field = std::mem::take(&mut self.buffer);
        match std::mem::replace(&mut self.stage, Stage::Cdb) {
            Stage::Features => {
                let wanted = field
                    .iter()
                    .fold(0, |word, byte| word << 8 | u32::from(*byte));
                if wanted & !SUPPORTED_FEATURES != 0 {
                    return Err(Violation::UnknownFeatures(wanted));
                }
                self.expect(CDB_FIELD);
                Ok(None)
            }
            Stage::Cdb => {
                let mut bytes = [0; CDB_FIELD];
                bytes.copy_from_slice(&field);
                let cdb = Cdb::try_from(bytes).map_err(|error| Violation::Opcode(error.0))?;
                let length = cdb.transfer_length();
                if usize::from(length) > DATA_MAXIMUM {
                    return Err(Violation::TooLong(length));
                }
                let device = self.device.take().ok_or(Violation::NoDescriptor)?;
                if cdb.direction() == Direction::Out && length > 0 {
                    self.stage = Stage::Parameters { cdb, device };
                    self.expect(usize::from(length));
                    return Ok(None);
                }
                self.expect(CDB_FIELD);
                Ok(Some(Request {
                    cdb,
                    parameters: Vec::new(),
                    device,
                }))
            }
            Stage::Parameters { cdb, device } => {
                self.expect(CDB_FIELD);
                Ok(Some(Request {
                    cdb,
                    parameters: field,
                    device,
                }))
            }
        }
    }

    fn expect(&mut self, length: usize) {
        self.expected = length;
        self.buffer.reserve(length);
    }
}

/// The reply to the request with this CDB: a zeroed header with status, payload
/// length and sense, then data for a PERSISTENT RESERVE IN that ended GOOD and
/// never more than its allocation length.
pub fn encode_reply(cdb: &Cdb, outcome: &Outcome) -> Vec<u8> {
    let payload = match (cdb.direction(), outcome.is_good()) {
        (Direction::In, true) => {
            let limit = usize::from(cdb.transfer_length()).min(DATA_MAXIMUM);
            &outcome.data[..outcome.data.len().min(limit)]
        }
        _ => &[],
    };
    let mut reply = Vec::with_capacity(REPLY_HEADER + payload.len());
    reply.extend_from_slice(&u32::from(u8::from(outcome.status)).to_be_bytes());
    reply.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    match &outcome.sense {
        Some(sense) => reply.extend_from_slice(sense.bytes()),
        None => reply.resize(REPLY_HEADER, 0),
    }
    reply.extend_from_slice(payload);
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::SenseCode;

    const READ_KEYS: [u8; 16] = [0x5e, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0];
    const REGISTER: [u8; 16] = [0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0];

    fn past_handshake() -> Decoder<&'static str> {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.wanted(), 4);
        assert_eq!(decoder.feed(&[0; 4], []), Ok(None));
        assert!(decoder.is_idle());
        decoder
    }

    #[test]
    fn unknown_features_end_the_connection() {
        let mut decoder = Decoder::<()>::default();
        assert_eq!(
            decoder.feed(&[0, 0, 0, 1], []),
            Err(Violation::UnknownFeatures(1))
        );
    }

    #[test]
    fn a_descriptor_may_come_with_any_part_of_the_cdb() {
        for with_first in [true, false] {
            let mut decoder = past_handshake();
            let (first, second) = READ_KEYS.split_at(5);
            assert_eq!(decoder.feed(first, with_first.then_some("disk")), Ok(None));
            assert!(!decoder.is_idle());
            let request = decoder.feed(second, (!with_first).then_some("disk"));
            assert_eq!(request.unwrap().unwrap().device, "disk");
            assert!(decoder.is_idle());
        }
    }

    #[test]
    fn a_cdb_has_exactly_one_descriptor() {
        assert_eq!(
            past_handshake().feed(&READ_KEYS, []),
            Err(Violation::NoDescriptor)
        );
        assert_eq!(
            past_handshake().feed(&READ_KEYS, ["one", "two"]),
            Err(Violation::ExtraDescriptor)
        );
        let mut decoder = past_handshake();
        decoder.feed(&REGISTER, ["one"]).unwrap();
        assert_eq!(
            decoder.feed(&[0; 8], ["two"]),
            Err(Violation::ExtraDescriptor)
        );
    }

    #[test]
    fn parameters_follow_an_out() {
        let mut decoder = past_handshake();
        assert_eq!(decoder.feed(&REGISTER, ["disk"]), Ok(None));
        assert_eq!(decoder.wanted(), 24);
        assert_eq!(decoder.feed(&[7; 23], []), Ok(None));
        let request = decoder.feed(&[8; 1], []).unwrap().unwrap();
        assert_eq!(request.parameters.len(), 24);
        assert_eq!(decoder.wanted(), 16);
    }

    #[test]
    fn eight_kilobytes_are_the_limit() {
        let mut cdb = READ_KEYS;
        cdb[8] = 1;
        assert_eq!(
            past_handshake().feed(&cdb, ["disk"]),
            Err(Violation::TooLong(8193))
        );
        let mut cdb = REGISTER;
        cdb[7] = 0x20;
        cdb[8] = 0;
        let mut decoder = past_handshake();
        assert_eq!(decoder.feed(&cdb, ["disk"]), Ok(None));
        assert_eq!(decoder.wanted(), 8192);
    }

    #[test]
    fn replies_carry_payload_only_for_a_good_in() {
        let read = Cdb::try_from(READ_KEYS).unwrap();
        let reply = encode_reply(&read, &Outcome::good(vec![9; 16]));
        assert_eq!(reply.len(), 120);
        assert_eq!(reply[..8], [0, 0, 0, 0, 0, 0, 0, 16]);
        assert!(reply[8..104].iter().all(|byte| *byte == 0));

        let register = Cdb::try_from(REGISTER).unwrap();
        assert_eq!(
            encode_reply(&register, &Outcome::good(vec![9; 16])).len(),
            104
        );

        let check = encode_reply(&read, &Outcome::check(SenseCode::INVALID_FIELD_IN_CDB));
        assert_eq!(check.len(), 104);
        assert_eq!(check[..12], [0, 0, 0, 2, 0, 0, 0, 0, 0x70, 0, 5, 0]);
    }

    #[test]
    fn payload_never_exceeds_the_allocation_length() {
        let mut cdb = READ_KEYS;
        cdb[7] = 0;
        cdb[8] = 8;
        let cdb = Cdb::try_from(cdb).unwrap();
        assert_eq!(encode_reply(&cdb, &Outcome::good(vec![9; 16])).len(), 112);
    }
}
