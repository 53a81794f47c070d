//! TransportIDs: the names of initiator ports (SPC-4 7.6.4).

use std::fmt;

/// The longest iSCSI TransportID: 4 bytes, a 223-byte name, `,i,0x`, twelve
/// digits and padding fit well inside.
const ISCSI_MAXIMUM: usize = 252;

/// The TransportID of an initiator port, as its bytes stand on the wire.
///
/// Two are the same port when their bytes are the same, but that iSCSI names
/// compare without regard to case (RFC 7143 4.2.7.2); they are kept in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransportId(Vec<u8>);

/// The bytes at hand are not a TransportID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed TransportID")]
pub struct Malformed;

impl TransportId {
    /// Reads one TransportID and returns the bytes after it.
    ///
    /// # Errors
    /// [`Malformed`] where the length is not one its protocol allows, or more
    /// than there is. Protocols without a rule of their own take 24 bytes.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let first = *bytes.first().ok_or(Malformed)?;
        let length = match first & 0x0f {
            0x05 => {
                let pair = bytes.get(2..4).ok_or(Malformed)?;
                let additional = usize::from(u16::from_be_bytes([pair[0], pair[1]]));
                if additional < 20 || additional % 4 != 0 || additional > ISCSI_MAXIMUM {
                    return Err(Malformed);
                }
                4 + additional
            }
            _ => 24,
        };
        if bytes.len() < length {
            return Err(Malformed);
        }
        let (own, rest) = bytes.split_at(length);
        let mut own = own.to_vec();
        if first & 0x0f == 0x05 {
            if !own[4..].contains(&0) {
                return Err(Malformed);
            }
            own[4..].make_ascii_lowercase();
        }
        Ok((TransportId(own), rest))
    }

    /// The SAS initiator port with this address.
    pub fn sas(address: u64) -> Self {
        let mut bytes = vec![0; 24];
        bytes[0] = 0x06;
        bytes[4..12].copy_from_slice(&address.to_be_bytes());
        TransportId(bytes)
    }

    /// The Fibre Channel initiator port with this N_Port name.
    pub fn fibre_channel(port_name: u64) -> Self {
        let mut bytes = vec![0; 24];
        bytes[8..16].copy_from_slice(&port_name.to_be_bytes());
        TransportId(bytes)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for TransportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |f: &mut fmt::Formatter<'_>, bytes: &[u8]| {
            bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
        };
        match self.0[0] & 0x0f {
            0x00 => {
                f.write_str("fc:")?;
                hex(f, &self.0[8..16])
            }
            0x03 => {
                f.write_str("sbp:")?;
                hex(f, &self.0[8..16])
            }
            0x04 => {
                f.write_str("srp:")?;
                hex(f, &self.0[8..24])
            }
            0x05 => {
                let text: Vec<u8> = self.0[4..]
                    .iter()
                    .copied()
                    .take_while(|b| *b != 0)
                    .collect();
                write!(f, "{}", String::from_utf8_lossy(&text).escape_debug())
            }
            0x06 => {
                f.write_str("sas:")?;
                hex(f, &self.0[4..12])
            }
            protocol => {
                write!(f, "protocol{protocol}:")?;
                hex(f, &self.0[1..])
            }
        }
    }
}

impl fmt::Debug for TransportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_named_by_protocol() {
        assert_eq!(
            TransportId::sas(0x5001_4050_0000_0001).to_string(),
            "sas:5001405000000001"
        );
        assert_eq!(
            TransportId::fibre_channel(0x2100_0024_ff00_0001).to_string(),
            "fc:21000024ff000001"
        );
    }

    #[test]
    fn an_iscsi_port_ends_at_its_length() {
        let mut bytes = vec![0x45, 0, 0, 40];
        bytes.extend_from_slice(b"iqn.2026-11.Example:a,i,0x00023d000001\0\0");
        bytes.push(0xff);
        let (id, rest) = TransportId::parse(&bytes).unwrap();
        assert_eq!(id.to_string(), "iqn.2026-11.example:a,i,0x00023d000001");
        assert_eq!(rest, [0xff]);
    }

    #[test]
    fn lengths_that_lie_are_malformed() {
        assert_eq!(TransportId::parse(&[]), Err(Malformed));
        assert_eq!(TransportId::parse(&[0x06; 23]), Err(Malformed));
        let mut open_ended = vec![0x05, 0, 0, 20];
        open_ended.extend_from_slice(&[b'a'; 20]);
        assert_eq!(TransportId::parse(&open_ended), Err(Malformed));
        assert_eq!(TransportId::parse(&[0x05, 0, 0, 21, 0]), Err(Malformed));
    }
}
