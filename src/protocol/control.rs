//! The protocol between `reservd-pr-helper` and reservd over the control socket,
//! sans I/O: that of the helper socket, with what a relay has to know and say.
//!
//! | direction | bytes | content |
//! |---|---|---|
//! | relay to daemon | 20 + m | [`Origin`]: magic and version (8), pid (4), uid (4), m (4), name of the machine |
//! | daemon to relay | 4 | the time in which it answers each request, in ms |
//! | relay to daemon | 16 | CDB, with exactly one descriptor beside it |
//! | relay to daemon | n | parameter list, n = CDB bytes 7 and 8 |
//! | relay to daemon | 4 | age of the request in ms; only now it is whole |
//! | daemon to relay | 1 | [`BEGUN`], before a PERSISTENT RESERVE OUT is run, and only then |
//! | daemon to relay | 1 | [`REPLY`] |
//! | daemon to relay | 104 + p | the reply, as on the helper socket |
//!
//! All integers are big-endian. A command whose BEGUN never came was not run:
//! what the daemon wrote before it died can still be read.

use std::time::Duration;

/// The daemon is about to run the command; from now on its fate may be unknown.
pub const BEGUN: u8 = b'B';
/// A reply follows.
pub const REPLY: u8 = b'R';
/// Length of an [`Origin`] without the name.
pub const ORIGIN_HEADER: usize = 20;
/// Length of the trailer of a request, and of the daemon's welcome.
pub const MILLISECONDS: usize = 4;

const MAGIC: [u8; 8] = *b"reservd\x01";
/// Names of machines are cut to this many bytes; libvirt's are shorter.
const NAME_MAXIMUM: usize = 255;

/// Who is at the other end of a relay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// QEMU's process, as the relay sees it; 0 where that is unknown.
    pub pid: u32,
    /// QEMU's user.
    pub uid: u32,
    /// What QEMU says the machine is called; empty where it says nothing. For
    /// people only: a process can say anything of itself.
    pub machine: String,
}

/// Not the first bytes of a relay of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("spoke another protocol than this daemon's relay")]
pub struct InvalidOrigin;

impl Origin {
    /// The first bytes on a control connection.
    pub fn encode(&self) -> Vec<u8> {
        let mut length = self.machine.len().min(NAME_MAXIMUM);
        while !self.machine.is_char_boundary(length) {
            length -= 1;
        }
        let mut bytes = Vec::with_capacity(ORIGIN_HEADER + length);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.pid.to_be_bytes());
        bytes.extend_from_slice(&self.uid.to_be_bytes());
        bytes.extend_from_slice(&(length as u32).to_be_bytes());
        bytes.extend_from_slice(&self.machine.as_bytes()[..length]);
        bytes
    }

    /// Reads the fixed part; returns how many bytes of a name follow.
    ///
    /// # Errors
    /// [`InvalidOrigin`].
    pub fn parse(header: &[u8; ORIGIN_HEADER]) -> Result<(Self, usize), InvalidOrigin> {
        let word = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let length = word(16) as usize;
        if header[..8] != MAGIC || length > NAME_MAXIMUM {
            return Err(InvalidOrigin);
        }
        let origin = Origin {
            pid: word(8),
            uid: word(12),
            machine: String::new(),
        };
        Ok((origin, length))
    }

    /// With the name that followed.
    pub fn with_machine(self, name: &[u8]) -> Self {
        Origin {
            machine: String::from_utf8_lossy(name).into_owned(),
            ..self
        }
    }
}

/// A time as the wire carries it.
pub fn encode_milliseconds(time: Duration) -> [u8; MILLISECONDS] {
    u32::try_from(time.as_millis())
        .unwrap_or(u32::MAX)
        .to_be_bytes()
}

/// A time from the wire.
pub fn parse_milliseconds(bytes: [u8; MILLISECONDS]) -> Duration {
    Duration::from_millis(u32::from_be_bytes(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_laid_out_as_the_table_says() {
        let origin = Origin {
            pid: 0x0102,
            uid: 64055,
            machine: "vm1".into(),
        };
        let bytes = origin.encode();
        assert_eq!(bytes[..8], *b"reservd\x01");
        assert_eq!(bytes[8..20], [0, 0, 1, 2, 0, 0, 0xfa, 0x37, 0, 0, 0, 3]);
        assert_eq!(&bytes[20..], b"vm1");
        let header: [u8; ORIGIN_HEADER] = bytes[..20].try_into().unwrap();
        let (parsed, length) = Origin::parse(&header).unwrap();
        assert_eq!(parsed.with_machine(&bytes[20..20 + length]), origin);
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        let mut header: [u8; ORIGIN_HEADER] = Origin::default().encode().try_into().unwrap();
        assert!(Origin::parse(&header).is_ok());
        header[18] = 1;
        assert_eq!(Origin::parse(&header), Err(InvalidOrigin));
        header[18] = 0;
        header[7] = 2;
        assert_eq!(Origin::parse(&header), Err(InvalidOrigin));
        assert_eq!(Origin::parse(&[0; ORIGIN_HEADER]), Err(InvalidOrigin));
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let machine = "ä".repeat(200);
        let bytes = Origin {
            machine,
            ..Origin::default()
        }
        .encode();
        assert_eq!(bytes.len(), ORIGIN_HEADER + 254);
        assert!(std::str::from_utf8(&bytes[ORIGIN_HEADER..]).is_ok());
    }

    #[test]
    fn times_survive_and_are_bounded() {
        let time = Duration::from_millis(15_000);
        assert_eq!(parse_milliseconds(encode_milliseconds(time)), time);
        assert_eq!(encode_milliseconds(Duration::from_secs(1 << 40)), [255; 4]);
    }
}
