//! What a descriptor that a client sent is, by fstat(2) and sysfs.
//!
//! Only whole SCSI disks, their sg nodes and dm-multipath maps are served. A
//! partition, a logical volume or any other mapping reaches only a part of a
//! logical unit, while a persistent reservation is about all of it.

use crate::scsi::SenseCode;
use nix::sys::stat::{SFlag, fstat, major, minor};
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// A device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl DeviceNumber {
    /// The number of an open block device; `None` for anything else.
    pub fn of_block(file: BorrowedFd<'_>) -> Option<Self> {
        let stat = fstat(file).ok()?;
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        (kind == SFlag::S_IFBLK).then(|| DeviceNumber::from_raw(stat.st_rdev))
    }

    /// Parses `8:16`.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once(':')?;
        Some(DeviceNumber {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    }

    fn from_raw(number: u64) -> Self {
        // Linux device numbers have 12 and 20 bits.
        DeviceNumber {
            major: major(number) as u32,
            minor: minor(number) as u32,
        }
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// What a unit says it is (INQUIRY, SPC-4 6.6.2), without the padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// T10 VENDOR IDENTIFICATION.
    pub vendor: String,
    /// PRODUCT IDENTIFICATION.
    pub model: String,
}

/// The world-wide identity of a logical unit, as udev and multipath write it:
/// `3` and the digits of an NAA name, `2` and those of an EUI-64, `1` and a T10
/// vendor name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wwid(String);

impl Wwid {
    /// From the spelling udev and multipath use.
    pub fn new(text: impl Into<String>) -> Self {
        Wwid(text.into())
    }

    /// In that spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// From the `wwid` attribute of a SCSI device in sysfs.
    pub fn from_sysfs(text: &str) -> Self {
        let text = text.trim();
        let prefixed = [("naa.", '3'), ("eui.", '2'), ("t10.", '1')]
            .into_iter()
            .find_map(|(prefix, digit)| Some((digit, text.strip_prefix(prefix)?)));
        match prefixed {
            Some((digit, name)) => {
                let words: Vec<&str> = name.split_whitespace().collect();
                Wwid(format!("{digit}{}", words.join("_")))
            }
            None => Wwid(text.split_whitespace().collect::<Vec<_>>().join("_")),
        }
    }
}

impl fmt::Display for Wwid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One path of a map: a SCSI disk of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathDevice {
    /// Host, channel, target and LUN, `2:0:1:0`.
    pub hctl: String,
    /// Kernel name, `sdb`.
    pub name: String,
    /// Device number.
    pub number: DeviceNumber,
    /// Ready by its sysfs state and, lower first, by its ALUA access state.
    pub preference: Preference,
}

/// How promising a path looks before it was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Preference {
    /// Running; active/optimized or not asymmetric at all.
    Optimized,
    /// Running, active/non-optimized.
    NonOptimized,
    /// Running, but in standby, transition or the like.
    Standby,
    /// Not in the state `running`: commands fail at once.
    Offline,
}

impl Preference {
    /// False where commands fail at once.
    pub fn is_ready(self) -> bool {
        self != Preference::Offline
    }
}

/// A device that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Which logical unit.
    pub wwid: Wwid,
    /// Kernel or map name, for people.
    pub name: String,
    /// What kind of device, and so which engine.
    pub kind: Kind,
}

/// Kinds of devices served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A SCSI disk or its sg node: one nexus, the descriptor itself, known by
    /// its host, channel, target and LUN.
    Scsi(String),
    /// A dm-multipath map with this device number.
    Multipath(DeviceNumber),
}

/// Why a descriptor is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A regular file, a socket, a character device that is no sg node.
    #[error("not a SCSI device")]
    NotADevice,
    /// A block device without SCSI persistent reservations.
    #[error("block device {0} is not a SCSI disk")]
    NotScsi(DeviceNumber),
    /// A partition.
    #[error("block device {0} is a partition; persistent reservations are for whole disks")]
    Partition(DeviceNumber),
    /// A device-mapper device that is not multipath.
    #[error("device-mapper device {0} is not a multipath map")]
    Mapped(DeviceNumber),
}

impl Refusal {
    /// The sense for the client: a device that never will do says "no such
    /// command"; something that is no device at all gets what the ioctl of the
    /// old helper led to.
    pub fn sense(&self) -> SenseCode {
        match self {
            Refusal::NotADevice => SenseCode::IO_PROCESS_TERMINATED,
            _ => SenseCode::INVALID_OPCODE,
        }
    }
}

/// The kernel's view of devices.
#[derive(Debug, Clone)]
pub struct SysFs {
    root: PathBuf,
}

impl Default for SysFs {
    fn default() -> Self {
        SysFs::new("/sys")
    }
}

