//! Requests and replies, byte by byte. All of it was written by hand from the protocol page, none by our own encoder.

use crate::script::Expect;

// PERSISTENT RESERVE IN: READ KEYS with allocation lengths 8192, 64, 16, 8, 0 and one too many.
pub const READ_KEYS: [u8; 10] = [0x5e, 0x00, 0, 0, 0, 0, 0, 0x20, 0x00, 0];
pub const READ_KEYS_64: [u8; 10] = [0x5e, 0x00, 0, 0, 0, 0, 0, 0x00, 0x40, 0];
pub const READ_KEYS_16: [u8; 10] = [0x5e, 0x00, 0, 0, 0, 0, 0, 0x00, 0x10, 0];
pub const READ_KEYS_8: [u8; 10] = [0x5e, 0x00, 0, 0, 0, 0, 0, 0x00, 0x08, 0];
pub const READ_KEYS_0: [u8; 10] = [0x5e, 0x00, 0, 0, 0, 0, 0, 0x00, 0x00, 0];
pub const READ_KEYS_8193: [u8; 10] = [0x5e, 0x00, 0, 0, 0, 0, 0, 0x20, 0x01, 0];
pub const READ_RESERVATION: [u8; 10] = [0x5e, 0x01, 0, 0, 0, 0, 0, 0x20, 0x00, 0];
pub const REPORT_CAPABILITIES: [u8; 10] = [0x5e, 0x02, 0, 0, 0, 0, 0, 0x00, 0x08, 0];
pub const READ_FULL_STATUS: [u8; 10] = [0x5e, 0x03, 0, 0, 0, 0, 0, 0x20, 0x00, 0];
pub const PR_IN_SERVICE_ACTION_4: [u8; 10] = [0x5e, 0x04, 0, 0, 0, 0, 0, 0x20, 0x00, 0];
pub const PR_IN_SERVICE_ACTION_1F: [u8; 10] = [0x5e, 0x1f, 0, 0, 0, 0, 0, 0x20, 0x00, 0];

// PERSISTENT RESERVE OUT with the usual 24 bytes of parameters, and with other lengths.
pub const REGISTER: [u8; 10] = [0x5f, 0x00, 0, 0, 0, 0, 0, 0, 24, 0];
pub const RESERVE: [u8; 10] = [0x5f, 0x01, 0x05, 0, 0, 0, 0, 0, 24, 0];
pub const RELEASE: [u8; 10] = [0x5f, 0x02, 0x05, 0, 0, 0, 0, 0, 24, 0];
pub const CLEAR: [u8; 10] = [0x5f, 0x03, 0, 0, 0, 0, 0, 0, 24, 0];
pub const PREEMPT: [u8; 10] = [0x5f, 0x04, 0x05, 0, 0, 0, 0, 0, 24, 0];
pub const PREEMPT_AND_ABORT: [u8; 10] = [0x5f, 0x05, 0x05, 0, 0, 0, 0, 0, 24, 0];
pub const REGISTER_AND_IGNORE: [u8; 10] = [0x5f, 0x06, 0, 0, 0, 0, 0, 0, 24, 0];
pub const REGISTER_AND_MOVE_48: [u8; 10] = [0x5f, 0x07, 0, 0, 0, 0, 0, 0, 48, 0];
pub const REPLACE_LOST_RESERVATION: [u8; 10] = [0x5f, 0x08, 0x05, 0, 0, 0, 0, 0, 24, 0];
pub const REGISTER_52: [u8; 10] = [0x5f, 0x00, 0, 0, 0, 0, 0, 0, 52, 0];
pub const PR_OUT_SERVICE_ACTION_9: [u8; 10] = [0x5f, 0x09, 0, 0, 0, 0, 0, 0, 24, 0];
pub const PR_OUT_SERVICE_ACTION_1F: [u8; 10] = [0x5f, 0x1f, 0, 0, 0, 0, 0, 0, 24, 0];
pub const REGISTER_8192: [u8; 10] = [0x5f, 0x00, 0, 0, 0, 0, 0, 0x20, 0x00, 0];
pub const REGISTER_8193: [u8; 10] = [0x5f, 0x00, 0, 0, 0, 0, 0, 0x20, 0x01, 0];
pub const REGISTER_23: [u8; 10] = [0x5f, 0x00, 0, 0, 0, 0, 0, 0, 23, 0];
pub const REGISTER_8: [u8; 10] = [0x5f, 0x00, 0, 0, 0, 0, 0, 0, 8, 0];
pub const REGISTER_0: [u8; 10] = [0x5f, 0x00, 0, 0, 0, 0, 0, 0, 0, 0];
/// The length field is 32 bits wide: these ask for 64 KiB + 24 and 16 MiB + 24, of which QEMU sends 24.
pub const REGISTER_65560: [u8; 10] = [0x5f, 0x00, 0, 0, 0, 0, 1, 0, 24, 0];
pub const REGISTER_16777240: [u8; 10] = [0x5f, 0x00, 0, 0, 0, 1, 0, 0, 24, 0];

