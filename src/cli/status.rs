//! `reservctl status`: the units in use and what became of their registrations,
//! as reservd shows them on the bus. No device is asked.

use super::failure::Failure;
use super::report::{Report, table};
use crate::dbus::{Bus, DEVICE, NAME, ROOT};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;
use tokio::time::timeout;
use zbus::fdo::ManagedObjects;
use zbus::{Connection, OwnedVariant};

/// Whoever does not answer within this is not there.
const PATIENCE: Duration = Duration::from_secs(10);
const FDO: &str = "org.freedesktop.DBus";

type Properties = HashMap<String, OwnedVariant>;

/// Asks reservd, if it is there; it is not started for this.
///
/// # Errors
/// [`Failure::Bus`], [`Failure::Runtime`].
pub fn run() -> Result<Report, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    let objects = runtime.block_on(async { timeout(PATIENCE, managed_objects()).await });
    let objects = objects.map_err(|_| Failure::Bus("no answer in time".into()))?;
    let mut units = Vec::new();
    for has in objects?.into_values() {
        for (interface, properties) in has {
            if interface.as_str() == DEVICE {
                units.push(Unit::read(properties)?);
            }
        }
    }
    units.sort_by(|a, b| (&a.name, &a.wwid).cmp(&(&b.name, &b.wwid)));
    Ok(Report::Status(Status { units }))
}

async fn managed_objects() -> Result<ManagedObjects, Failure> {
    let failed = |error: zbus::Error| Failure::Bus(error.to_string());
    let connection = connect().await.map_err(failed)?;
    let here = connection
        .call_method(
            Some(FDO),
            "/org/freedesktop/DBus",
            Some(FDO),
            "NameHasOwner",
            &NAME,
        )
        .await
        .and_then(|reply| reply.body().deserialize::<bool>())
        .map_err(failed)?;
    if !here {
        let text = format!("{NAME} is not on the bus: reservd does not run, or has no bus");
        return Err(Failure::Bus(text));
    }
    let manager = Some("org.freedesktop.DBus.ObjectManager");
    let reply = connection
        .call_method(Some(NAME), ROOT, manager, "GetManagedObjects", &())
        .await
        .map_err(failed)?;
    let body = reply.body();
    body.deserialize()
        .map_err(|error| Failure::Bus(error.to_string()))
}

async fn connect() -> zbus::Result<Connection> {
    Bus::from_environment().builder().build().await
}

/// All units.
#[derive(Debug, Serialize)]
pub struct Status {
    /// By name.
    pub units: Vec<Unit>,
}

/// One unit.
#[derive(Debug, Serialize)]
pub struct Unit {
    /// World-wide identity.
    pub wwid: String,
    /// The map's name; empty where there is none.
    pub name: String,
    /// The host of a simulated unit, else empty.
    pub simulated_host: String,
    /// `ok`, `degraded`, `fenced` and so on, as D-Bus has it.
    pub state: String,
    /// Why.
    pub reason: String,
    /// The key this host last registered; null where there is none.
    pub key: Option<String>,
    /// Registered to outlive power loss.
    pub aptpl: bool,
    /// PRGENERATION.
    pub generation: u32,
    /// Type of the reservation; null where there is none.
    pub reservation_type: Option<String>,
    /// Its holder's key.
    pub reservation_key: Option<String>,
    /// multipathd registers returning paths.
    pub guarded_by_multipathd: bool,
    /// The paths.
    pub paths: Vec<Path>,
}

/// One path.
#[derive(Debug, Serialize)]
pub struct Path {
    /// Its address.
    pub hctl: String,
    /// Kernel name, or empty.
    pub name: String,
    /// `yes`, `no`, `other` or `unknown`.
    pub registered: String,
    /// Its key, where that is known.
    pub key: Option<String>,
    /// It can be used.
    pub usable: bool,
}

/// Takes a property of this type out.
fn take<T: TryFrom<OwnedVariant>>(from: &mut Properties, name: &str) -> Result<T, Failure> {
    let value = from.remove(name).and_then(|value| T::try_from(value).ok());
    value.ok_or_else(|| Failure::Bus(format!("{name} is missing or of another type")))
}

