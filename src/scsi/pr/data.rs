//! Data of PERSISTENT RESERVE IN, but for READ FULL STATUS.

use super::{ReservationType, ScopeType, array};
use crate::scsi::ReservationKey;

/// Parameter data shorter than its fixed part, or with a descriptor that lies
/// about its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed PERSISTENT RESERVE IN data")]
pub struct MalformedData;

/// READ KEYS data (SPC-4 6.15.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyList {
    /// PRGENERATION.
    pub generation: u32,
    /// One key for each registered nexus that fitted, duplicates kept.
    pub keys: Vec<ReservationKey>,
    /// Bytes of key list the device has; more than eight a key when truncated.
    pub additional_length: u32,
}

impl KeyList {
    /// Reads as many whole keys as there are.
    ///
    /// # Errors
    /// [`MalformedData`] for less than the 8-byte header.
    pub fn parse(data: &[u8]) -> Result<Self, MalformedData> {
        let (generation, additional_length, body) = header(data)?;
        let keys = body
            .chunks_exact(8)
            .filter_map(|chunk| array(chunk, 0))
            .map(ReservationKey::from_be_bytes)
            .collect();
        Ok(KeyList {
            generation,
            keys,
            additional_length,
        })
    }

    /// The bytes, untruncated.
    pub fn encode(&self) -> Vec<u8> {
        let mut data = encode_header(self.generation, self.additional_length);
        for key in &self.keys {
            data.extend_from_slice(&key.to_be_bytes());
        }
        data
    }
}

/// A reservation as READ RESERVATION shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    /// The holder's key; zero for the all-registrants types.
    pub key: ReservationKey,
    /// Its scope and type.
    pub scope_type: ScopeType,
}

/// READ RESERVATION data (SPC-4 6.15.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReservationData {
    /// PRGENERATION.
    pub generation: u32,
    /// The reservation, if one is held.
    pub reservation: Option<Reservation>,
}

impl ReservationData {
    /// Allocation length that always suffices, in bytes.
    pub const LENGTH: u16 = 24;

    /// # Errors
    /// [`MalformedData`] for a header or descriptor that is cut short.
    pub fn parse(data: &[u8]) -> Result<Self, MalformedData> {
        let (generation, additional_length, body) = header(data)?;
        let reservation = match additional_length {
            0 => None,
            _ => Some(Reservation {
                key: ReservationKey::from_be_bytes(array(body, 0).ok_or(MalformedData)?),
                scope_type: ScopeType(*body.get(13).ok_or(MalformedData)?),
            }),
        };
        Ok(ReservationData {
            generation,
            reservation,
        })
    }

    /// The bytes, untruncated.
    pub fn encode(&self) -> Vec<u8> {
        match self.reservation {
            None => encode_header(self.generation, 0),
            Some(reservation) => {
                let mut data = encode_header(self.generation, 16);
                data.extend_from_slice(&reservation.key.to_be_bytes());
                data.extend_from_slice(&[0; 5]);
                data.push(reservation.scope_type.0);
                data.extend_from_slice(&[0; 2]);
                data
            }
        }
    }
}

/// REPORT CAPABILITIES data (SPC-4 6.15.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// RLR_C: REPLACE LOST RESERVATION is supported.
    pub replace_lost_reservation: bool,
    /// CRH: compatible reservation handling.
    pub compatible_handling: bool,
    /// SIP_C: SPEC_I_PT is supported.
    pub spec_i_pt: bool,
    /// ATP_C: ALL_TG_PT is supported.
    pub all_tg_pt: bool,
    /// PTPL_C: APTPL is supported.
    pub persist_capable: bool,
    /// PTPL_A: registrations survive power loss now.
    pub persist_active: bool,
    /// ALLOW COMMANDS, 0 to 7.
    pub allow_commands: u8,
    /// The type mask is valid, and these are its two bytes.
    pub type_mask: Option<[u8; 2]>,
}

