//! From a hint to the unit and the path it is about, as sysfs has them now.

use super::event::{Hint, PathName, UnitName};
use crate::device::identity::{PathDevice, SysFs, Wwid};
use crate::device::maps::{Disk, Map};

/// A unit to look at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Which.
    pub wwid: Wwid,
    /// The map that leads to it; `None` where the map is gone, the disk is in no
    /// map, or not yet.
    pub map: Option<Map>,
}

impl From<Map> for Unit {
    fn from(map: Map) -> Self {
        Unit {
            wwid: map.wwid.clone(),
            map: Some(map),
        }
    }
}

impl From<Disk> for Unit {
    fn from(disk: Disk) -> Self {
        let Disk { wwid, map, .. } = disk;
        map.map_or(Unit { wwid, map: None }, Unit::from)
    }
}

/// The unit that a hint is about. `None` where that cannot be known any more: a
/// device that is gone is known only to those who knew it by its number or
/// address. `None` as well for what is no multipath map and no SCSI disk.
pub fn unit_of(sysfs: &SysFs, hint: &Hint) -> Option<Unit> {
    match &hint.unit {
        UnitName::Scsi(hctl) => sysfs.disk(*hctl).map(Unit::from),
        UnitName::Map { number, wwid } => {
            let map = sysfs.map(*number);
            match wwid {
                None => map.map(Unit::from),
                // The number may be another map's by now.
                Some(wwid) => Some(Unit {
                    wwid: wwid.clone(),
                    map: map.filter(|map| map.wwid == *wwid),
                }),
            }
        }
    }
}

/// The path that a hint is about, if it is there.
pub fn path_of(sysfs: &SysFs, hint: &Hint) -> Option<PathDevice> {
    let disk = match hint.path.as_ref()? {
        PathName::Number(number) => sysfs.disk_numbered(*number),
        PathName::Scsi(hctl) => sysfs.disk(*hctl),
    };
    disk.map(|disk| disk.path)
}

#[cfg(test)]
mod tests;
