//! What units are called: object paths, and the words people use.

use super::ROOT;
use crate::device::maps::Hctl;
use crate::lun::registry::LunKey;
use crate::lun::snapshot::Snapshot;
use crate::lun::state::PathId;
use zbus::OwnedObjectPath;

/// The object of a unit: `w` and its WWID, with what a path may not have as `_`
/// and two hexadecimal digits. Units of a simulated host have `@` and its name
/// behind that.
pub fn object(key: &LunKey) -> OwnedObjectPath {
    let path = format!("{ROOT}/device/w{}", escaped(&spelt(key)));
    // Nothing else is in it.
    OwnedObjectPath::try_from(path).unwrap_or_default()
}

/// The object of a path: `p` and its address; that of a simulated one, which
/// is its own only within the unit, has the unit's WWID in front.
pub fn path(unit: &LunKey, id: &PathId) -> OwnedObjectPath {
    let name = match Hctl::parse(&id.0) {
        Some(hctl) => hctl.to_string().replace(':', "_"),
        None => escaped(&format!("{}@{id}", unit.0)),
    };
    OwnedObjectPath::try_from(format!("{ROOT}/path/p{name}")).unwrap_or_default()
}

/// The object of the client with this number.
pub fn client(number: u64) -> OwnedObjectPath {
    OwnedObjectPath::try_from(format!("{ROOT}/client/{number}")).unwrap_or_default()
}

/// With what a path may not have as `_` and two hexadecimal digits.
fn escaped(text: &str) -> String {
    let mut path = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() {
            true => path.push(char::from(byte)),
            false => path += &format!("_{byte:02x}"),
        }
    }
    path
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
    use crate::lun::snapshot::PathView;

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
    fn paths_are_objects_of_their_own() {
        let path = |id: &str| path(&key("3600", "host-a"), &PathId(id.into())).to_string();
        assert_eq!(path("2:0:1:5"), "/org/reservd1/path/p2_0_1_5");
        assert_eq!(path("host-a.0"), "/org/reservd1/path/p3600_40host_2da_2e0");
        assert_eq!(client(7).as_str(), "/org/reservd1/client/7");
    }

    #[test]
    fn a_unit_has_many_names() {
        let key = key("36001405aaaa", "");
        let mut unit = Snapshot::new(key.0.clone());
        unit.name = Some("mpatha".into());
        let (major, minor) = (253, 0);
        unit.number = Some(DeviceNumber { major, minor });
        unit.paths.push(PathView {
            name: Some("sdb".into()),
            ..PathView::new(PathId("2:0:1:0".into()))
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