/// Major number of the sg nodes (Linux `admin-guide/devices.txt`).
const SG_MAJOR: u32 = 21;
/// Peripheral device types with the block commands: disk, simplified disk, zoned.
const DISK_TYPES: [&str; 3] = ["0", "14", "20"];

impl SysFs {
    /// sysfs mounted elsewhere.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        SysFs { root: root.into() }
    }

    /// What this descriptor is.
    ///
    /// # Errors
    /// [`Refusal`] for everything that is not served.
    pub fn identify(&self, file: BorrowedFd<'_>) -> Result<Identity, Refusal> {
        let stat = fstat(file).map_err(|_| Refusal::NotADevice)?;
        let number = DeviceNumber::from_raw(stat.st_rdev);
        match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFBLK => self.identify_block(number),
            SFlag::S_IFCHR if number.major == SG_MAJOR => {
                let folder = self.root.join(format!("dev/char/{number}"));
                self.identify_scsi(&folder).ok_or(Refusal::NotADevice)
            }
            _ => Err(Refusal::NotADevice),
        }
    }

    fn identify_block(&self, number: DeviceNumber) -> Result<Identity, Refusal> {
        let folder = self.block_folder(number);
        if folder.join("partition").exists() {
            return Err(Refusal::Partition(number));
        }
        match read(&folder.join("dm/uuid")) {
            Some(uuid) => {
                let wwid = uuid.strip_prefix("mpath-").ok_or(Refusal::Mapped(number))?;
                Ok(Identity {
                    wwid: Wwid::new(wwid),
                    name: read(&folder.join("dm/name")).unwrap_or_else(|| number.to_string()),
                    kind: Kind::Multipath(number),
                })
            }
            None => self.identify_scsi(&folder).ok_or(Refusal::NotScsi(number)),
        }
    }

    /// A block or sg device folder whose `device` is a SCSI disk.
    pub(super) fn identify_scsi(&self, folder: &Path) -> Option<Identity> {
        let device = folder.join("device");
        let kind = read(&device.join("type"))?;
        if !DISK_TYPES.contains(&kind.as_str()) {
            return None;
        }
        let hctl = link_name(&device)?;
        let wwid = match read(&device.join("wwid")) {
            Some(text) if !text.is_empty() => Wwid::from_sysfs(&text),
            // Without a name of its own the unit is only known by its address.
            _ => Wwid::new(format!("hctl:{hctl}")),
        };
        Some(Identity {
            wwid,
            name: link_name(folder)?,
            kind: Kind::Scsi(hctl),
        })
    }

    /// The name of this map, as long as it is one of this unit.
    pub fn alias(&self, map: DeviceNumber, wwid: &Wwid) -> Option<String> {
        let identity = self.identify_block(map).ok()?;
        let is_it = identity.wwid == *wwid && identity.kind == Kind::Multipath(map);
        is_it.then_some(identity.name)
    }

    /// What the SCSI device at this address says it is.
    pub fn product(&self, hctl: &str) -> Option<Product> {
        let device = self.root.join("bus/scsi/devices").join(hctl);
        Some(Product {
            vendor: read(&device.join("vendor"))?,
            model: read(&device.join("model"))?,
        })
    }

    /// What device-mapper and multipathd call this map.
    pub fn map_name(&self, map: DeviceNumber) -> Option<String> {
        read(&self.block_folder(map).join("dm/name"))
    }

    /// The SCSI disks below a multipath map, the most promising first.
    ///
    /// # Errors
    /// Where the map is gone.
    pub fn paths_of(&self, map: DeviceNumber) -> io::Result<Vec<PathDevice>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(self.block_folder(map).join("slaves"))? {
            let folder = entry?.path();
            paths.extend(self.path_device(&folder));
        }
        paths.sort_by(|a, b| (a.preference, &a.hctl).cmp(&(b.preference, &b.hctl)));
        Ok(paths)
    }

    /// `None` for a path that vanishes while it is looked at.
    pub(super) fn path_device(&self, folder: &Path) -> Option<PathDevice> {
        let device = folder.join("device");
        let running = read(&device.join("state"))? == "running";
        let preference = match read(&device.join("access_state")).as_deref() {
            _ if !running => Preference::Offline,
            None | Some("" | "active/optimized") => Preference::Optimized,
            Some("active/non-optimized") => Preference::NonOptimized,
            Some(_) => Preference::Standby,
        };
        Some(PathDevice {
            hctl: link_name(&device)?,
            name: link_name(folder)?,
            number: DeviceNumber::parse(&read(&folder.join("dev"))?)?,
            preference,
        })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn block_folder(&self, number: DeviceNumber) -> PathBuf {
        self.root.join(format!("dev/block/{number}"))
    }
}

/// An attribute, without the line feed.
pub(super) fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

