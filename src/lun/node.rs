//! From the names people use to the file of a device.

use super::registry::{LunKey, Registry, Simulated};
use crate::device::identity::{DeviceNumber, Wwid};
use crate::device::maps::{Disk, Hctl};
use std::path::{Path, PathBuf};

impl Registry {
    /// The node of the device with this name: a file; a map by name, number or
    /// WWID; a disk by kernel name, number, address or, where no map has it, by
    /// WWID; a simulated unit by WWID and host, `WWID@HOST`. Reads sysfs, and asks
    /// no device. A file need not be there.
    pub fn node(&self, text: &str) -> PathBuf {
        if let Some(map) = self.map_named(text) {
            return Path::new("/dev/mapper").join(map.name);
        }
        if let Some(number) = DeviceNumber::parse(text) {
            return PathBuf::from(format!("/dev/block/{number}"));
        }
        if let Some(disk) = Hctl::parse(text).and_then(|hctl| self.sysfs.disk(hctl)) {
            return node_of_disk(&disk);
        }
        let file = Path::new("/dev").join(text);
        let unit = || {
            let (wwid, host) = text.split_once('@').unwrap_or((text, ""));
            self.node_of(&(Wwid::new(wwid), host.to_owned()))
        };
        match file.exists() {
            true => file,
            false => unit().unwrap_or(file),
        }
    }

    /// The node of a unit: its map, or else its first disk that commands get
    /// through to.
    pub fn node_of(&self, (wwid, host): &LunKey) -> Option<PathBuf> {
        if !host.is_empty() {
            let is_it = |it: &&Simulated| it.wwid == *wwid && it.host == *host;
            let files = self.simulated.values().filter(is_it);
            let all = files.max_by_key(|it| it.paths.len());
            return all.map(|it| it.file.clone());
        }
        if let Some(map) = self.map_of(wwid) {
            return Some(Path::new("/dev/mapper").join(map.name));
        }
        let disks = self.sysfs.disks().ok()?.into_iter();
        let disks = disks.filter(|disk| disk.wwid == *wwid);
        let best = disks.min_by_key(|disk| disk.path.preference);
        best.map(|disk| node_of_disk(&disk))
    }
}

fn node_of_disk(disk: &Disk) -> PathBuf {
    Path::new("/dev").join(&disk.path.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::identity::SysFs;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_device_is_found_by_all_its_names() {
        let sysfs = tempfile::tempdir().unwrap();
        let at = |name: &str| sysfs.path().join(name);
        for (file, text) in [
            ("block/dm-0/dev", "253:0"),
            ("block/dm-0/dm/uuid", "mpath-36001405aaaa"),
            ("block/dm-0/dm/name", "mpatha"),
            ("scsi/2:0:1:0/block/sda/dev", "8:0"),
            ("scsi/2:0:1:0/type", "0"),
            ("scsi/2:0:1:0/state", "running"),
            ("scsi/2:0:1:0/wwid", "naa.6001405bbbb"),
        ] {
            fs::create_dir_all(at(file).parent().unwrap()).unwrap();
            fs::write(at(file), text).unwrap();
        }
        fs::create_dir_all(at("bus/scsi/devices")).unwrap();
        let disk = at("scsi/2:0:1:0");
        symlink(&disk, at("bus/scsi/devices/2:0:1:0")).unwrap();
        symlink(&disk, at("scsi/2:0:1:0/block/sda/device")).unwrap();
        let registry = Registry::new(SysFs::new(sysfs.path()));
        for (name, node) in [
            ("mpatha", "/dev/mapper/mpatha"),
            ("36001405aaaa", "/dev/mapper/mpatha"),
            ("253:0", "/dev/mapper/mpatha"),
            ("8:0", "/dev/block/8:0"),
            ("2:0:1:0", "/dev/sda"),
            ("36001405bbbb", "/dev/sda"),
            ("/dev/null", "/dev/null"),
            ("no-such-device", "/dev/no-such-device"),
            ("9:9:9:9", "/dev/9:9:9:9"),
        ] {
            assert_eq!(registry.node(name), Path::new(node), "{name}");
        }
    }
}
