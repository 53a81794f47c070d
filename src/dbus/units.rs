//! Keeps the objects on the bus in step with the units.

use super::announce::Announcer;
use super::desk::Desk;
use super::device::Device;
use super::manager::Manager;
use super::{ROOT, name};
use crate::lun::registry::LunKey;
use crate::lun::snapshot::Snapshot;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath};

/// What changes within this is told in one signal.
const PAUSE: Duration = Duration::from_millis(50);

/// The units on one connection, each with a task that tells of its changes.
pub struct Units {
    connection: Connection,
    desk: Arc<Desk>,
    count: watch::Receiver<usize>,
    shown: HashSet<LunKey>,
    watchers: JoinSet<()>,
    /// The manager's properties may have changed.
    changed: Arc<Notify>,
}

impl Units {
    /// Shows the units there are.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn start(connection: Connection, desk: Arc<Desk>) -> zbus::Result<Self> {
        let mut units = Units {
            count: desk.registry().count(),
            connection,
            desk,
            shown: HashSet::new(),
            watchers: JoinSet::new(),
            changed: Arc::default(),
        };
        units.show_new().await?;
        Ok(units)
    }

    /// Where they are shown.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Works until the bus is gone.
    pub async fn keep(mut self) {
        let connection = self.connection.clone();
        tokio::select! {
            () = connection.closed() => {}
            result = self.follow() => if let Err(error) = result {
                tracing::warn!(%error, "the bus takes nothing from us");
            },
        }
    }

    async fn follow(&mut self) -> zbus::Result<()> {
        let server = self.connection.object_server();
        let manager = server.interface::<_, Manager>(ROOT).await?;
        let mut announcer = Announcer::new(manager).await?;
        loop {
            tokio::select! {
                new = self.count.changed() => match new {
                    Ok(()) => {
                        self.show_new().await?;
                        self.changed.notify_one();
                    }
                    // The daemon is about to end.
                    Err(_) => return Ok(()),
                },
                () = self.changed.notified() => {
                    announcer.announce().await?;
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn show_new(&mut self) -> zbus::Result<()> {
        self.count.mark_unchanged();
        for (key, lun) in self.desk.registry().units() {
            if !self.shown.insert(key.clone()) {
                continue;
            }
            let path = name::object(&key);
            let mut snapshot = lun.snapshot();
            snapshot.mark_unchanged();
            let state = snapshot.borrow().state;
            let device = Device::new(key, snapshot.clone(), Arc::clone(&self.desk));
            self.connection.object_server().at(&path, device).await?;
            let connection = self.connection.clone();
            let watched = Watched {
                path,
                snapshot,
                state: state.to_string(),
                changed: Arc::clone(&self.changed),
            };
            self.watchers.spawn(async move {
                // Whoever keeps the units notices a connection that is lost.
                if let Err(error) = watched.tell(&connection).await {
                    tracing::debug!(%error, "changes of a unit are not told any more");
                }
            });
        }
        Ok(())
    }
}

/// A unit whose changes are told.
struct Watched {
    path: OwnedObjectPath,
    snapshot: watch::Receiver<Snapshot>,
    /// As it was last told.
    state: String,
    changed: Arc<Notify>,
}

impl Watched {
    async fn tell(mut self, connection: &Connection) -> zbus::Result<()> {
        let server = connection.object_server();
        let device = server.interface::<_, Device>(&self.path).await?;
        let mut announcer = Announcer::new(device).await?;
        if self.snapshot.has_changed().unwrap_or(false) {
            // It may have changed before the first look at its properties.
            announcer.forget();
        }
        let manager = SignalEmitter::new(connection, ROOT)?;
        while self.snapshot.changed().await.is_ok() {
            let (state, reason, wwid) = {
                let now = self.snapshot.borrow_and_update();
                (now.state.to_string(), now.reason.clone(), now.wwid.clone())
            };
            announcer.announce().await?;
            if state != self.state {
                let (path, wwid) = (self.path.as_ref(), wwid.as_str());
                Manager::device_state_changed(&manager, path, wwid, &self.state, &state, &reason)
                    .await?;
                self.changed.notify_one();
                self.state = state;
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }
}
