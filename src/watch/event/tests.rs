use super::*;
use proptest::prelude::*;

const DISK: &str = "/devices/pseudo_0/tcm_loop_adapter_0/host2/target2:0:1/2:0:1:0";
const UUID: &str = "DM_UUID=mpath-3600140511111111aaaabbbbcccc00000";

fn event(lines: &str) -> Properties {
    lines
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn dm(action: &str, more: &str) -> Properties {
    event(&format!(
        "ACTION={action} DEVPATH=/devices/virtual/block/dm-0 SUBSYSTEM=block DEVTYPE=disk \
         DEVNAME=dm-0 MAJOR=253 MINOR=0 SEQNUM=1234 DISKSEQ=9 {more}"
    ))
}

fn block(action: &str, more: &str) -> Properties {
    event(&format!(
        "ACTION={action} DEVPATH={DISK}/block/sda SUBSYSTEM=block DEVTYPE=disk DEVNAME=sda \
         MAJOR=8 MINOR=0 {more}"
    ))
}

fn scsi(action: &str, more: &str) -> Properties {
    event(&format!(
        "ACTION={action} DEVPATH={DISK} SUBSYSTEM=scsi DEVTYPE=scsi_device DRIVER=sd \
         MODALIAS=scsi:t-0x00 {more}"
    ))
}

fn on_map(wwid: Option<&str>, path: Option<(u32, u32)>, change: Change) -> Option<Hint> {
    let number = |(major, minor)| DeviceNumber { major, minor };
    Some(Hint {
        unit: UnitName::Map {
            number: number((253, 0)),
            wwid: wwid.map(Wwid::new),
        },
        path: path.map(|path| PathName::Number(number(path))),
        change,
    })
}

fn on_disk(change: Change) -> Option<Hint> {
    Some(of_disk(Hctl::parse("2:0:1:0").unwrap(), change))
}

/// What one message means when the kernel sends it, and when udevd does.
#[track_caller]
fn check(event: &Properties, kernel: Option<Hint>, udev: Option<Hint>) {
    assert_eq!(hint(Group::Kernel, event), kernel, "kernel: {event:?}");
    assert_eq!(hint(Group::Udev, event), udev, "udev: {event:?}");
}

const WWID: Option<&str> = Some("3600140511111111aaaabbbbcccc00000");

#[test]
fn paths_that_device_mapper_fails_and_reinstates() {
    for (action, change) in [
        ("PATH_FAILED", Change::PathFailed),
        ("PATH_REINSTATED", Change::PathReinstated),
    ] {
        let event = dm(
            "change",
            &format!(
                "DM_TARGET=multipath DM_ACTION={action} DM_PATH=8:16 DM_NR_VALID_PATHS=1 \
                 DM_SEQNUM=3 DM_NAME=mpatha {UUID}"
            ),
        );
        check(&event, on_map(WWID, Some((8, 16)), change), None);
    }
    // Without a path that can be read it is still about the map.
    let event = dm("change", &format!("DM_ACTION=PATH_FAILED DM_PATH=x {UUID}"));
    check(&event, on_map(WWID, None, Change::PathFailed), None);
    // Not a map of multipathd's.
    let event = dm("change", "DM_ACTION=PATH_FAILED DM_PATH=8:16 DM_NAME=mine");
    check(&event, None, None);
}

#[test]
fn maps_that_come_change_and_go() {
    let changed = |wwid| on_map(wwid, None, Change::MapChanged);
    check(&dm("add", ""), changed(None), None);
    check(&dm("change", "DM_COOKIE=4249604"), changed(None), None);
    check(&dm("remove", ""), changed(None), None);
    // As udevd passes them on.
    let named = format!("DM_COOKIE=4249604 DM_NAME=mpatha {UUID} DM_ACTIVATION=1");
    for action in ["add", "change", "remove"] {
        check(&dm(action, &named), changed(WWID), changed(WWID));
    }
    for irrelevant in ["bind", "move", "offline"] {
        check(&dm(irrelevant, &named), None, None);
    }
}

#[test]
fn other_dm_devices_are_passed_over_where_their_uuid_says_so() {
    for uuid in [
        "DM_UUID=LVM-x",
        "DM_UUID=part1-mpath-36001405",
        "DM_UUID=mpath-",
        "DM_UUID=",
        "DM_UUID=CRYPT-LUKS2-mpath-x",
    ] {
        for more in [
            "",
            "DM_ACTION=PATH_FAILED DM_PATH=8:0",
            "DM_ACTION=PATH_REINSTATED",
        ] {
            check(&dm("change", &format!("{uuid} {more}")), None, None);
        }
    }
}

#[test]
fn disks_that_come_and_go() {
    check(
        &block("add", ""),
        on_disk(Change::PathAdded),
        on_disk(Change::PathAdded),
    );
    check(&block("remove", ""), on_disk(Change::PathRemoved), None);
    check(&block("bind", ""), None, None);
    // A disk was closed after writing: udev looks at it again.
    check(&block("change", "SYNTH_UUID=0"), None, None);
    check(
        &block(
            "change",
            "ID_SERIAL=3600140511111111aaaabbbbcccc00000 DM_MULTIPATH_DEVICE_PATH=1 \
             ID_FS_TYPE=mpath_member",
        ),
        None,
        on_disk(Change::PathChanged),
    );
    check(&block("change", "DM_MULTIPATH_DEVICE_PATH=0"), None, None);
}

#[test]
fn unit_attentions_that_the_kernel_saw() {
    check(
        &scsi("change", "SDEV_UA=POWER_ON_RESET_OCCURRED"),
        on_disk(Change::PowerOnReset),
        None,
    );
    for other in [
        "INQUIRY_DATA_HAS_CHANGED",
        "CAPACITY_DATA_HAS_CHANGED",
        "MODE_PARAMETERS_CHANGED",
        "REPORTED_LUNS_DATA_HAS_CHANGED",
        "ASYMMETRIC_ACCESS_STATE_CHANGED",
        "THIN_PROVISIONING_SOFT_THRESHOLD_REACHED",
    ] {
        check(&scsi("change", &format!("SDEV_UA={other}")), None, None);
    }
    for action in ["add", "bind", "remove"] {
        check(&scsi(action, ""), None, None);
    }
}

#[test]
fn what_comes_along_with_a_disk_is_passed_over() {
    for message in [
        "ACTION=add SUBSYSTEM=block DEVTYPE=partition DEVPATH=DISK/block/sda/sda1 MAJOR=8 MINOR=1",
        "ACTION=add SUBSYSTEM=scsi DEVTYPE=scsi_target DEVPATH=/devices/host2/target2:0:1",
        "ACTION=add SUBSYSTEM=scsi_disk DEVPATH=DISK/scsi_disk/2:0:1:0",
        "ACTION=add SUBSYSTEM=scsi_device DEVPATH=DISK/scsi_device/2:0:1:0",
        "ACTION=add SUBSYSTEM=scsi_generic DEVPATH=DISK/scsi_generic/sg0 MAJOR=21 MINOR=0",
        "ACTION=add SUBSYSTEM=bsg DEVPATH=DISK/bsg/2:0:1:0 MAJOR=247 MINOR=0",
        "ACTION=add SUBSYSTEM=bdi DEVPATH=/devices/virtual/bdi/8:0",
        "ACTION=add SUBSYSTEM=block DEVTYPE=disk DEVPATH=/devices/pci0/virtio1/block/vda \
         MAJOR=254 MINOR=0",
        "ACTION=add SUBSYSTEM=block DEVTYPE=disk DEVPATH=DISK/block/sr0 MAJOR=11 MINOR=0",
        "ACTION=remove SUBSYSTEM=block DEVTYPE=disk DEVPATH=/devices/virtual/block/loop0 \
         MAJOR=7 MINOR=0",
        "ACTION=add SUBSYSTEM=block DEVTYPE=disk DEVPATH=/devices/virtual/nvme/nvme0n1 MAJOR=259 \
         MINOR=0",
        "ACTION=add SUBSYSTEM=block DEVTYPE=disk DEVPATH=/block/dm-x MAJOR=253 MINOR=0",
        "ACTION=add SUBSYSTEM=block DEVTYPE=disk DEVPATH=sda MAJOR=8 MINOR=0",
        "",
    ] {
        let event = event(&message.replace("DISK", DISK));
        for group in [Group::Kernel, Group::Udev] {
            assert_eq!(hint(group, &event), None, "{message}");
        }
    }
}

/// Names and values that lead deep into the code, in any combination, cut short
/// at times.
fn properties() -> impl Strategy<Value = Properties> {
    let names = "ACTION SUBSYSTEM DEVTYPE DEVPATH DM_UUID DM_ACTION DM_PATH MAJOR MINOR SDEV_UA \
                 DM_MULTIPATH_DEVICE_PATH";
    let values = "add change remove block scsi disk scsi_device mpath-x PATH_FAILED 8:16 : 8 \
                  4294967296 POWER_ON_RESET_OCCURRED 1 / /dm-0 /dm-4294967296 /2:0:1:0 \
                  /2:0:1:0/block/sda //sda 2:0:1:0:0 +2:0:1:0";
    let words = |text: &'static str| {
        prop::sample::select(text.split_whitespace().collect::<Vec<_>>()).prop_map(str::to_owned)
    };
    let value = prop_oneof![
        words(values),
        ".*",
        words(values).prop_map(|word| { word.chars().skip(1).collect() })
    ];
    prop::collection::hash_map(words(names), value, 0..12)
}

proptest! {
    #[test]
    fn any_message_is_a_hint_or_none(event in properties()) {
        for group in [Group::Kernel, Group::Udev] {
            let Some(hint) = hint(group, &event) else { continue };
            // A path is named only where the message names one.
            let named = event.contains_key("DM_PATH") || matches!(hint.unit, UnitName::Scsi(_));
            prop_assert!(hint.path.is_none() || named);
            prop_assert!(["add", "change", "remove"].contains(&event["ACTION"].as_str()));
        }
    }

    #[test]
    fn addresses_are_read_as_they_are_written(host: u32, channel: u32, target: u32, lun: u64) {
        let hctl = Hctl { host, channel, target, lun };
        prop_assert_eq!(Hctl::parse(&hctl.to_string()), Some(hctl));
    }
}
