//! Everything that is not a reservation command.

use super::super::unit::Config;
use super::*;

fn ask(unit: &mut LogicalUnit, cdb: &[u8]) -> Outcome {
    unit.execute(&nexus("a1"), cdb, &[])
}

fn inquiry(unit: &mut LogicalUnit, page: u8) -> Vec<u8> {
    ask(unit, &[0x12, 1, page, 1, 0, 0]).data
}

#[test]
fn inquiry_names_the_unit_and_the_port() {
    let mut unit = unit();
    let standard = ask(&mut unit, &[0x12, 0, 0, 0, 96, 0]).data;
    assert_eq!(standard[..5], [0, 0, 6, 2, 31]);
    assert_eq!(&standard[8..], b"RESERVD SIMULATED LUN   0001");
    assert_eq!(inquiry(&mut unit, 0x00), [0, 0, 0, 3, 0, 0x80, 0x83]);
    assert_eq!(
        &inquiry(&mut unit, 0x80)[4..],
        b"3600140500000000000000000000000a1"
    );
    let mut expected = vec![0, 0x83, 0, 28, 1, 3, 0, 16, 0x60, 0x01, 0x40, 0x50];
    expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xa1]);
    expected.extend_from_slice(&[0x61, 0x94, 0, 4, 0, 0, 0, 2]);
    assert_eq!(inquiry(&mut unit, 0x83), expected);
    assert_eq!(
        ask(&mut unit, &[0x12, 1, 0x55, 1, 0, 0]).to_string(),
        BAD_CDB
    );
    assert_eq!(
        ask(&mut unit, &[0x12, 0, 0x83, 1, 0, 0]).to_string(),
        BAD_CDB
    );
    assert_eq!(
        ask(&mut unit, &[0x12, 1, 0x83, 0, 4, 0]).data,
        expected[..4]
    );
}

#[test]
fn any_text_makes_a_designator() {
    for wwid in ["", "0QEMU_disk", "36001405é", &"x".repeat(999)] {
        let mut unit = unit_with(Config::new(wwid));
        let page = inquiry(&mut unit, 0x83);
        assert_eq!(page[4..6], [2, 1]);
        assert_eq!(&page[8..16], b"RESERVD ");
        let length = usize::from(u16::from_be_bytes([page[2], page[3]]));
        assert!(page.len() == (length + 4).min(256));
    }
}

#[test]
fn the_capacity_is_told() {
    let mut unit = unit();
    let short = ask(&mut unit, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]).data;
    assert_eq!(short, [0, 0x1f, 0xff, 0xff, 0, 0, 2, 0]);
    let long = [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0];
    let data = ask(&mut unit, &long).data;
    assert_eq!(data, [0, 0, 0, 0, 0, 0x1f, 0xff, 0xff, 0, 0, 2, 0]);
    let luns = ask(&mut unit, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]).data;
    assert_eq!(luns, [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn transfers_stay_within_bounds() {
    let mut unit = unit();
    let read = |blocks: [u8; 2], lba: [u8; 4]| [&[0x28, 0][..], &lba, &[0], &blocks, &[0]].concat();
    assert_eq!(ask(&mut unit, &read([0, 2], [0; 4])).data, [0; 1024]);
    let last = [0, 0x1f, 0xff, 0xff];
    assert!(ask(&mut unit, &read([0, 1], last)).is_good());
    let beyond = "CHECK CONDITION 05/21/00";
    assert_eq!(ask(&mut unit, &read([0, 2], last)).to_string(), beyond);
    assert_eq!(
        ask(&mut unit, &read([0xff, 0xff], [0; 4])).to_string(),
        BAD_CDB
    );
    let mut huge = vec![0xff; 16];
    huge[0] = 0x88;
    assert_eq!(ask(&mut unit, &huge).to_string(), beyond);
    let write = [0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    assert!(unit.execute(&nexus("a0"), &write, &[1; 512]).is_good());
    assert_eq!(ask(&mut unit, &write).to_string(), BAD_CDB);
}

#[test]
fn short_and_unknown_cdbs_are_refused() {
    let mut unit = unit();
    assert_eq!(ask(&mut unit, &[]).to_string(), "CHECK CONDITION 05/20/00");
    assert_eq!(
        ask(&mut unit, &[0x16; 6]).to_string(),
        "CHECK CONDITION 05/20/00"
    );
    assert_eq!(
        ask(&mut unit, &[0x5e, 0, 0, 0, 0, 0, 0, 0, 8]).to_string(),
        BAD_CDB
    );
    assert_eq!(ask(&mut unit, &[0x5f]).to_string(), BAD_CDB);
}
