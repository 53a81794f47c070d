use super::*;
use crate::device::identity::DeviceNumber;
use crate::device::maps::Hctl;
use crate::watch::event::Change;
use std::fs;
use std::os::unix::fs::symlink;

const WWID: &str = "36001405aaaa";

/// One map of two disks, a disk in no map, a logical volume on the map, a
/// partition of it, and a disk of another kind.
fn sysfs() -> (tempfile::TempDir, SysFs) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let write = |path: String, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    };
    let link = |path: String, target: String| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(root.join(target), path).unwrap();
    };
    for (name, hctl, number, wwid) in [
        ("sda", "2:0:1:0", "8:0", "naa.6001405aaaa"),
        ("sdb", "3:0:1:0", "8:16", "naa.6001405aaaa"),
        ("sdc", "4:0:1:0", "8:32", "naa.6001405cccc"),
    ] {
        let device = format!("devices/{hctl}");
        write(format!("{device}/type"), "0");
        write(format!("{device}/state"), "running");
        write(format!("{device}/wwid"), wwid);
        write(format!("{device}/block/{name}/dev"), number);
        link(format!("{device}/block/{name}/device"), device.clone());
        fs::create_dir(root.join(format!("{device}/block/{name}/holders"))).unwrap();
        link(format!("bus/scsi/devices/{hctl}"), device.clone());
        link(format!("block/{name}"), format!("{device}/block/{name}"));
        link(format!("dev/block/{number}"), format!("block/{name}"));
    }
    for (minor, name, uuid, slaves) in [
        (0, "mpatha", "mpath-36001405aaaa", &["sda", "sdb"][..]),
        (1, "mpatha-part1", "part1-mpath-36001405aaaa", &["dm-0"]),
        (2, "vg-lv", "LVM-x", &["dm-0"]),
        (3, "mpathz", "mpath-36001405zzzz", &[]),
    ] {
        let device = format!("devices/virtual/block/dm-{minor}");
        write(format!("{device}/dev"), &format!("253:{minor}"));
        write(format!("{device}/dm/name"), name);
        write(format!("{device}/dm/uuid"), uuid);
        link(format!("block/dm-{minor}"), device.clone());
        link(format!("dev/block/253:{minor}"), device.clone());
        for slave in slaves {
            link(format!("{device}/slaves/{slave}"), format!("block/{slave}"));
            link(format!("block/{slave}/holders/dm-{minor}"), device.clone());
        }
    }
    let sysfs = SysFs::new(root);
    (folder, sysfs)
}

fn number(major: u32, minor: u32) -> DeviceNumber {
    DeviceNumber { major, minor }
}

fn on_map(minor: u32, wwid: Option<&str>, path: Option<(u32, u32)>) -> Hint {
    Hint {
        unit: UnitName::Map {
            number: number(253, minor),
            wwid: wwid.map(Wwid::new),
        },
        path: path.map(|(major, minor)| PathName::Number(number(major, minor))),
        change: Change::MapChanged,
    }
}

fn on_disk(hctl: &str) -> Hint {
    let hctl = Hctl::parse(hctl).unwrap();
    Hint {
        unit: UnitName::Scsi(hctl),
        path: Some(PathName::Scsi(hctl)),
        change: Change::PathAdded,
    }
}

fn mpatha() -> Map {
    Map {
        number: number(253, 0),
        name: "mpatha".into(),
        wwid: Wwid::new(WWID),
    }
}

#[test]
fn only_multipath_maps_are_listed() {
    let (_folder, sysfs) = sysfs();
    let maps = sysfs.maps().unwrap();
    let names: Vec<_> = maps.iter().map(|map| map.name.as_str()).collect();
    assert_eq!(names, ["mpatha", "mpathz"]);
    assert_eq!(maps[0], mpatha());
    let empty = tempfile::tempdir().unwrap();
    assert!(SysFs::new(empty.path()).maps().is_err(), "no sysfs");
}

#[test]
fn a_hint_about_a_map_leads_to_it() {
    let (_folder, sysfs) = sysfs();
    let whole = Some(Unit::from(mpatha()));
    assert_eq!(unit_of(&sysfs, &on_map(0, None, None)), whole);
    assert_eq!(unit_of(&sysfs, &on_map(0, Some(WWID), None)), whole);
    // Other dm devices, and numbers of none.
    for minor in [1, 2, 9] {
        assert_eq!(unit_of(&sysfs, &on_map(minor, None, None)), None);
    }
    // Gone, or its number taken by another map: the message still says whose.
    for minor in [9, 3] {
        let unit = unit_of(&sysfs, &on_map(minor, Some(WWID), None)).unwrap();
        assert_eq!((unit.wwid, unit.map), (Wwid::new(WWID), None));
    }
}

#[test]
fn a_hint_about_a_disk_leads_to_the_map_above_it() {
    let (folder, sysfs) = sysfs();
    for hctl in ["2:0:1:0", "3:0:1:0"] {
        let unit = unit_of(&sysfs, &on_disk(hctl)).unwrap();
        assert_eq!(unit, Unit::from(mpatha()), "{hctl}");
    }
    let plain = unit_of(&sysfs, &on_disk("4:0:1:0")).unwrap();
    assert_eq!((plain.wwid, plain.map), (Wwid::new("36001405cccc"), None));
    assert_eq!(unit_of(&sysfs, &on_disk("2:0:1:1")), None, "gone");
    // An enclosure is no disk.
    fs::write(folder.path().join("devices/4:0:1:0/type"), "13\n").unwrap();
    assert_eq!(unit_of(&sysfs, &on_disk("4:0:1:0")), None);
}

#[test]
fn a_path_is_found_by_number_and_by_address() {
    let (_folder, sysfs) = sysfs();
    let failed = on_map(0, Some(WWID), Some((8, 16)));
    let path = path_of(&sysfs, &failed).unwrap();
    assert_eq!((path.name.as_str(), path.hctl.as_str()), ("sdb", "3:0:1:0"));
    assert_eq!(path_of(&sysfs, &on_disk("3:0:1:0")), Some(path));
    assert_eq!(path_of(&sysfs, &on_map(0, None, None)), None);
    assert_eq!(path_of(&sysfs, &on_map(0, None, Some((8, 99)))), None);
}
