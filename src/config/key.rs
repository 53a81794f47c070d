//! `reservation_key = `: spelt as in multipath.conf, but never without `0x`.

use crate::scsi::ReservationKey;
use crate::scsi::key::InvalidKey;
use serde::{Deserialize, Deserializer, de};
use std::fmt;
use std::str::FromStr;

/// Which key is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeySource {
    /// `file`: the one that a client registers, whichever it is.
    #[default]
    File,
    /// `0x…` or `0x…:aptpl`: this one and no other.
    Fixed {
        /// Never zero.
        key: ReservationKey,
        /// Kept through power loss (APTPL), where we register it by ourselves.
        aptpl: bool,
    },
}

/// Why a text says no source of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSource {
    /// The part before a colon is no key.
    #[error("{0}; or \"file\", for the key that a client registers")]
    Key(#[from] InvalidKey),
    /// Zero stands for no key.
    #[error("0x0 is no reservation key")]
    Zero,
    /// What follows the colon.
    #[error("unknown suffix {0:?}: only \":aptpl\" may follow a reservation key")]
    Suffix(String),
}

impl FromStr for KeySource {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, InvalidSource> {
        if text == "file" {
            return Ok(KeySource::File);
        }
        let (digits, suffix) = match text.find(':') {
            Some(colon) => text.split_at(colon),
            None => (text, ""),
        };
        let key: ReservationKey = digits.parse()?;
        match suffix {
            _ if key.is_zero() => Err(InvalidSource::Zero),
            "" | ":aptpl" => Ok(KeySource::Fixed {
                key,
                aptpl: !suffix.is_empty(),
            }),
            other => Err(InvalidSource::Suffix(other.into())),
        }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySource::File => f.write_str("file"),
            KeySource::Fixed { key, aptpl: false } => key.fmt(f),
            KeySource::Fixed { key, aptpl: true } => write!(f, "{key}:aptpl"),
        }
    }
}

impl<'de> Deserialize<'de> for KeySource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(AsText)
    }
}

/// Says how it is written to those who leave out the quotes.
struct AsText;

impl de::Visitor<'_> for AsText {
    type Value = KeySource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string: \"file\", \"0x123abc\" or \"0x123abc:aptpl\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<KeySource, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_as_they_are_written() {
        for text in ["file", "0x1", "0x123abc:aptpl", "0xffffffffffffffff"] {
            assert_eq!(text.parse::<KeySource>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_source_says_why() {
        for (text, reason) in [
            ("123abc", "starts with 0x"),
            ("File", "\"file\""),
            ("0x0", "no reservation key"),
            ("0x0:aptpl", "no reservation key"),
            ("0x1:", "\":\""),
            ("0x1:APTPL", "\":APTPL\""),
            ("0x12345678123456789", "1 to 16"),
            ("", "starts with 0x"),
        ] {
            let error = text.parse::<KeySource>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
