//! What happened to a unit, as signals of its object.

use super::device::Device;
use super::{name, shown};
use crate::lun::history::Event;
use crate::lun::registry::LunKey;
use crate::owner::Hosts;
use crate::scsi::ReservationKey;
use crate::scsi::pr::Reservation;
use zbus::object_server::SignalEmitter;

/// Sends the signal for an event, where there is one: what a client did, and the
/// state of the registration, are told otherwise.
///
/// # Errors
/// Those of the connection.
pub async fn send(
    emitter: &SignalEmitter<'_>,
    unit: &LunKey,
    hosts: &Hosts,
    event: &Event,
) -> zbus::Result<()> {
    match event {
        Event::Command { .. } | Event::State { .. } => Ok(()),
        Event::Registrations {
            added,
            removed,
            generation,
        } => {
            let (added, removed) = (texts(added), texts(removed));
            Device::registrations_changed(emitter, added, removed, *generation).await
        }
        Event::Reservation { old, new } => {
            let ((old_kind, old_key), (kind, key)) = (held(old.as_ref()), held(new.as_ref()));
            Device::reservation_changed(emitter, &kind, &key, &old_kind, &old_key).await
        }
        Event::Preempted {
            lost,
            by,
            generation,
        } => {
            let owner = by.map_or_else(String::new, |by| shown::owner(by, false, hosts));
            let (lost, by) = (lost.to_string(), shown::text(*by));
            Device::preempted(emitter, &lost, &by, &owner, *generation).await
        }
        Event::Repaired { path, key } => {
            let path = name::path(unit, path);
            Device::path_repaired(emitter, path.as_ref(), &key.to_string()).await
        }
        Event::Refused { path, reason } => {
            let path = name::path(unit, path);
            Device::repair_refused(emitter, path.as_ref(), reason).await
        }
        Event::Conflict(kind, detail) => {
            Device::conflict_detected(emitter, &kind.to_string(), detail).await
        }
    }
}

fn texts(keys: &[ReservationKey]) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}

/// Type and key.
fn held(reservation: Option<&Reservation>) -> (String, String) {
    let kind = reservation.and_then(|held| held.scope_type.kind());
    (
        shown::text(kind),
        shown::text(reservation.map(|held| held.key)),
    )
}
