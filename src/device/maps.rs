//! Multipath maps and the disks below them, found in sysfs without a descriptor.

use super::identity::{DeviceNumber, PathDevice, SysFs, Wwid, read};
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// What device-mapper's uuid of a multipath map starts with.
const UUID_PREFIX: &str = "mpath-";

/// The WWID in the dm uuid of a multipath map; `None` for any other dm device,
/// also for a partition of a map (`part1-mpath-…`).
pub fn wwid_of_uuid(uuid: &str) -> Option<Wwid> {
    let wwid = uuid.strip_prefix(UUID_PREFIX)?;
    let clean = !wwid.is_empty() && !wwid.contains(char::is_control);
    clean.then(|| Wwid::new(wwid))
}

/// Address of a SCSI device on this host: `2:0:1:0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hctl {
    /// Host adapter.
    pub host: u32,
    /// Channel of the adapter.
    pub channel: u32,
    /// Target on the channel.
    pub target: u32,
    /// Logical unit number as Linux counts.
    pub lun: u64,
}

impl Hctl {
    /// Parses the kernel's spelling, and no other.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let hctl = Hctl {
            host: parts.next()?.parse().ok()?,
            channel: parts.next()?.parse().ok()?,
            target: parts.next()?.parse().ok()?,
            lun: parts.next()?.parse().ok()?,
        };
        // Leading zeros and signs name no device.
        (parts.next().is_none() && hctl.to_string() == text).then_some(hctl)
    }
}

impl fmt::Display for Hctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hctl {
            host,
            channel,
            target,
            lun,
        } = self;
        write!(f, "{host}:{channel}:{target}:{lun}")
    }
}

/// A multipath map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// Device number.
    pub number: DeviceNumber,
    /// What device-mapper and multipathd call it.
    pub name: String,
    /// Which unit it leads to.
    pub wwid: Wwid,
}

/// A SCSI disk, and the map it is a path of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Which unit it leads to by its own account.
    pub wwid: Wwid,
    /// The disk as a path.
    pub path: PathDevice,
    /// The map that holds it.
    pub map: Option<Map>,
}

impl SysFs {
    /// Every multipath map of this host, by number.
    ///
    /// # Errors
    /// Where sysfs cannot be read at all. A map that vanishes meanwhile is left out.
    pub fn maps(&self) -> io::Result<Vec<Map>> {
        let mut maps = maps_in(&self.root().join("block"))?;
        maps.sort_by_key(|map| map.number);
        Ok(maps)
    }

    /// The multipath map with this number, if it is one.
    pub fn map(&self, number: DeviceNumber) -> Option<Map> {
        map_at(&self.block_folder(number))
    }

    /// The SCSI disk at this address; `None` for devices that are no disks, and
    /// before the disk is there.
    pub fn disk(&self, hctl: Hctl) -> Option<Disk> {
        let folder = self.root().join(format!("bus/scsi/devices/{hctl}/block"));
        self.disk_at(&fs::read_dir(folder).ok()?.next()?.ok()?.path())
    }

    /// Every SCSI disk of this host, by address.
    ///
    /// # Errors
    /// Where sysfs cannot be read at all. A disk that vanishes meanwhile is left out.
    pub fn disks(&self) -> io::Result<Vec<Disk>> {
        let mut disks = Vec::new();
        for entry in fs::read_dir(self.root().join("bus/scsi/devices"))? {
            let hctl = entry?.file_name().to_str().and_then(Hctl::parse);
            disks.extend(hctl.and_then(|hctl| self.disk(hctl)));
        }
        disks.sort_by(|a, b| a.path.hctl.cmp(&b.path.hctl));
        Ok(disks)
    }

    /// The SCSI disk with this device number.
    pub fn disk_numbered(&self, number: DeviceNumber) -> Option<Disk> {
        self.disk_at(&self.block_folder(number))
    }

    fn disk_at(&self, folder: &Path) -> Option<Disk> {
        let identity = self.identify_scsi(folder)?;
        Some(Disk {
            wwid: identity.wwid,
            path: self.path_device(folder)?,
            // device-mapper claims a disk for one map alone.
            map: maps_in(&folder.join("holders")).unwrap_or_default().pop(),
        })
    }
}

/// The maps among the devices in a folder.
fn maps_in(folder: &Path) -> io::Result<Vec<Map>> {
    let mut maps = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b"dm-") {
            maps.extend(map_at(&entry.path()));
        }
    }
    Ok(maps)
}

fn map_at(folder: &Path) -> Option<Map> {
    let wwid = wwid_of_uuid(&read(&folder.join("dm/uuid"))?)?;
    Some(Map {
        number: DeviceNumber::parse(&read(&folder.join("dev"))?)?,
        name: read(&folder.join("dm/name"))?,
        wwid,
    })
}
