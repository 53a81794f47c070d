//! Reservation keys.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// An 8-byte reservation key (SPC-4 6.16.3). Zero means "no key": a nexus that
/// sends it claims to be unregistered, or asks to become so.
///
/// Written `0x123abc` everywhere (lower case, no leading zeros) and read only
/// with the `0x`, since tools disagree on the base of bare digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ReservationKey(pub u64);

impl ReservationKey {
    /// The absent key.
    pub const ZERO: ReservationKey = ReservationKey(0);

    /// True for the absent key.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// From its eight bytes on the wire.
    pub fn from_be_bytes(bytes: [u8; 8]) -> Self {
        ReservationKey(u64::from_be_bytes(bytes))
    }

    /// To its eight bytes on the wire.
    pub fn to_be_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for ReservationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for ReservationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a reservation key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// No `0x` in front.
    #[error("a reservation key starts with 0x")]
    NoPrefix,
    /// Not 1 to 16 hexadecimal digits.
    #[error("a reservation key has 1 to 16 hexadecimal digits after 0x")]
    BadDigits,
}

impl FromStr for ReservationKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let digits = text.strip_prefix("0x").ok_or(InvalidKey::NoPrefix)?;
        let plain = (1..=16).contains(&digits.len())
            && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if !plain {
            return Err(InvalidKey::BadDigits);
        }
        u64::from_str_radix(digits, 16)
            .map(ReservationKey)
            .map_err(|_| InvalidKey::BadDigits)
    }
}

/// As its text: 64 bits are too many for the numbers of TOML and JSON.
impl Serialize for ReservationKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ReservationKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_as_the_field_writes_them() {
        assert_eq!(ReservationKey(0x0012_3abc).to_string(), "0x123abc");
        assert_eq!(ReservationKey::ZERO.to_string(), "0x0");
    }

    #[test]
    fn keys_need_their_prefix_and_plain_digits() {
        assert_eq!("0xABC".parse(), Ok(ReservationKey(0xabc)));
        assert_eq!("0xffffffffffffffff".parse(), Ok(ReservationKey(u64::MAX)));
        assert_eq!("abc".parse::<ReservationKey>(), Err(InvalidKey::NoPrefix));
        for bad in ["0x", "0x+1", "0x1_0", "0x12345678123456789", "0xg"] {
            assert_eq!(bad.parse::<ReservationKey>(), Err(InvalidKey::BadDigits));
        }
    }
}
