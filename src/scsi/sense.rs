//! Status codes and sense data (SAM-5 5.3.1, SPC-4 4.5).

use std::fmt;

/// SAM-5 status code of a completed command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// 00h
    Good,
    /// 02h: look at the sense data.
    CheckCondition,
    /// 08h: try again later.
    Busy,
    /// 18h: the reservation or the key given does not allow this command.
    ReservationConflict,
    /// 28h: try again later.
    TaskSetFull,
    /// 40h
    TaskAborted,
    /// Any other code, passed on as it came.
    Other(u8),
}

impl From<u8> for Status {
    fn from(code: u8) -> Self {
        match code {
            0x00 => Status::Good,
            0x02 => Status::CheckCondition,
            0x08 => Status::Busy,
            0x18 => Status::ReservationConflict,
            0x28 => Status::TaskSetFull,
            0x40 => Status::TaskAborted,
            other => Status::Other(other),
        }
    }
}

impl From<Status> for u8 {
    fn from(status: Status) -> u8 {
        match status {
            Status::Good => 0x00,
            Status::CheckCondition => 0x02,
            Status::Busy => 0x08,
            Status::ReservationConflict => 0x18,
            Status::TaskSetFull => 0x28,
            Status::TaskAborted => 0x40,
            Status::Other(code) => code,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Good => f.write_str("GOOD"),
            Status::CheckCondition => f.write_str("CHECK CONDITION"),
            Status::Busy => f.write_str("BUSY"),
            Status::ReservationConflict => f.write_str("RESERVATION CONFLICT"),
            Status::TaskSetFull => f.write_str("TASK SET FULL"),
            Status::TaskAborted => f.write_str("TASK ABORTED"),
            Status::Other(code) => write!(f, "STATUS {code:02X}h"),
        }
    }
}

/// Sense key, additional sense code and its qualifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SenseCode {
    /// Sense key, 0 to 15.
    pub key: u8,
    /// Additional sense code.
    pub asc: u8,
    /// Additional sense code qualifier.
    pub ascq: u8,
}

impl SenseCode {
    const fn new(key: u8, asc: u8, ascq: u8) -> Self {
        SenseCode { key, asc, ascq }
    }

    /// INVALID COMMAND OPERATION CODE.
    pub const INVALID_OPCODE: Self = Self::new(0x05, 0x20, 0x00);
    /// PARAMETER LIST LENGTH ERROR.
    pub const PARAMETER_LIST_LENGTH_ERROR: Self = Self::new(0x05, 0x1a, 0x00);
    /// INVALID FIELD IN CDB.
    pub const INVALID_FIELD_IN_CDB: Self = Self::new(0x05, 0x24, 0x00);
    /// INVALID FIELD IN PARAMETER LIST.
    pub const INVALID_FIELD_IN_PARAMETER_LIST: Self = Self::new(0x05, 0x26, 0x00);
    /// INVALID RELEASE OF PERSISTENT RESERVATION.
    pub const INVALID_RELEASE: Self = Self::new(0x05, 0x26, 0x04);
    /// INSUFFICIENT REGISTRATION RESOURCES.
    pub const INSUFFICIENT_REGISTRATION_RESOURCES: Self = Self::new(0x05, 0x55, 0x04);
    /// LOGICAL UNIT NOT READY, CAUSE NOT REPORTABLE.
    pub const NOT_READY: Self = Self::new(0x02, 0x04, 0x00);
    /// MEDIUM NOT PRESENT.
    pub const MEDIUM_NOT_PRESENT: Self = Self::new(0x02, 0x3a, 0x00);
    /// UNRECOVERED READ ERROR, the general medium error.
    pub const READ_ERROR: Self = Self::new(0x03, 0x11, 0x00);
    /// INTERNAL TARGET FAILURE.
    pub const TARGET_FAILURE: Self = Self::new(0x04, 0x44, 0x00);
    /// SPACE ALLOCATION FAILED WRITE PROTECT.
    pub const SPACE_ALLOCATION_FAILED: Self = Self::new(0x07, 0x27, 0x07);
    /// POWER ON, RESET, OR BUS DEVICE RESET OCCURRED.
    pub const POWER_ON_OR_RESET: Self = Self::new(0x06, 0x29, 0x00);
    /// RESERVATIONS PREEMPTED: somebody sent CLEAR.
    pub const RESERVATIONS_PREEMPTED: Self = Self::new(0x06, 0x2a, 0x03);
    /// RESERVATIONS RELEASED.
    pub const RESERVATIONS_RELEASED: Self = Self::new(0x06, 0x2a, 0x04);
    /// REGISTRATIONS PREEMPTED: this nexus was fenced.
    pub const REGISTRATIONS_PREEMPTED: Self = Self::new(0x06, 0x2a, 0x05);
    /// I/O PROCESS TERMINATED.
    pub const IO_PROCESS_TERMINATED: Self = Self::new(0x0b, 0x00, 0x06);
    /// LOGICAL UNIT DOES NOT RESPOND TO SELECTION.
    pub const NO_RESPONSE_TO_SELECTION: Self = Self::new(0x0b, 0x05, 0x00);
    /// LOGICAL UNIT COMMUNICATION FAILURE.
    pub const COMMUNICATION_FAILURE: Self = Self::new(0x0b, 0x08, 0x00);
    /// COMMAND TIMEOUT BEFORE PROCESSING: it was never sent.
    pub const TIMEOUT_BEFORE_PROCESSING: Self = Self::new(0x0b, 0x2e, 0x01);
    /// COMMAND TIMEOUT DURING PROCESSING: it was sent and its fate is unknown.
    pub const TIMEOUT_DURING_PROCESSING: Self = Self::new(0x0b, 0x2e, 0x02);
    /// COMMANDS CLEARED BY DEVICE SERVER.
    pub const COMMANDS_CLEARED: Self = Self::new(0x0b, 0x2f, 0x02);
    /// I_T NEXUS LOSS OCCURRED.
    pub const NEXUS_LOSS: Self = Self::new(0x0b, 0x29, 0x07);

