//! A unit, its paths and its registrations.

use super::properties::{Mistake, Properties};
use crate::cli::page::{Cell, Tone};
use serde::Serialize;

/// One unit. Times are in microseconds since 1970; what is not there is null.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Unit {
    /// Its object on the bus.
    pub object: String,
    /// World-wide identity.
    pub wwid: String,
    /// The map's name.
    pub name: Option<String>,
    /// Other names.
    pub aliases: Vec<String>,
    /// `multipath`, `scsi` or `simulated`.
    pub kind: String,
    /// The host of a simulated unit.
    pub simulated_host: Option<String>,
    /// From INQUIRY.
    pub vendor: Option<String>,
    /// From INQUIRY.
    pub model: Option<String>,
    /// `ok`, `degraded`, `fenced` and so on, as D-Bus has it.
    pub state: String,
    /// Why.
    pub reason: String,
    /// `coordinate`, `observe` or `exclusive`.
    pub policy: Option<String>,
    /// Who runs commands that change reservations.
    pub engine: Option<String>,
    /// The key this host last registered.
    pub key: Option<String>,
    /// Where the key comes from.
    pub key_source: Option<String>,
    /// The only key that the configuration allows.
    pub configured_key: Option<String>,
    /// Registered to outlive power loss.
    pub aptpl: bool,
    /// PRGENERATION.
    pub generation: u32,
    /// Type of the reservation.
    pub reservation_type: Option<String>,
    /// Its holder's key; 0x0 where every registrant holds.
    pub reservation_key: Option<String>,
    /// Whose that is.
    pub reservation_owner: Option<String>,
    /// This host holds it.
    pub held_here: bool,
    /// multipathd registers returning paths.
    pub guarded_by_multipathd: bool,
    /// What the unit last failed with.
    pub last_error: Option<String>,
    /// When it last told of its registrations.
    pub checked_usec: Option<u64>,
    /// When they last changed.
    pub changed_usec: Option<u64>,
    /// By address.
    pub paths: Vec<Path>,
    /// In the order of the unit.
    pub registrants: Vec<Registrant>,
    /// The objects of those who use it.
    pub clients: Vec<String>,
}

/// One path.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Path {
    /// Its object on the bus, where paths have any.
    pub object: Option<String>,
    /// Its address.
    pub hctl: String,
    /// Kernel name.
    pub name: Option<String>,
    /// `running`, `offline` or `failed`.
    pub state: Option<String>,
    /// It can be used.
    pub usable: bool,
    /// `yes`, `no`, `other` or `unknown`.
    pub registered: String,
    /// Its key, where that is known.
    pub key: Option<String>,
    /// The initiator port, where that is known.
    pub initiator: Option<String>,
    /// Sense that a command here last ended with.
    pub last_sense: Option<String>,
}

/// One registration.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Registrant {
    /// Its key.
    pub key: String,
    /// Whose the key is, as far as that can be told.
    pub owner: Option<String>,
    /// The initiator port.
    pub initiator: String,
    /// The relative target port.
    pub target_port: Option<u32>,
    /// It holds the reservation.
    pub holder: bool,
    /// It is this host's.
    pub local: bool,
    /// It is for every target port.
    pub all_target_ports: bool,
    /// The object of the path, where it is this host's.
    pub path: Option<String>,
}

/// `org.reservd1.Path`
#[derive(Debug)]
pub struct PathObject {
    device: Option<String>,
    path: Path,
}

impl PathObject {
    /// From its properties.
    ///
    /// # Errors
    /// [`Mistake`]
    pub fn read(object: &str, mut from: Properties) -> Result<Self, Mistake> {
        Ok(PathObject {
            device: from.object("Device")?,
            path: Path {
                object: Some(object.to_owned()),
                hctl: from.take("Hctl")?,
                state: from.text("State")?,
                initiator: from.text("Initiator")?,
                last_sense: from.text("LastSense")?,
                ..Path::default()
            },
        })
    }
}

