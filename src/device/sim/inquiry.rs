//! INQUIRY, REPORT LUNS and REQUEST SENSE (SPC-4 6).

use super::refusal::Refusal;
use super::unit::Config;
use crate::scsi::pr::NexusId;
use crate::scsi::{Sense, SenseCode};

/// Eight bytes of T10 vendor identification.
const VENDOR: &[u8; 8] = b"RESERVD ";

/// Standard data, or one of the pages 00h, 80h and 83h.
pub(super) fn inquiry(config: &Config, nexus: &NexusId, cdb: &[u8]) -> Result<Vec<u8>, Refusal> {
    let (vital, page) = (cdb[1] & 0x01 != 0, cdb[2]);
    let mut data = match (vital, page) {
        (false, 0) => standard(),
        (true, 0x00) => vital_page(0x00, vec![0x00, 0x80, 0x83]),
        (true, 0x80) => vital_page(0x80, shortened(&config.wwid).to_vec()),
        (true, 0x83) => vital_page(0x83, designators(config, nexus)),
        _ => return Err(Refusal::Cdb(2, 7)),
    };
    data.truncate(u16::from_be_bytes([cdb[3], cdb[4]]).into());
    Ok(data)
}

/// A direct access block device after SPC-4, with command queuing.
fn standard() -> Vec<u8> {
    let mut data = vec![0x00, 0x00, 0x06, 0x02, 31, 0x00, 0x00, 0x02];
    data.extend_from_slice(VENDOR);
    data.extend_from_slice(b"SIMULATED LUN   0001");
    data
}

fn vital_page(page: u8, body: Vec<u8>) -> Vec<u8> {
    let mut data = vec![0x00, page];
    data.extend_from_slice(&(body.len() as u16).to_be_bytes());
    data.extend_from_slice(&body);
    data
}

/// As much of a name as a designator's length byte can tell.
fn shortened(name: &str) -> &[u8] {
    &name.as_bytes()[..name.len().min(200)]
}

/// The logical unit's name, and the relative target port of this nexus
/// (SPC-4, "Device Identification VPD page").
fn designators(config: &Config, nexus: &NexusId) -> Vec<u8> {
    let mut body = match naa(&config.wwid) {
        Some(name) => designator(&[0x01, 0x03], &name),
        None => designator(&[0x02, 0x01], &[VENDOR, shortened(&config.wwid)].concat()),
    };
    let [high, low] = nexus.relative_target_port.to_be_bytes();
    let port = [config.protocol << 4 | 0x01, 0x94];
    body.extend(designator(&port, &[0, 0, high, low]));
    body
}

fn designator(kind: &[u8; 2], name: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind[0], kind[1], 0, name.len() as u8];
    bytes.extend_from_slice(name);
    bytes
}

/// The 8 or 16 bytes after the `3` of a WWID.
fn naa(wwid: &str) -> Option<Vec<u8>> {
    let digits = wwid.strip_prefix('3')?;
    let plain = matches!(digits.len(), 16 | 32) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    match plain {
        true => (0..digits.len()).step_by(2).map(byte).collect(),
        false => None,
    }
}

/// LUN 0 alone; no well known logical units.
pub(super) fn report_luns(cdb: &[u8]) -> Result<Vec<u8>, Refusal> {
    let luns: u8 = match cdb[2] {
        0x00 | 0x02 => 8,
        0x01 => 0,
        _ => return Err(Refusal::Cdb(2, 7)),
    };
    let mut data = vec![0; 8 + usize::from(luns)];
    data[3] = luns;
    data.truncate(u32::from_be_bytes([cdb[6], cdb[7], cdb[8], cdb[9]]) as usize);
    Ok(data)
}

/// The pending unit attention, or NO SENSE, in the format that DESC asks for.
pub(super) fn sense(cdb: &[u8], pending: Option<SenseCode>) -> Vec<u8> {
    let code = pending.unwrap_or(SenseCode {
        key: 0,
        asc: 0,
        ascq: 0,
    });
    let mut data = match cdb[1] & 0x01 {
        0 => Sense::fixed(code).bytes()[..18].to_vec(),
        _ => vec![0x72, code.key, code.asc, code.ascq, 0, 0, 0, 0],
    };
    data.truncate(cdb[4].into());
    data
}
