//! Data of READ FULL STATUS.

use super::data::{encode_header, header};
use super::{MalformedData, ScopeType, array};
use crate::scsi::{ReservationKey, TransportId};
use std::fmt;

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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
}
