//! READ CAPACITY, READ and WRITE (SBC-3 5).
//!
//! There is no medium: what is written is discarded, what is read is zero.

use super::refusal::Refusal;
use crate::scsi::SenseCode;

pub(super) const READ_10: u8 = 0x28;
pub(super) const WRITE_10: u8 = 0x2a;
pub(super) const READ_16: u8 = 0x88;
pub(super) const WRITE_16: u8 = 0x8a;

const BLOCK: u32 = 512;
/// Longest transfer, in blocks: 1 MiB.
const MAXIMUM_TRANSFER: u32 = 2048;
const LBA_OUT_OF_RANGE: SenseCode = SenseCode {
    key: 0x05,
    asc: 0x21,
    ascq: 0x00,
};

/// READ CAPACITY(10).
pub(super) fn capacity_10(blocks: u64) -> Vec<u8> {
    let last = u32::try_from(blocks.saturating_sub(1)).unwrap_or(u32::MAX);
    [last.to_be_bytes(), BLOCK.to_be_bytes()].concat()
}

/// READ CAPACITY(16), the only service action known here.
pub(super) fn capacity_16(blocks: u64, cdb: &[u8]) -> Result<Vec<u8>, Refusal> {
    if cdb[1] & 0x1f != 0x10 {
        return Err(Refusal::Cdb(1, 4));
    }
    let mut data = blocks.saturating_sub(1).to_be_bytes().to_vec();
    data.extend_from_slice(&BLOCK.to_be_bytes());
    data.resize(32, 0);
    data.truncate(u32::from_be_bytes([cdb[10], cdb[11], cdb[12], cdb[13]]) as usize);
    Ok(data)
}

/// READ(10) and READ(16).
pub(super) fn read(blocks: u64, cdb: &[u8]) -> Result<Vec<u8>, Refusal> {
    Ok(vec![0; transfer(blocks, cdb)?])
}

/// WRITE(10) and WRITE(16): the data has to be as long as the CDB says.
pub(super) fn write(blocks: u64, cdb: &[u8], data: &[u8]) -> Result<Vec<u8>, Refusal> {
    match transfer(blocks, cdb)? == data.len() {
        true => Ok(Vec::new()),
        false => Err(length_field(cdb)),
    }
}

/// Bytes that a valid READ or WRITE transfers.
fn transfer(blocks: u64, cdb: &[u8]) -> Result<usize, Refusal> {
    let number = |field: &[u8]| {
        field
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let (first, count) = match cdb[0] {
        READ_10 | WRITE_10 => (number(&cdb[2..6]), number(&cdb[7..9])),
        _ => (number(&cdb[2..10]), number(&cdb[10..14])),
    };
    if first.checked_add(count).is_none_or(|end| end > blocks) {
        return Err(LBA_OUT_OF_RANGE.into());
    }
    match u32::try_from(count) {
        Ok(count) if count <= MAXIMUM_TRANSFER => Ok((count * BLOCK) as usize),
        _ => Err(length_field(cdb)),
    }
}

fn length_field(cdb: &[u8]) -> Refusal {
    match cdb[0] {
        READ_10 | WRITE_10 => Refusal::Cdb(7, 7),
        _ => Refusal::Cdb(10, 7),
    }
}
