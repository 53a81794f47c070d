//! One unit on the bus, with its paths: tells what changes.

use super::announce::Announcer;
use super::desk::{Desk, Reloads};
use super::device::Device;
use super::manager::Manager;
use super::path::Path;
use super::{ROOT, name, signals};
use crate::lun::registry::LunKey;
use crate::lun::snapshot::Snapshot;
use crate::lun::state::PathId;
use crate::lun::unit::Lun;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath};

/// What changes within this is told in one signal.
pub const PAUSE: Duration = Duration::from_millis(50);

/// A unit whose changes are told.
pub struct Watched {
    key: LunKey,
    path: OwnedObjectPath,
    lun: Arc<Lun>,
    desk: Arc<Desk>,
    connection: Connection,
    snapshot: watch::Receiver<Snapshot>,
    events: watch::Receiver<u64>,
    reloads: watch::Receiver<Reloads>,
    /// As it was last told.
    state: String,
    /// The last event that was told.
    told: u64,
    paths: BTreeMap<PathId, Announcer<Path>>,
    /// Its clients may be others.
    nudge: Arc<Notify>,
    /// The manager's properties may have changed.
    changed: Arc<Notify>,
}

impl Watched {
    /// Shows this unit and its paths.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn show(
        connection: &Connection,
        desk: &Arc<Desk>,
        (key, lun): (LunKey, Arc<Lun>),
        changed: Arc<Notify>,
    ) -> zbus::Result<Self> {
        let path = name::object(&key);
        let mut snapshot = lun.snapshot();
        snapshot.mark_unchanged();
        let events = lun.history().last();
        let device = Device::new(key.clone(), snapshot.clone(), Arc::clone(desk));
        connection.object_server().at(&path, device).await?;
        let state = snapshot.borrow().state.to_string();
        let told = *events.borrow();
        let mut watched = Watched {
            state,
            told,
            reloads: desk.reloads.clone(),
            key,
            path,
            lun,
            desk: Arc::clone(desk),
            connection: connection.clone(),
            snapshot,
            events,
            paths: BTreeMap::new(),
            nudge: Arc::default(),
            changed,
        };
        watched.show_paths().await?;
        Ok(watched)
    }

    /// To be notified when the unit's clients are others.
    pub fn nudge(&self) -> Arc<Notify> {
        Arc::clone(&self.nudge)
    }

    /// Tells of changes until the daemon ends.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn tell(mut self) -> zbus::Result<()> {
        let server = self.connection.object_server();
        let device = server.interface::<_, Device>(&self.path).await?;
        let emitter = device.signal_emitter().clone();
        let mut announcer = Announcer::new(device).await?;
        if self.snapshot.has_changed().unwrap_or(false) {
            // It may have changed before the first look at its properties.
            announcer.forget();
        }
        loop {
            tokio::select! {
                biased;
                end = self.snapshot.changed() => if end.is_err() { return Ok(()) },
                end = self.events.changed() => if end.is_err() { return Ok(()) },
                Ok(()) = self.reloads.changed() => {}
                () = self.nudge.notified() => {}
            }
            self.snapshot.mark_unchanged();
            self.show_paths().await?;
            announcer.announce().await?;
            for path in self.paths.values_mut() {
                path.announce().await?;
            }
            self.hide_paths().await?;
            self.tell_state().await?;
            self.tell_events(&emitter).await?;
            sleep(PAUSE).await;
        }
    }

    async fn tell_state(&mut self) -> zbus::Result<()> {
        let (state, reason, wwid) = {
            let now = self.snapshot.borrow();
            (now.state.to_string(), now.reason.clone(), now.wwid.clone())
        };
        if state == self.state {
            return Ok(());
        }
        let emitter = SignalEmitter::new(&self.connection, ROOT)?;
        let (path, wwid) = (self.path.as_ref(), wwid.as_str());
        Manager::device_state_changed(&emitter, path, wwid, &self.state, &state, &reason).await?;
        self.changed.notify_one();
        self.state = state;
        Ok(())
    }

    async fn tell_events(&mut self, emitter: &SignalEmitter<'_>) -> zbus::Result<()> {
        self.events.mark_unchanged();
        let events = self.lun.history().since(self.told);
        let hosts = self.desk.registry().hosts();
        for entry in events {
            signals::send(emitter, &self.key, &hosts, &entry.event).await?;
            self.told = entry.number;
        }
        Ok(())
    }

    /// Shows the paths that are new. One that another unit still shows under
    /// its address follows when that lets it go, and something happens here.
    async fn show_paths(&mut self) -> zbus::Result<()> {
        if !self.desk.export_paths {
            return Ok(());
        }
        let server = self.connection.object_server();
        for id in self.ids() {
            if self.paths.contains_key(&id) {
                continue;
            }
            let object = name::path(&self.key, &id);
            let path = Path::new(self.key.clone(), id.clone(), self.snapshot.clone());
            if server.at(&object, path).await?.is_none() {
                let interface = server.interface::<_, Path>(&object).await?;
                self.paths.insert(id, Announcer::new(interface).await?);
            }
        }
        Ok(())
    }

    async fn hide_paths(&mut self) -> zbus::Result<()> {
        let server = self.connection.object_server();
        let here = self.ids();
        let gone: Vec<_> = self
            .paths
            .keys()
            .filter(|id| !here.contains(id))
            .cloned()
            .collect();
        for id in gone {
            self.paths.remove(&id);
            server.remove::<Path, _>(name::path(&self.key, &id)).await?;
        }
        Ok(())
    }

    fn ids(&self) -> Vec<PathId> {
        let now = self.snapshot.borrow();
        now.paths.iter().map(|path| path.id.clone()).collect()
    }
}
