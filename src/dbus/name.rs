//! What units are called: object paths, and the words people use.

use super::ROOT;
use crate::lun::registry::LunKey;
use crate::lun::snapshot::Snapshot;
use zbus::OwnedObjectPath;

/// The object of a unit: `w` and its WWID, with what a path may not have as `_`
/// and two hexadecimal digits. Units of a simulated host have `@` and its name
/// behind that.
pub fn object(key: &LunKey) -> OwnedObjectPath {
    let mut path = format!("{ROOT}/device/w");
    for byte in spelt(key).bytes() {
        match byte.is_ascii_alphanumeric() {
            true => path.push(char::from(byte)),
            false => path += &format!("_{byte:02x}"),
        }
    }
    // Nothing else is in it.
    OwnedObjectPath::try_from(path).unwrap_or_default()
}

fn spelt((wwid, host): &LunKey) -> String {
    match host.is_empty() {
        true => wwid.to_string(),
        false => format!("{wwid}@{host}"),
    }
}

/// True where `text` is one of the unit's names: its WWID, its map by name, node
/// or number, or one of its paths by address, kernel name or node.
pub fn is_name_of(text: &str, key: &LunKey, unit: &Snapshot) -> bool {
    let by_map = || {
        let name = unit.name.as_deref();
        let node = text.strip_prefix("/dev/mapper/").unwrap_or(text);
        let number = unit.number.filter(|number| {
            let kernel = format!("dm-{}", number.minor);
            text.strip_prefix("/dev/").unwrap_or(text) == kernel || text == number.to_string()
        });
        name == Some(node) || number.is_some()
    };
    let by_path = || {
        unit.paths.iter().any(|path| {
            let kernel = text.strip_prefix("/dev/").unwrap_or(text);
            path.id.0 == text || path.name.as_deref() == Some(kernel)
        })
    };
    text == key.0.as_str() || text == spelt(key) || by_map() || by_path()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::identity::{DeviceNumber, Wwid};
    use crate::lun::snapshot::{PathView, Registered};
    use crate::lun::state::PathId;

    fn key(wwid: &str, host: &str) -> LunKey {
        (Wwid::new(wwid), host.to_owned())
    }

    #[test]
    fn objects_have_paths_the_bus_takes() {
        let path = |wwid, host| object(&key(wwid, host)).to_string();
        assert_eq!(
            path("36001405aaaa", ""),
            "/org/reservd1/device/w36001405aaaa"
        );
        assert_eq!(
            path("1ATA_é", "host-a"),
            "/org/reservd1/device/w1ATA_5f_c3_a9_40host_2da"
        );
    }

    #[test]
    fn a_unit_has_many_names() {
        let key = key("36001405aaaa", "");
        let mut unit = Snapshot::new(key.0.clone());
        unit.name = Some("mpatha".into());
        let (major, minor) = (253, 0);
        unit.number = Some(DeviceNumber { major, minor });
        unit.paths.push(PathView {
            id: PathId("2:0:1:0".into()),
            name: Some("sdb".into()),
            registered: Registered::Unknown,
            key: None,
            usable: true,
        });
        for name in [
            "36001405aaaa",
            "mpatha",
            "/dev/mapper/mpatha",
            "253:0",
            "dm-0",
            "/dev/dm-0",
            "2:0:1:0",
            "sdb",
            "/dev/sdb",
        ] {
            assert!(is_name_of(name, &key, &unit), "{name}");
        }
        for name in ["", "mpathb", "/dev/mapper/sdb", "0", "/dev/", "36001405"] {
            assert!(!is_name_of(name, &key, &unit), "{name}");
        }
    }
}
