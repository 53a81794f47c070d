//! PERSISTENT RESERVE IN: the bytes, and every allocation length.

use super::*;
use crate::scsi::pr::{FullStatus, KeyList};

fn read(unit: &mut LogicalUnit, action: u8, length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    let cdb = [0x5e, action, 0, 0, 0, 0, 0, high, low, 0];
    let outcome = unit.execute(&nexus("b1"), &cdb, &[]);
    assert!(outcome.is_good(), "{outcome}");
    outcome.data
}

fn held() -> LogicalUnit {
    let mut unit = unit();
    prepare(
        &mut unit,
        "a0 register 0 1122334455667788 aptpl; b1 register 0 2 aptpl; \
         a0 reserve 1122334455667788 0 WERO",
    );
    unit
}

/// What the four service actions return under [`held`], from the tables of
/// SPC-4 6.15.
fn golden() -> [Vec<u8>; 4] {
    let key = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88];
    let keys = [
        &[0, 0, 0, 2, 0, 0, 0, 16][..],
        &key,
        &[0, 0, 0, 0, 0, 0, 0, 2],
    ]
    .concat();
    let reservation = [
        &[0, 0, 0, 2, 0, 0, 0, 16][..],
        &key,
        &[0, 0, 0, 0, 0, 0x05, 0, 0],
    ]
    .concat();
    let capabilities = vec![0, 8, 0x0d, 0x91, 0xea, 0x01, 0, 0];
    let mut full = vec![0, 0, 0, 2, 0, 0, 0, 96];
    full.extend_from_slice(&key);
    full.extend_from_slice(&[0, 0, 0, 0, 0x01, 0x05, 0, 0, 0, 0, 0, 1, 0, 0, 0, 24]);
    full.extend_from_slice(&[6, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0x10]);
    full.extend_from_slice(&[0; 12]);
    full.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 2]);
    full.extend_from_slice(&[0, 0, 0, 0, 0x00, 0x00, 0, 0, 0, 0, 0, 2, 0, 0, 0, 24]);
    full.extend_from_slice(&[6, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0x13]);
    full.extend_from_slice(&[0; 12]);
    [keys, reservation, capabilities, full]
}

#[test]
fn every_allocation_length_cuts_and_nothing_else() {
    let mut unit = held();
    for (action, golden) in golden().into_iter().enumerate() {
        for length in 0..golden.len() + 3 {
            let expected = &golden[..length.min(golden.len())];
            assert_eq!(read(&mut unit, action as u8, length as u16), expected);
        }
        assert_eq!(read(&mut unit, action as u8, u16::MAX), golden);
    }
}

#[test]
fn an_empty_unit_has_headers_only() {
    let mut unit = unit();
    for action in [0, 1, 3] {
        assert_eq!(read(&mut unit, action, 64), [0; 8]);
    }
    assert_eq!(read(&mut unit, 2, 64), [0, 8, 0x0d, 0x90, 0xea, 0x01, 0, 0]);
}

#[test]
fn all_registrants_hold_without_a_key() {
    let mut unit = unit();
    prepare(
        &mut unit,
        "a0 register 0 1; a1 register 0 1; b0 register 0 2; a0 reserve 1 0 EAAR",
    );
    let reservation = read(&mut unit, 1, 24);
    assert_eq!(
        reservation[8..],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0]
    );
    let full = FullStatus::parse(&read(&mut unit, 3, 4096)).unwrap();
    assert!(
        full.descriptors
            .iter()
            .all(|row| row.holder == Some(ScopeType(8)))
    );
    // One key for each nexus, in the order of registration.
    let keys = KeyList::parse(&read(&mut unit, 0, 4096)).unwrap().keys;
    assert_eq!(keys, ["1", "1", "2"].map(key));
}

#[test]
fn all_target_ports_have_no_port() {
    let mut unit = unit();
    prepare(&mut unit, "a1 register 0 1 all");
    let data = read(&mut unit, 3, 4096);
    assert_eq!(data[8 + 12..8 + 20], [0x02, 0, 0, 0, 0, 0, 0, 0]);
    let full = FullStatus::parse(&data).unwrap();
    assert_eq!(full.descriptors.len(), 2);
    for row in &full.descriptors {
        assert!(row.all_tg_pt);
        assert_eq!(row.nexus.relative_target_port, 0);
        assert_eq!(row.nexus.transport_id, nexus("a1").transport_id);
    }
}

#[test]
fn unknown_service_actions_are_refused() {
    for action in 4..=0x1f {
        let outcome = unit().execute(&nexus("a0"), &[0x5e, action, 0, 0, 0, 0, 0, 0, 8, 0], &[]);
        assert_eq!(outcome.to_string(), BAD_CDB);
    }
}
