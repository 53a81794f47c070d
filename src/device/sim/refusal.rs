//! Why a command did not end in GOOD.

use crate::scsi::{Outcome, Sense, SenseCode, Status};

/// The end of a command that changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// RESERVATION CONFLICT.
    Conflict,
    /// CHECK CONDITION.
    Check(SenseCode),
    /// INVALID FIELD IN CDB, at this byte and most significant bit.
    Cdb(u16, u8),
    /// INVALID FIELD IN PARAMETER LIST, at this byte and most significant bit.
    Parameter(u16, u8),
}

impl From<SenseCode> for Refusal {
    fn from(code: SenseCode) -> Self {
        match code {
            // From the common parser, which refuses only the service action so.
            SenseCode::INVALID_FIELD_IN_CDB => Refusal::Cdb(1, 4),
            code => Refusal::Check(code),
        }
    }
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Conflict => Outcome::conflict(),
            Refusal::Check(code) => Outcome::check(code),
            Refusal::Cdb(byte, bit) => pointed(SenseCode::INVALID_FIELD_IN_CDB, 0xc8, byte, bit),
            Refusal::Parameter(byte, bit) => {
                pointed(SenseCode::INVALID_FIELD_IN_PARAMETER_LIST, 0x88, byte, bit)
            }
        }
    }
}

/// Sense with a field pointer (SPC-4 4.5.2.4.2): SKSV and BPV in `flags`, C/D
/// there too where the field is one of the CDB.
fn pointed(code: SenseCode, flags: u8, byte: u16, bit: u8) -> Outcome {
    let mut sense = *Sense::fixed(code).bytes();
    sense[15] = flags | bit;
    sense[16..18].copy_from_slice(&byte.to_be_bytes());
    Outcome {
        status: Status::CheckCondition,
        sense: Some(Sense::from_device(&sense)),
        data: Vec::new(),
    }
}