/// An empty string stands for nothing.
fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

impl Unit {
    fn read(mut all: Properties) -> Result<Self, Failure> {
        let from = &mut all;
        let paths: Vec<Properties> = take(from, "PathStates")?;
        Ok(Unit {
            wwid: take(from, "Wwid")?,
            name: take(from, "Name")?,
            simulated_host: take(from, "SimulatedHost")?,
            state: take(from, "State")?,
            reason: take(from, "StateReason")?,
            key: some(take(from, "IntentKey")?),
            aptpl: take(from, "Aptpl")?,
            generation: take(from, "Generation")?,
            reservation_type: some(take(from, "ReservationType")?),
            reservation_key: some(take(from, "ReservationKey")?),
            guarded_by_multipathd: take(from, "GuardedByMultipathd")?,
            paths: paths
                .into_iter()
                .map(Path::read)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Registered of usable ones, and how many there are beside.
    fn paths(&self) -> String {
        let usable = || self.paths.iter().filter(|path| path.usable);
        let registered = usable().filter(|path| path.registered == "yes").count();
        let (usable, all) = (usable().count(), self.paths.len());
        match all - usable {
            0 => format!("{registered}/{usable}"),
            away => format!("{registered}/{usable} +{away} down"),
        }
    }
}

impl Path {
    fn read(mut all: Properties) -> Result<Self, Failure> {
        let from = &mut all;
        Ok(Path {
            hctl: take(from, "hctl")?,
            name: take(from, "name")?,
            registered: take(from, "registered")?,
            key: some(take(from, "key")?),
            usable: take(from, "usable")?,
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.units.is_empty() {
            return writeln!(f, "no units in use");
        }
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let head = ["NAME", "STATE", "KEY", "RESERVATION", "PATHS", "WWID"];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(self.units.iter().map(|unit| {
            let reservation = match (&unit.reservation_type, &unit.reservation_key) {
                (Some(kind), Some(key)) => format!("{kind} {key}"),
                _ => "-".to_owned(),
            };
            [
                or_dash(&some(unit.name.clone())),
                unit.state.clone(),
                or_dash(&unit.key),
                reservation,
                unit.paths(),
                unit.wwid.clone(),
            ]
        }));
        table(f, &rows)?;
        for unit in &self.units {
            if !matches!(unit.state.as_str(), "ok" | "unregistered" | "unmanaged") {
                let name = some(unit.name.clone());
                let name = name.as_ref().unwrap_or(&unit.wwid);
                writeln!(f, "{name}: {}", unit.reason)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(state: &str, paths: &[(&str, bool)]) -> Unit {
        let path = |(registered, usable): &(&str, bool)| Path {
            hctl: "2:0:1:0".into(),
            name: "sdb".into(),
            registered: (*registered).to_owned(),
            key: None,
            usable: *usable,
        };
        Unit {
            wwid: "36001405aaaa".into(),
            name: "mpatha".into(),
            simulated_host: String::new(),
            state: state.into(),
            reason: "the reason".into(),
            key: Some("0xa1".into()),
            aptpl: false,
            generation: 1,
            reservation_type: Some("WERO".into()),
            reservation_key: Some("0xa1".into()),
            guarded_by_multipathd: false,
            paths: paths.iter().map(path).collect(),
        }
    }

    #[test]
    fn what_is_wrong_has_its_reason() {
        let status = Status {
            units: vec![
                unit("ok", &[("yes", true), ("unknown", false)]),
                unit("degraded", &[("yes", true), ("no", true)]),
            ],
        };
        insta::assert_snapshot!(status.to_string(), @r"
        NAME    STATE     KEY   RESERVATION  PATHS        WWID
        mpatha  ok        0xa1  WERO 0xa1    1/1 +1 down  36001405aaaa
        mpatha  degraded  0xa1  WERO 0xa1    1/2          36001405aaaa
        mpatha: the reason
        ");
    }

    #[test]
    fn what_is_missing_is_named() {
        let failure = Unit::read(Properties::new()).unwrap_err();
        assert!(failure.to_string().contains("PathStates"), "{failure}");
    }
}
