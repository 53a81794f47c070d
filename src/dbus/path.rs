//! `org.reservd1.Path`: a path of a unit, as the unit's last snapshot shows it.

use super::name;
use super::shown::text;
use crate::lun::registry::LunKey;
use crate::lun::snapshot::{PathView, Snapshot};
use crate::lun::state::PathId;
use tokio::sync::watch;
use zbus::{OwnedObjectPath, interface};

/// A path on the bus.
#[derive(Debug)]
pub struct Path {
    unit: LunKey,
    id: PathId,
    snapshot: watch::Receiver<Snapshot>,
}

impl Path {
    /// This path of this unit.
    pub fn new(unit: LunKey, id: PathId, snapshot: watch::Receiver<Snapshot>) -> Self {
        Path { unit, id, snapshot }
    }

    /// Of the path, if it is one still.
    fn see<T: Default>(&self, see: impl FnOnce(&PathView) -> T) -> T {
        let now = self.snapshot.borrow();
        let path = now.paths.iter().find(|path| path.id == self.id);
        path.map(see).unwrap_or_default()
    }
}

#[interface(name = "org.reservd1.Path", introspection_docs = false)]
impl Path {
    #[zbus(property(emits_changed_signal = "const"))]
    fn hctl(&self) -> String {
        self.id.to_string()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn device(&self) -> OwnedObjectPath {
        name::object(&self.unit)
    }

    #[zbus(property)]
    fn name(&self) -> String {
        self.see(|path| text(path.name.as_ref()))
    }

    #[zbus(property)]
    fn state(&self) -> &'static str {
        self.see(|path| match (path.offline, path.usable) {
            (true, _) => "offline",
            (false, true) => "running",
            (false, false) => "failed",
        })
    }

    #[zbus(property)]
    fn registered(&self) -> String {
        self.see(|path| path.registered.to_string())
    }

    #[zbus(property)]
    fn key(&self) -> String {
        self.see(|path| text(path.key))
    }

    #[zbus(property)]
    fn initiator(&self) -> String {
        self.see(|path| text(path.nexus.as_ref().map(|nexus| &nexus.transport_id)))
    }

    #[zbus(property)]
    fn last_sense(&self) -> String {
        self.see(|path| text(path.sense))
    }
}