impl Capabilities {
    /// Length of the data, in bytes.
    pub const LENGTH: u16 = 8;

    /// # Errors
    /// [`MalformedData`] for less than 6 bytes.
    pub fn parse(data: &[u8]) -> Result<Self, MalformedData> {
        let data = data.get(..6).ok_or(MalformedData)?;
        Ok(Capabilities {
            replace_lost_reservation: data[2] & 0x80 != 0,
            compatible_handling: data[2] & 0x10 != 0,
            spec_i_pt: data[2] & 0x08 != 0,
            all_tg_pt: data[2] & 0x04 != 0,
            persist_capable: data[2] & 0x01 != 0,
            persist_active: data[3] & 0x01 != 0,
            allow_commands: data[3] >> 4 & 0x07,
            type_mask: (data[3] & 0x80 != 0).then_some([data[4], data[5]]),
        })
    }

    /// The eight bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mask = self.type_mask.unwrap_or_default();
        vec![
            0,
            8,
            u8::from(self.replace_lost_reservation) << 7
                | u8::from(self.compatible_handling) << 4
                | u8::from(self.spec_i_pt) << 3
                | u8::from(self.all_tg_pt) << 2
                | u8::from(self.persist_capable),
            u8::from(self.type_mask.is_some()) << 7
                | (self.allow_commands & 0x07) << 4
                | u8::from(self.persist_active),
            mask[0],
            mask[1],
            0,
            0,
        ]
    }

    /// The types in the mask.
    pub fn types(&self) -> Vec<ReservationType> {
        let [low, high] = self.type_mask.unwrap_or_default();
        ReservationType::ALL
            .into_iter()
            .filter(|kind| match *kind as u8 {
                8 => high & 0x01 != 0,
                bit => low >> bit & 0x01 != 0,
            })
            .collect()
    }
}

/// PRGENERATION, ADDITIONAL LENGTH and as much of the body as both it and the
/// data allow.
pub(super) fn header(data: &[u8]) -> Result<(u32, u32, &[u8]), MalformedData> {
    let generation = u32::from_be_bytes(array(data, 0).ok_or(MalformedData)?);
    let additional_length = u32::from_be_bytes(array(data, 4).ok_or(MalformedData)?);
    let body = &data[8..];
    let length = body.len().min(additional_length as usize);
    Ok((generation, additional_length, &body[..length]))
}

pub(super) fn encode_header(generation: u32, additional_length: u32) -> Vec<u8> {
    let mut data = Vec::with_capacity(8 + additional_length as usize);
    data.extend_from_slice(&generation.to_be_bytes());
    data.extend_from_slice(&additional_length.to_be_bytes());
    data
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_lists_may_be_truncated() {
        let data = [0, 0, 0, 3, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0xa1, 0, 0];
        let list = KeyList::parse(&data).unwrap();
        assert_eq!(list.keys, [ReservationKey(0xa1)]);
        assert_eq!(list.additional_length, 16);
    }

    #[test]
    fn a_reservation_is_read_and_written() {
        let mut data = vec![0, 0, 0, 3, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0xa1];
        data.extend_from_slice(&[0, 0, 0, 0, 0, 5, 0, 0]);
        let parsed = ReservationData::parse(&data).unwrap();
        let reservation = parsed.reservation.unwrap();
        assert_eq!(reservation.key, ReservationKey(0xa1));
        assert_eq!(
            reservation.scope_type.kind(),
            Some(ReservationType::WriteExclusiveRegistrantsOnly)
        );
        assert_eq!(parsed.encode(), data);
    }

    #[test]
    fn capabilities_list_their_types() {
        let data = [0, 8, 0x1d, 0x91, 0xea, 0x01, 0, 0];
        let capabilities = Capabilities::parse(&data).unwrap();
        assert_eq!(capabilities.types(), ReservationType::ALL);
        assert!(capabilities.persist_active);
        assert_eq!(capabilities.encode(), data);
    }
}
