//! Parameter data of PERSISTENT RESERVE IN and OUT (SPC-4 6.15 and 6.16).

use super::{OutAction, ReservationKey, TransportId};
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

/// The flags of byte 20 of a basic parameter list (SPC-4 table 221).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RegisterFlags {
    /// TransportIDs follow; register those nexuses too.
    pub spec_i_pt: bool,
    /// Register on every target port.
    pub all_tg_pt: bool,
    /// Keep registrations and reservation through power loss.
    pub aptpl: bool,
}

impl RegisterFlags {
    fn from_byte(byte: u8) -> Self {
        RegisterFlags {
            spec_i_pt: byte & 0x08 != 0,
            all_tg_pt: byte & 0x04 != 0,
            aptpl: byte & 0x01 != 0,
        }
    }

    fn to_byte(self) -> u8 {
        u8::from(self.spec_i_pt) << 3 | u8::from(self.all_tg_pt) << 2 | u8::from(self.aptpl)
    }

    /// The same flags for one nexus only.
    pub fn without_spec_i_pt(self) -> Self {
        RegisterFlags {
            spec_i_pt: false,
            ..self
        }
    }
}

/// What REGISTER AND MOVE says beyond the two keys (SPC-4 table 223).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveParameters {
    /// Unregister the sender afterwards.
    pub unregister: bool,
    /// Keep registrations and reservation through power loss.
    pub aptpl: bool,
    /// Relative target port of the new nexus.
    pub relative_target_port: u16,
    /// TransportID of the new nexus; the device checks it.
    pub transport_id: Vec<u8>,
}

/// The parameter list of PERSISTENT RESERVE OUT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutParameters {
    /// RESERVATION KEY: what the sender says its key is.
    pub key: ReservationKey,
    /// SERVICE ACTION RESERVATION KEY: the new key, or the victim's.
    pub service_action_key: ReservationKey,
    /// Flags of the basic list; all false for REGISTER AND MOVE.
    pub flags: RegisterFlags,
    /// Bytes 24 and on of the basic list, for the device to check.
    pub transport_ids: Vec<u8>,
    /// Present with REGISTER AND MOVE.
    pub moved: Option<MoveParameters>,
}

impl OutParameters {
    /// Reads a parameter list of at least 24 bytes. `None` where a REGISTER AND
    /// MOVE list is shorter or longer than it announces.
    pub(super) fn parse(action: OutAction, list: &[u8]) -> Option<Self> {
        let key = ReservationKey::from_be_bytes(array(list, 0)?);
        let service_action_key = ReservationKey::from_be_bytes(array(list, 8)?);
        if action == OutAction::RegisterAndMove {
            let transport_id = list.get(24..)?.to_vec();
            let announced = u32::from_be_bytes(array(list, 20)?) as usize;
            if announced != transport_id.len() {
                return None;
            }
            let moved = MoveParameters {
                unregister: list[17] & 0x02 != 0,
                aptpl: list[17] & 0x01 != 0,
                relative_target_port: u16::from_be_bytes(array(list, 18)?),
                transport_id,
            };
            return Some(OutParameters {
                key,
                service_action_key,
                flags: RegisterFlags::default(),
                transport_ids: Vec::new(),
                moved: Some(moved),
            });
        }
        Some(OutParameters {
            key,
            service_action_key,
            flags: RegisterFlags::from_byte(*list.get(20)?),
            transport_ids: list.get(24..)?.to_vec(),
            moved: None,
        })
    }

    /// The parameter list in bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut list = vec![0; 24];
        list[0..8].copy_from_slice(&self.key.to_be_bytes());
        list[8..16].copy_from_slice(&self.service_action_key.to_be_bytes());
        match &self.moved {
            Some(moved) => {
                list[17] = u8::from(moved.unregister) << 1 | u8::from(moved.aptpl);
                list[18..20].copy_from_slice(&moved.relative_target_port.to_be_bytes());
                let length = moved.transport_id.len() as u32;
                list[20..24].copy_from_slice(&length.to_be_bytes());
                list.extend_from_slice(&moved.transport_id);
            }
            None => {
                list[20] = self.flags.to_byte();
                list.extend_from_slice(&self.transport_ids);
            }
        }
        list
    }
}

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

/// A nexus as READ FULL STATUS names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NexusId {
    /// The initiator port.
    pub transport_id: TransportId,
    /// The relative target port; 0 where the device does not say.
    pub relative_target_port: u16,
}

impl fmt::Display for NexusId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.transport_id, self.relative_target_port)
    }
}

/// One registration of READ FULL STATUS (SPC-4 table 218).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullDescriptor {
    /// The registered key.
    pub key: ReservationKey,
    /// ALL_TG_PT: registered on every target port; the port is then undefined.
    pub all_tg_pt: bool,
    /// Scope and type, where this nexus holds the reservation.
    pub holder: Option<ScopeType>,
    /// Which nexus.
    pub nexus: NexusId,
}

/// READ FULL STATUS data (SPC-4 6.15.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullStatus {
    /// PRGENERATION.
    pub generation: u32,
    /// The registrations that fitted whole.
    pub descriptors: Vec<FullDescriptor>,
    /// Bytes of descriptors the device has.
    pub additional_length: u32,
    /// True when every registration the device announced is here.
    pub complete: bool,
}

