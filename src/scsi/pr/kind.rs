//! Types and scopes of reservations.

use std::fmt;

/// Reservation types (SPC-4 table 213).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ReservationType {
    /// One nexus writes, all read.
    WriteExclusive = 1,
    /// One nexus reads and writes.
    ExclusiveAccess = 3,
    /// Registered nexuses write, all read; one nexus holds.
    WriteExclusiveRegistrantsOnly = 5,
    /// Registered nexuses read and write; one nexus holds.
    ExclusiveAccessRegistrantsOnly = 6,
    /// Registered nexuses write, all read; every registrant holds.
    WriteExclusiveAllRegistrants = 7,
    /// Registered nexuses read and write; every registrant holds.
    ExclusiveAccessAllRegistrants = 8,
}

impl ReservationType {
    /// All six, in the order of their codes.
    pub const ALL: [ReservationType; 6] = [
        ReservationType::WriteExclusive,
        ReservationType::ExclusiveAccess,
        ReservationType::WriteExclusiveRegistrantsOnly,
        ReservationType::ExclusiveAccessRegistrantsOnly,
        ReservationType::WriteExclusiveAllRegistrants,
        ReservationType::ExclusiveAccessAllRegistrants,
    ];

    /// From the TYPE field; `None` for an obsolete or reserved code.
    pub fn from_bits(bits: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == bits)
    }

    /// The short name of the field: WE, EA, WERO, EARO, WEAR, EAAR.
    pub fn short_name(self) -> &'static str {
        match self {
            ReservationType::WriteExclusive => "WE",
            ReservationType::ExclusiveAccess => "EA",
            ReservationType::WriteExclusiveRegistrantsOnly => "WERO",
            ReservationType::ExclusiveAccessRegistrantsOnly => "EARO",
            ReservationType::WriteExclusiveAllRegistrants => "WEAR",
            ReservationType::ExclusiveAccessAllRegistrants => "EAAR",
        }
    }

    /// The name in words, `write-exclusive-registrants-only` and so on.
    pub fn long_name(self) -> &'static str {
        match self {
            ReservationType::WriteExclusive => "write-exclusive",
            ReservationType::ExclusiveAccess => "exclusive-access",
            ReservationType::WriteExclusiveRegistrantsOnly => "write-exclusive-registrants-only",
            ReservationType::ExclusiveAccessRegistrantsOnly => "exclusive-access-registrants-only",
            ReservationType::WriteExclusiveAllRegistrants => "write-exclusive-all-registrants",
            ReservationType::ExclusiveAccessAllRegistrants => "exclusive-access-all-registrants",
        }
    }

    /// True for WEAR and EAAR: every registrant holds the reservation.
    pub fn is_all_registrants(self) -> bool {
        matches!(
            self,
            ReservationType::WriteExclusiveAllRegistrants
                | ReservationType::ExclusiveAccessAllRegistrants
        )
    }

    /// True for WE and EA: registration alone gives no access.
    pub fn is_holder_only(self) -> bool {
        matches!(
            self,
            ReservationType::WriteExclusive | ReservationType::ExclusiveAccess
        )
    }
}

impl fmt::Display for ReservationType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short_name())
    }
}

/// A text that names no reservation type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a reservation type is one of WE, EA, WERO, EARO, WEAR, EAAR, their long names, or 1, 3, 5, 6, 7, 8"
)]
pub struct InvalidType;

impl std::str::FromStr for ReservationType {
    type Err = InvalidType;

    fn from_str(text: &str) -> Result<Self, InvalidType> {
        Self::ALL
            .into_iter()
            .find(|kind| {
                kind.short_name().eq_ignore_ascii_case(text)
                    || kind.long_name() == text
                    || (*kind as u8).to_string() == text
            })
            .ok_or(InvalidType)
    }
}

/// The scope (high nibble, zero for the logical unit) and type (low nibble) of
/// a reservation, as one byte of the CDB or of parameter data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ScopeType(pub u8);

impl ScopeType {
    /// The type, where scope and code are ones the standard defines.
    pub fn kind(self) -> Option<ReservationType> {
        match self.0 >> 4 {
            0 => ReservationType::from_bits(self.0 & 0x0f),
            _ => None,
        }
    }
}

impl From<ReservationType> for ScopeType {
    fn from(kind: ReservationType) -> Self {
        ScopeType(kind as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_all_their_names() {
        for kind in ReservationType::ALL {
            assert_eq!(kind.short_name().parse(), Ok(kind));
            assert_eq!(kind.long_name().parse(), Ok(kind));
            assert_eq!((kind as u8).to_string().parse(), Ok(kind));
        }
        assert_eq!("2".parse::<ReservationType>(), Err(InvalidType));
    }
}
