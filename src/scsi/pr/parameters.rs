//! Parameter lists of PERSISTENT RESERVE OUT.

use super::array;
use crate::scsi::{OutAction, ReservationKey};

/// The flags of byte 20 of a basic parameter list (SPC-4 table 221).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
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
    pub(in crate::scsi) fn parse(action: OutAction, list: &[u8]) -> Option<Self> {
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
