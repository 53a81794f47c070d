//! How values are shown on the bus. What is not there is an empty string, or 0.

use super::name;
use crate::lun::registry::LunKey;
use crate::lun::snapshot::{Registrant, Snapshot};
use crate::owner::Hosts;
use crate::scsi::ReservationKey;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};
use zbus::{OwnedObjectPath, Variant};

/// A dictionary of named values.
pub type Dictionary = BTreeMap<&'static str, Variant<'static>>;

/// Nothing is an empty string.
pub fn text(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// Microseconds since 1970; never is 0.
pub fn microseconds(time: Option<SystemTime>) -> u64 {
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

/// As much of a number as fits.
pub fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The keys, sorted.
pub fn keys(unit: &Snapshot) -> Vec<String> {
    let all = unit.registrations.as_ref().map(|all| &all.keys);
    let mut keys: Vec<_> = all.into_iter().flatten().collect();
    keys.sort_unstable();
    keys.iter().map(ToString::to_string).collect()
}

/// One entry of `Registrants`.
pub fn registrant(row: &Registrant, unit: &LunKey, hosts: &Hosts) -> Dictionary {
    let path = row.path.as_ref().map(|path| name::path(unit, path));
    let port = u32::from(row.nexus.relative_target_port);
    BTreeMap::from([
        ("key", Variant::from(row.key.to_string())),
        ("owner", Variant::from(owner(row.key, row.local, hosts))),
        (
            "initiator",
            Variant::from(row.nexus.transport_id.to_string()),
        ),
        ("target-port", Variant::from(port)),
        ("holder", Variant::from(row.holder)),
        ("local", Variant::from(row.local)),
        ("all-target-ports", Variant::from(row.all_tg_pt)),
        ("path", Variant::from(path.unwrap_or_else(nowhere))),
    ])
}

/// The path that stands for none.
pub fn nowhere() -> OwnedObjectPath {
    OwnedObjectPath::default()
}

/// Whose a key is.
pub fn owner(key: ReservationKey, local: bool, hosts: &Hosts) -> String {
    text(hosts.owner(key, local))
}

/// Whose the reservation is.
pub fn reservation_owner(unit: &Snapshot, hosts: &Hosts) -> String {
    match unit.reservation {
        None => String::new(),
        Some(held) if held.key.is_zero() => "all registrants".to_owned(),
        Some(held) => owner(held.key, unit.is_held_here(), hosts),
    }
}
