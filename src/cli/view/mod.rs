//! What reservd shows on the bus, as `reservctl` prints it. `docs/reservctl-json.md`
//! describes the objects for programs, and a test holds them to that.

pub mod client;
pub mod history;
pub mod job;
pub mod properties;
pub mod unit;

use client::Client;
use properties::{Mistake, Properties};
use serde::Serialize;
use std::collections::HashMap;
use unit::{PathObject, Unit};

/// The interfaces of one object, each with its properties.
pub type Interfaces = HashMap<String, Properties>;

/// All that reservd shows at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Host {
    /// The daemon.
    pub reservd: Reservd,
    /// By name, then by WWID.
    pub units: Vec<Unit>,
    /// By number.
    pub clients: Vec<Client>,
}

/// The daemon.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Reservd {
    /// Its version.
    pub version: String,
    /// Its main file of settings.
    pub config_path: Option<String>,
    /// Counts the times the settings were read.
    pub config_generation: u32,
    /// What was wrong with them the last time; then the old ones hold.
    pub last_reload_error: Option<String>,
    /// Of libmpathpersist, where that is used.
    pub library_version: Option<String>,
    /// Of multipathd.
    pub multipathd_version: Option<String>,
    /// Units are simulated.
    pub simulated: bool,
}

impl Host {
    /// From ObjectManager's objects and the manager's properties.
    ///
    /// # Errors
    /// Where a property has another type than it should.
    pub fn read(
        manager: Properties,
        objects: HashMap<String, Interfaces>,
    ) -> Result<Self, Mistake> {
        let mut units = Vec::new();
        let mut paths = Vec::new();
        let mut clients = Vec::new();
        for (object, interfaces) in objects {
            for (interface, properties) in interfaces {
                match interface.as_str() {
                    crate::dbus::DEVICE => units.push(Unit::read(&object, properties)?),
                    "org.reservd1.Path" => paths.push(PathObject::read(&object, properties)?),
                    "org.reservd1.Client" => clients.push(Client::read(&object, properties)?),
                    _ => {}
                }
            }
        }
        for unit in &mut units {
            unit.join(&paths);
        }
        units.sort_by(|a, b| (a.label(), &a.wwid).cmp(&(b.label(), &b.wwid)));
        clients.sort_by_key(Client::number);
        Ok(Host {
            reservd: Reservd::read(manager)?,
            units,
            clients,
        })
    }

    /// The unit with this object.
    pub fn unit(&self, object: &str) -> Option<&Unit> {
        self.units.iter().find(|unit| unit.object == object)
    }
}

impl Reservd {
    fn read(mut from: Properties) -> Result<Self, Mistake> {
        Ok(Reservd {
            version: from.take("Version")?,
            config_path: from.text("ConfigPath")?,
            config_generation: from.take("ConfigGeneration")?,
            last_reload_error: from.text("LastReloadError")?,
            library_version: from.text("LibraryVersion")?,
            multipathd_version: from.text("MultipathdVersion")?,
            simulated: from.take("Simulated")?,
        })
    }
}