impl FullStatus {
    /// Reads the whole descriptors; a last one that was cut off is left out and
    /// `complete` is then false.
    ///
    /// # Errors
    /// [`MalformedData`] for a short header, or a TransportID that is not one.
    pub fn parse(data: &[u8]) -> Result<Self, MalformedData> {
        let (generation, additional_length, mut body) = header(data)?;
        let mut complete = body.len() >= additional_length as usize;
        let mut descriptors = Vec::new();
        while !body.is_empty() {
            let Some((fixed, rest)) = body.split_at_checked(24) else {
                complete = false;
                break;
            };
            let id_length = u32::from_be_bytes(array(fixed, 20).ok_or(MalformedData)?) as usize;
            let Some((id, rest)) = rest.split_at_checked(id_length) else {
                complete = false;
                break;
            };
            let (transport_id, _) = TransportId::parse(id).map_err(|_| MalformedData)?;
            let port = u16::from_be_bytes([fixed[18], fixed[19]]);
            descriptors.push(FullDescriptor {
                key: ReservationKey::from_be_bytes(array(fixed, 0).ok_or(MalformedData)?),
                all_tg_pt: fixed[12] & 0x02 != 0,
                holder: (fixed[12] & 0x01 != 0).then_some(ScopeType(fixed[13])),
                nexus: NexusId {
                    transport_id,
                    relative_target_port: if fixed[12] & 0x02 != 0 { 0 } else { port },
                },
            });
            body = rest;
        }
        Ok(FullStatus {
            generation,
            descriptors,
            additional_length,
            complete,
        })
    }

    /// Full status with these registrations, complete.
    pub fn new(generation: u32, descriptors: Vec<FullDescriptor>) -> Self {
        let lengths = descriptors
            .iter()
            .map(|row| 24 + row.nexus.transport_id.bytes().len() as u32);
        FullStatus {
            generation,
            additional_length: lengths.sum(),
            descriptors,
            complete: true,
        }
    }

    /// The bytes, untruncated.
    pub fn encode(&self) -> Vec<u8> {
        let mut data = encode_header(self.generation, self.additional_length);
        for row in &self.descriptors {
            let id = row.nexus.transport_id.bytes();
            data.extend_from_slice(&row.key.to_be_bytes());
            data.extend_from_slice(&[0; 4]);
            data.push(u8::from(row.all_tg_pt) << 1 | u8::from(row.holder.is_some()));
            data.push(row.holder.map_or(0, |scope_type| scope_type.0));
            data.extend_from_slice(&[0; 4]);
            data.extend_from_slice(&row.nexus.relative_target_port.to_be_bytes());
            data.extend_from_slice(&(id.len() as u32).to_be_bytes());
            data.extend_from_slice(id);
        }
        data
    }

    /// The registration of this nexus. An ALL_TG_PT row stands for every target
    /// port of its initiator.
    pub fn row(&self, nexus: &NexusId) -> Option<&FullDescriptor> {
        self.descriptors.iter().find(|row| {
            row.nexus == *nexus || row.all_tg_pt && row.nexus.transport_id == nexus.transport_id
        })
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// PRGENERATION, ADDITIONAL LENGTH and as much of the body as both it and the
/// data allow.
fn header(data: &[u8]) -> Result<(u32, u32, &[u8]), MalformedData> {
    let generation = u32::from_be_bytes(array(data, 0).ok_or(MalformedData)?);
    let additional_length = u32::from_be_bytes(array(data, 4).ok_or(MalformedData)?);
    let body = &data[8..];
    let length = body.len().min(additional_length as usize);
    Ok((generation, additional_length, &body[..length]))
}

fn encode_header(generation: u32, additional_length: u32) -> Vec<u8> {
    let mut data = Vec::with_capacity(8 + additional_length as usize);
    data.extend_from_slice(&generation.to_be_bytes());
    data.extend_from_slice(&additional_length.to_be_bytes());
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two registrations as SPC-4 lays them out, written by hand.
    fn two_rows() -> Vec<u8> {
        let mut data = vec![0, 0, 0, 7, 0, 0, 0, 96];
        for (key, flags, kind, port) in [(0xa1, 1, 5, 1), (0xb1, 0, 0, 2)] {
            data.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, key]);
            data.extend_from_slice(&[0, 0, 0, 0, flags, kind, 0, 0, 0, 0, 0, port]);
            data.extend_from_slice(&[0, 0, 0, 24]);
            let mut id = [0; 24];
            id[0] = 6;
            id[4] = 0x50;
            id[11] = port;
            data.extend_from_slice(&id);
        }
        data
    }

    #[test]
    fn full_status_names_holder_and_nexus() {
        let status = FullStatus::parse(&two_rows()).unwrap();
        assert!(status.complete);
        assert_eq!(status.generation, 7);
        assert_eq!(status.descriptors[0].holder, Some(ScopeType(5)));
        assert_eq!(
            status.descriptors[1].nexus.to_string(),
            "sas:5000000000000002@2"
        );
        assert_eq!(status.encode(), two_rows());
    }

    #[test]
    fn a_descriptor_cut_off_is_left_out() {
        let data = two_rows();
        for length in 8..data.len() {
            let status = FullStatus::parse(&data[..length]).unwrap();
            assert!(!status.complete);
            assert_eq!(status.descriptors.len(), usize::from(length >= 56));
        }
        assert_eq!(FullStatus::parse(&data[..7]), Err(MalformedData));
    }

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