/// Reservation key 0, service action key deadbeef01020304: what a first REGISTER carries.
pub const PARAMETERS: [u8; 24] = [
    0, 0, 0, 0, 0, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0,
];
/// The same key on both sides, as RESERVE and the like want it.
pub const HELD: [u8; 24] = [
    0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// A first REGISTER with ALL_TG_PT and APTPL.
pub const FLAGGED: [u8; 24] = [
    0, 0, 0, 0, 0, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 0, 0, 0, 0, 0x05, 0, 0, 0,
];
/// A first REGISTER with SPEC_I_PT: 24 bytes of TransportIDs follow, one Fibre Channel port.
#[rustfmt::skip]
pub const FOR_ANOTHER: [u8; 52] = [
    0, 0, 0, 0, 0, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 0, 0, 0, 0, 0x08, 0, 0, 0, 0, 0, 0, 24,
    0, 0, 0, 0, 0, 0, 0, 0, 0x21, 0, 0, 0xe0, 0x8b, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0,
];
/// REGISTER AND MOVE to that port, by relative target port 1, unregistering the sender.
#[rustfmt::skip]
pub const MOVE: [u8; 48] = [
    0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0x02, 0, 1, 0, 0, 0, 24,
    0, 0, 0, 0, 0, 0, 0, 0, 0x21, 0, 0, 0xe0, 0x8b, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0,
];

// What the shim's disk says: one registrant that holds a Write Exclusive - Registrants Only reservation.
pub const KEYS: [u8; 16] = [0, 0, 0, 7, 0, 0, 0, 8, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4];
pub const RESERVATION: [u8; 24] = [
    0, 0, 0, 7, 0, 0, 0, 16, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 0, 0, 0, 0, 0, 5, 0, 0,
];
pub const CAPABILITIES: [u8; 8] = [0, 8, 0x0d, 0x81, 0xea, 1, 0, 0];
#[rustfmt::skip]
pub const FULL_STATUS: [u8; 56] = [
    0, 0, 0, 7, 0, 0, 0, 48,
    0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 0, 0, 0, 0, 1, 5, 0, 0, 0, 0, 0, 1, 0, 0, 0, 24,
    0, 0, 0, 0, 0, 0, 0, 0, 0x21, 0, 0, 0xe0, 0x8b, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0,
];

pub const BUSY: u32 = 0x08;
pub const CONFLICT: u32 = 0x18;
pub const TASK_SET_FULL: u32 = 0x28;

pub fn good() -> Expect {
    Expect::Reply {
        status: 0,
        sense: vec![],
        payload: vec![],
    }
}

pub fn data(payload: &[u8]) -> Expect {
    Expect::Reply {
        status: 0,
        sense: vec![],
        payload: payload.to_vec(),
    }
}

pub fn status(status: u32) -> Expect {
    Expect::Reply {
        status,
        sense: vec![],
        payload: vec![],
    }
}

/// Fixed format, current error, 18 bytes of which only key, ASC and ASCQ say something.
pub fn sense(key: u8, asc: u8, ascq: u8) -> Expect {
    exact_sense(&[0x70, 0, key, 0, 0, 0, 0, 0x0a, 0, 0, 0, 0, asc, ascq])
}

pub fn exact_sense(bytes: &[u8]) -> Expect {
    Expect::Reply {
        status: 2,
        sense: bytes.to_vec(),
        payload: vec![],
    }
}