/// The last component of what a link leads to.
fn link_name(path: &Path) -> Option<String> {
    let target = fs::canonicalize(path).ok()?;
    Some(target.file_name()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const MAP: DeviceNumber = DeviceNumber {
        major: 253,
        minor: 0,
    };

    /// A sysfs with the files listed, and links `dev/block/M:m` to folders.
    fn sysfs(files: &[(&str, &str)], links: &[(&str, &str)]) -> (tempfile::TempDir, SysFs) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }
        for (link, target) in links {
            let link = folder.path().join(link);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(folder.path().join(target), link).unwrap();
        }
        let sysfs = SysFs::new(folder.path());
        (folder, sysfs)
    }

    fn disk(at: &str, hctl: &str, state: &str) -> Vec<(String, String)> {
        [
            (format!("scsi/{hctl}/type"), "0"),
            (format!("scsi/{hctl}/wwid"), "naa.6001405aaaa"),
            (format!("scsi/{hctl}/state"), state),
            (format!("block/{at}/size"), "8"),
        ]
        .map(|(path, text)| (path, text.to_owned()))
        .to_vec()
    }

    #[test]
    fn a_map_lists_its_paths_running_ones_first() {
        let mut files = disk("sda", "2:0:1:0", "offline");
        files.extend(disk("sdb", "3:0:1:0", "running"));
        files.push(("block/sda/dev".into(), "8:0".into()));
        files.push(("block/sdb/dev".into(), "8:16".into()));
        files.push(("block/dm-0/dm/uuid".into(), "mpath-36001405aaaa".into()));
        files.push(("block/dm-0/dm/name".into(), "mpatha".into()));
        let files: Vec<_> = files
            .iter()
            .map(|(p, t)| (p.as_str(), t.as_str()))
            .collect();
        let (_folder, sysfs) = sysfs(
            &files,
            &[
                ("block/sda/device", "scsi/2:0:1:0"),
                ("block/sdb/device", "scsi/3:0:1:0"),
                ("block/dm-0/slaves/sda", "block/sda"),
                ("block/dm-0/slaves/sdb", "block/sdb"),
                ("dev/block/253:0", "block/dm-0"),
                ("dev/block/8:0", "block/sda"),
            ],
        );
        let identity = sysfs.identify_block(MAP).unwrap();
        assert_eq!(identity.name, "mpatha");
        assert_eq!(identity.kind, Kind::Multipath(MAP));
        let paths = sysfs.paths_of(MAP).unwrap();
        let names: Vec<_> = paths.iter().map(|path| path.name.as_str()).collect();
        assert_eq!(names, ["sdb", "sda"]);
        assert_eq!(paths[0].hctl, "3:0:1:0");
        assert_eq!(paths[0].number.to_string(), "8:16");

        let plain = sysfs
            .identify_block(DeviceNumber { major: 8, minor: 0 })
            .unwrap();
        assert_eq!(plain.wwid, identity.wwid, "one LUN, one owner");
        assert_eq!(plain.kind, Kind::Scsi("2:0:1:0".into()));
        assert_eq!(sysfs.alias(MAP, &plain.wwid).as_deref(), Some("mpatha"));
        assert_eq!(sysfs.alias(MAP, &Wwid::new("36001405bbbb")), None);
        assert_eq!(
            sysfs.alias(DeviceNumber { major: 8, minor: 0 }, &plain.wwid),
            None
        );
    }

    #[test]
    fn parts_of_a_logical_unit_are_refused() {
        let (_folder, sysfs) = sysfs(
            &[
                ("block/sda/sda1/partition", "1"),
                ("block/dm-1/dm/uuid", "LVM-abc"),
                ("block/dm-2/dm/uuid", "part1-mpath-36001405aaaa"),
                ("block/loop0/size", "8"),
            ],
            &[
                ("dev/block/8:1", "block/sda/sda1"),
                ("dev/block/253:1", "block/dm-1"),
                ("dev/block/253:2", "block/dm-2"),
                ("dev/block/7:0", "block/loop0"),
            ],
        );
        for (major, minor) in [(8, 1), (253, 1), (253, 2), (7, 0), (9, 9)] {
            let refusal = sysfs
                .identify_block(DeviceNumber { major, minor })
                .unwrap_err();
            assert_eq!(refusal.sense(), SenseCode::INVALID_OPCODE, "{refusal}");
        }
    }

    #[test]
    fn wwids_are_spelt_as_udev_spells_them() {
        assert_eq!(
            Wwid::from_sysfs("naa.60014051111\n").to_string(),
            "360014051111"
        );
        assert_eq!(
            Wwid::from_sysfs("t10.ATA     QEMU HARDDISK   QM00001").to_string(),
            "1ATA_QEMU_HARDDISK_QM00001"
        );
    }
}