    /// True for UNIT ATTENTION: the command was not executed, send it again.
    pub fn is_unit_attention(self) -> bool {
        self.key == 0x06
    }

    /// True for the unit attentions that tell of another nexus' PR OUT
    /// (2A/03, 2A/04, 2A/05).
    pub fn is_reservation_event(self) -> bool {
        self.is_unit_attention() && self.asc == 0x2a && (0x03..=0x05).contains(&self.ascq)
    }

    /// True where the path, not the logical unit, refuses: NOT READY while the
    /// target port is in transition, standby, unavailable or offline
    /// (SPC-4 table 56, 04/0A to 04/0C and 04/12).
    pub fn is_port_unusable(self) -> bool {
        self.key == 0x02 && self.asc == 0x04 && matches!(self.ascq, 0x0a..=0x0c | 0x12)
    }
}

impl fmt::Display for SenseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02X}/{:02X}/{:02X}", self.key, self.asc, self.ascq)
    }
}

/// Sense data as the wire carries it: 96 bytes, the unused ones zero.
#[derive(Clone, PartialEq, Eq)]
pub struct Sense(Box<[u8; Sense::LENGTH]>);

impl Sense {
    /// Room for sense data in a reply of the helper protocol.
    pub const LENGTH: usize = 96;

    /// Fixed-format sense data (SPC-4 4.5.3), current error, 18 bytes.
    pub fn fixed(code: SenseCode) -> Self {
        let mut bytes = Box::new([0; Sense::LENGTH]);
        bytes[0] = 0x70;
        bytes[2] = code.key;
        bytes[7] = 10;
        bytes[12] = code.asc;
        bytes[13] = code.ascq;
        Sense(bytes)
    }

    /// Sense data as a device returned it; bytes past 96 are dropped.
    pub fn from_device(raw: &[u8]) -> Self {
        let mut bytes = Box::new([0; Sense::LENGTH]);
        let length = raw.len().min(Sense::LENGTH);
        bytes[..length].copy_from_slice(&raw[..length]);
        Sense(bytes)
    }

    /// All 96 bytes.
    pub fn bytes(&self) -> &[u8; Sense::LENGTH] {
        &self.0
    }

    /// Sense key, ASC and ASCQ, from fixed (70h, 71h) or descriptor format
    /// (72h, 73h). `None` for any other response code.
    pub fn code(&self) -> Option<SenseCode> {
        let b = &self.0;
        match b[0] & 0x7f {
            0x70 | 0x71 => Some(SenseCode::new(b[2] & 0x0f, b[12], b[13])),
            0x72 | 0x73 => Some(SenseCode::new(b[1] & 0x0f, b[2], b[3])),
            _ => None,
        }
    }
}

impl fmt::Debug for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code() {
            Some(code) => write!(f, "Sense({code})"),
            None => write!(f, "Sense({:02x?})", &self.0[..8]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sense_formats_are_understood() {
        let fixed = Sense::from_device(&[0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x2a, 5]);
        assert_eq!(fixed.code(), Some(SenseCode::REGISTRATIONS_PREEMPTED));
        let descriptor = Sense::from_device(&[0x72, 6, 0x2a, 5]);
        assert_eq!(descriptor.code(), Some(SenseCode::REGISTRATIONS_PREEMPTED));
        assert_eq!(Sense::from_device(&[]).code(), None);
        assert_eq!(Sense::from_device(&[0x70; 300]).bytes().len(), 96);
    }

    #[test]
    fn every_status_code_survives_the_round_trip() {
        for code in 0..=255u8 {
            assert_eq!(u8::from(Status::from(code)), code);
        }
    }
}