impl Unit {
    /// From its properties.
    ///
    /// # Errors
    /// [`Mistake`]
    pub fn read(object: &str, mut from: Properties) -> Result<Self, Mistake> {
        let paths = from.rows("PathStates")?.into_iter().map(Path::read);
        let registrants = from.rows("Registrants")?.into_iter().map(Registrant::read);
        Ok(Unit {
            object: object.to_owned(),
            paths: paths.collect::<Result<_, _>>()?,
            registrants: registrants.collect::<Result<_, _>>()?,
            wwid: from.take("Wwid")?,
            name: from.text("Name")?,
            aliases: from.take("Aliases")?,
            kind: from.take("Kind")?,
            simulated_host: from.text("SimulatedHost")?,
            vendor: from.text("Vendor")?,
            model: from.text("Model")?,
            state: from.take("State")?,
            reason: from.take("StateReason")?,
            policy: from.text("Policy")?,
            engine: from.text("Engine")?,
            key: from.text("IntentKey")?,
            key_source: from.text("KeySource")?,
            configured_key: from.text("ConfiguredKey")?,
            aptpl: from.take("Aptpl")?,
            generation: from.take("Generation")?,
            reservation_type: from.text("ReservationType")?,
            reservation_key: from.text("ReservationKey")?,
            reservation_owner: from.text("ReservationOwner")?,
            held_here: from.take("HeldHere")?,
            guarded_by_multipathd: from.take("GuardedByMultipathd")?,
            last_error: from.text("LastError")?,
            checked_usec: from.time("LastCheckedUSec")?,
            changed_usec: from.time("LastChangedUSec")?,
            clients: from.objects("Clients")?,
        })
    }

    /// Adds what only the paths' own objects have.
    pub(super) fn join(&mut self, objects: &[PathObject]) {
        let mine = objects
            .iter()
            .filter(|object| object.device.as_ref() == Some(&self.object));
        for object in mine {
            let path = self
                .paths
                .iter_mut()
                .find(|path| path.hctl == object.path.hctl);
            if let Some(path) = path {
                path.object.clone_from(&object.path.object);
                path.state.clone_from(&object.path.state);
                path.initiator.clone_from(&object.path.initiator);
                path.last_sense.clone_from(&object.path.last_sense);
            }
        }
    }

    /// What people call it.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.wwid)
    }

    /// How bad its state is.
    pub fn tone(&self) -> Tone {
        tone_of_state(&self.state)
    }

    /// The state as a field.
    pub fn state_cell(&self) -> Cell {
        Cell::new(self.tone(), &self.state)
    }

    /// Usable ones with the registration, usable ones, all.
    pub fn path_counts(&self) -> (usize, usize, usize) {
        let usable = || self.paths.iter().filter(|path| path.usable);
        let registered = usable().filter(|path| path.registered == "yes").count();
        (registered, usable().count(), self.paths.len())
    }

    /// As `registered/usable/all`.
    pub fn path_cell(&self) -> Cell {
        let (registered, usable, all) = self.path_counts();
        let tone = match (usable, usable == all) {
            (0, _) if all > 0 => Tone::Bad,
            (_, false) => Tone::Warning,
            (_, true) => Tone::Plain,
        };
        Cell::new(tone, format!("{registered}/{usable}/{all}"))
    }
}

/// `doubtful` and what is new are bad until they are known to be well.
pub fn tone_of_state(state: &str) -> Tone {
    match state {
        "ok" => Tone::Good,
        "unregistered" | "unmanaged" | "handed-off" => Tone::Plain,
        "degraded" | "unknown" => Tone::Warning,
        _ => Tone::Bad,
    }
}

impl Path {
    fn read(mut from: Properties) -> Result<Self, Mistake> {
        Ok(Path {
            hctl: from.take("hctl")?,
            name: from.text("name")?,
            registered: from.take("registered")?,
            key: from.text("key")?,
            usable: from.take("usable")?,
            ..Path::default()
        })
    }

    /// What people call it.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.hctl)
    }

    /// Its state, also where the path has no object of its own.
    pub fn state(&self) -> &str {
        match (&self.state, self.usable) {
            (Some(state), _) => state,
            (None, true) => "running",
            (None, false) => "failed",
        }
    }
}

impl Registrant {
    fn read(mut from: Properties) -> Result<Self, Mistake> {
        let port: u32 = from.take("target-port")?;
        Ok(Registrant {
            key: from.take("key")?,
            owner: from.text("owner")?,
            initiator: from.take("initiator")?,
            target_port: Some(port).filter(|port| *port > 0),
            holder: from.take("holder")?,
            local: from.take("local")?,
            all_target_ports: from.take("all-target-ports")?,
            path: from.object("path")?,
        })
    }
}
