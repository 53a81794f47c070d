//! One uevent's properties to what it hints at.
//!
//! Sources: the kernel's `drivers/md/dm-uevent.c` and `drivers/scsi/scsi_lib.c`
//! for the names, and the machine of `tests/vm` for what arrives when.

use crate::device::identity::{DeviceNumber, Wwid};
use crate::device::maps::{Hctl, wwid_of_uuid};
use std::collections::HashMap;

/// The properties of one uevent: `ACTION`, `SUBSYSTEM` and so on.
pub type Properties = HashMap<String, String>;

/// Who sent a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The kernel, as it happens.
    Kernel,
    /// udevd, when its rules for the kernel's message are done: later by up to
    /// seconds, with what the rules found out.
    Udev,
}

/// Something may have changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hint {
    /// For which unit.
    pub unit: UnitName,
    /// On which path, where it is about one.
    pub path: Option<PathName>,
    /// What.
    pub change: Change,
}

/// A unit as an event names it; [`walk::unit_of`](super::walk::unit_of) tells
/// which that is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UnitName {
    /// What a dm device stands for. Whether it is a multipath map at all is
    /// known only with the WWID.
    Map {
        /// Number of the dm device.
        number: DeviceNumber,
        /// The map's WWID, where the message has it.
        wwid: Option<Wwid>,
    },
    /// The unit of a SCSI device.
    Scsi(Hctl),
}

/// A path as an event names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathName {
    /// The block device, as device-mapper knows it.
    Number(DeviceNumber),
    /// The SCSI device.
    Scsi(Hctl),
}

/// What may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// device-mapper no longer uses a path.
    PathFailed,
    /// device-mapper uses a path again.
    PathReinstated,
    /// A map came, went, or has another table.
    MapChanged,
    /// A disk came. From the kernel: it is there. From udev: its node and
    /// links are as well.
    PathAdded,
    /// udev looked again at a disk that it takes for a path of a map.
    PathChanged,
    /// A disk went.
    PathRemoved,
    /// The device reported a reset (29h): the target may have lost registrations
    /// made without APTPL. Also how a path announces that it is back.
    PowerOnReset,
}

/// What a message hints at; `None` for all that is not about multipath maps or
/// SCSI disks, and for what udev only repeats.
pub fn hint(group: Group, event: &Properties) -> Option<Hint> {
    let get = |name: &str| event.get(name).map(String::as_str);
    let action = get("ACTION")?;
    let mut folders = get("DEVPATH")?.rsplit('/');
    let name = folders.next()?;
    match (get("SUBSYSTEM")?, get("DEVTYPE")?) {
        ("block", "disk") if is_numbered(name, "dm-") => {
            let number = DeviceNumber {
                major: get("MAJOR")?.parse().ok()?,
                minor: get("MINOR")?.parse().ok()?,
            };
            let wwid = match get("DM_UUID") {
                Some(uuid) => Some(wwid_of_uuid(uuid)?),
                None => None,
            };
            let change = of_map(group, action, get("DM_ACTION"), wwid.is_some())?;
            let path = get("DM_PATH").and_then(DeviceNumber::parse);
            let path = path.filter(|_| change != Change::MapChanged);
            Some(Hint {
                unit: UnitName::Map { number, wwid },
                path: path.map(PathName::Number),
                change,
            })
        }
        ("block", "disk") if name.starts_with("sd") => {
            let is_path = get("DM_MULTIPATH_DEVICE_PATH") == Some("1");
            let change = match (group, action) {
                (_, "add") => Change::PathAdded,
                (Group::Udev, "change") if is_path => Change::PathChanged,
                (Group::Kernel, "remove") => Change::PathRemoved,
                _ => return None,
            };
            let device = folders.nth(1)?;
            Some(of_disk(Hctl::parse(device)?, change))
        }
        ("scsi", "scsi_device") => {
            let reset = get("SDEV_UA") == Some("POWER_ON_RESET_OCCURRED");
            let change = (group, action, reset) == (Group::Kernel, "change", true);
            change.then(|| Hctl::parse(name).map(|hctl| of_disk(hctl, Change::PowerOnReset)))?
        }
        _ => None,
    }
}

/// `has_wwid`: the message says that this is a multipath map.
fn of_map(group: Group, action: &str, dm_action: Option<&str>, has_wwid: bool) -> Option<Change> {
    match (group, action, dm_action) {
        (Group::Kernel, "change", Some("PATH_FAILED")) => has_wwid.then_some(Change::PathFailed),
        (Group::Kernel, "change", Some("PATH_REINSTATED")) => {
            has_wwid.then_some(Change::PathReinstated)
        }
        (Group::Kernel, "add" | "change" | "remove", None) => Some(Change::MapChanged),
        (Group::Udev, "add" | "change" | "remove", None) => has_wwid.then_some(Change::MapChanged),
        _ => None,
    }
}

fn of_disk(hctl: Hctl, change: Change) -> Hint {
    Hint {
        unit: UnitName::Scsi(hctl),
        path: Some(PathName::Scsi(hctl)),
        change,
    }
}

fn is_numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|number| number.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests;
