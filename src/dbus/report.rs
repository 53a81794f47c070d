//! Everything that is shown on the bus, as one JSON text.

use super::desk::Desk;
use super::error::Error;
use super::shown::{self, microseconds};
use crate::lun::registry::LunKey;
use crate::lun::snapshot::Snapshot;
use serde_json::{Value, json};
use std::collections::HashMap;
use zbus::OwnedVariant;

/// What is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scope {
    /// With the last events of each unit.
    history: bool,
}

impl Scope {
    /// From a caller's options.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for one that does not exist, or of another type.
    pub fn parse(options: HashMap<String, OwnedVariant>) -> Result<Self, Error> {
        let mut scope = Scope::default();
        for (name, value) in options {
            match (name.as_str(), bool::try_from(value)) {
                ("history", Ok(value)) => scope.history = value,
                ("history", Err(_)) => {
                    return Err(Error::InvalidArgument("history is a truth value".into()));
                }
                _ => {
                    return Err(Error::InvalidArgument(format!(
                        "there is no option {name:?}"
                    )));
                }
            }
        }
        Ok(scope)
    }
}

/// The report. Names are those of the properties, in snake case; what is not
/// there is null.
pub fn report(desk: &Desk, scope: Scope) -> String {
    let mut units = desk.registry().units();
    units.sort_by(|(a, _), (b, _)| a.cmp(b));
    let devices: Vec<_> = units
        .iter()
        .map(|(key, lun)| {
            let mut device = unit(desk, key, &lun.snapshot().borrow());
            if scope.history {
                device["history"] = history(desk, key);
            }
            device
        })
        .collect();
    let clients: Vec<_> = desk
        .clients()
        .all()
        .iter()
        .map(|client| {
            json!({
                "number": client.number,
                "pid": client.pid,
                "uid": client.uid,
                "unit": client.origin.unit,
                "machine": client.origin.machine,
                "socket": client.socket,
                "connected_usec": microseconds(Some(client.connected)),
                "commands": client.commands(),
                "conflicts": client.conflicts(),
                "last_command": client.last_command(),
                "devices": client.units().iter().map(|(wwid, host)| {
                    json!({ "wwid": wwid.as_str(), "simulated_host": host })
                }).collect::<Vec<_>>(),
            })
        })
        .collect();
    let reloads = desk.reloads.borrow().clone();
    let library = desk.registry().engines().library();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "config_path": desk.config.display().to_string(),
        "config_generation": reloads.generation,
        "last_reload_error": reloads.error,
        "simulated": desk.simulated,
        "library_version": library.map(|version| version.to_string()),
        "multipathd_version": desk.multipathd.as_ref().and_then(|daemon| daemon.version()),
        "devices": devices,
        "clients": clients,
    })
    .to_string()
}

fn unit(desk: &Desk, (wwid, host): &LunKey, now: &Snapshot) -> Value {
    let hosts = desk.registry().hosts();
    let held = now.reservation;
    let registrants: Vec<_> = now
        .registrations
        .iter()
        .flat_map(|all| &all.registrants)
        .map(|row| {
            json!({
                "key": row.key,
                "owner": hosts.owner(row.key, row.local).map(|owner| owner.to_string()),
                "initiator": row.nexus.transport_id.to_string(),
                "target_port": row.nexus.relative_target_port,
                "holder": row.holder,
                "local": row.local,
                "all_target_ports": row.all_tg_pt,
                "path": row.path.as_ref().map(ToString::to_string),
            })
        })
        .collect();
    let paths: Vec<_> = now
        .paths
        .iter()
        .map(|path| {
            json!({
                "hctl": path.id.to_string(),
                "name": path.name,
                "usable": path.usable,
                "offline": path.offline,
                "registered": path.registered.to_string(),
                "key": path.key,
                "initiator": path.nexus.as_ref().map(|nexus| nexus.transport_id.to_string()),
                "last_sense": path.sense.map(|sense| sense.to_string()),
            })
        })
        .collect();
    json!({
        "wwid": wwid.as_str(),
        "simulated_host": host,
        "name": now.name,
        "device_number": now.number.map(|number| number.to_string()),
        "vendor": now.product.as_ref().map(|product| &product.vendor),
        "model": now.product.as_ref().map(|product| &product.model),
        "state": now.state.to_string(),
        "state_reason": now.reason,
        "intent_key": now.key,
        "aptpl": now.aptpl,
        "key_source": now.settings.reservation_key.to_string(),
        "engine": now.settings.engine,
        "generation": now.generation,
        "reservation_type": held.and_then(|held| held.scope_type.kind()).map(|kind| kind.to_string()),
        "reservation_key": held.map(|held| held.key),
        "reservation_owner": shown::reservation_owner(now, &hosts),
        "held_here": now.is_held_here(),
        "guarded_by_multipathd": now.guarded,
        "keys": shown::keys(now),
        "registrants": registrants,
        "paths": paths,
        "clients": desk.clients().of_unit(&(wwid.clone(), host.clone())),
        "last_error": now.failure,
        "last_checked_usec": microseconds(now.checked),
        "last_changed_usec": microseconds(now.changed),
    })
}

fn history(desk: &Desk, key: &LunKey) -> Value {
    let events = desk.history(key).into_iter().rev().map(|entry| {
        json!({
            "time_usec": microseconds(Some(entry.time)),
            "event": entry.event.name(),
            "text": entry.event.to_string(),
        })
    });
    events.collect()
}
