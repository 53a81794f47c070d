//! Keeps the objects on the bus in step with what there is.

use super::ROOT;
use super::announce::Announcer;
use super::desk::{Desk, Reloads};
use super::manager::Manager;
use super::visitors::Visitors;
use super::watched::{PAUSE, Watched};
use crate::lun::registry::LunKey;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use zbus::Connection;
use zbus::object_server::SignalEmitter;

/// The units on one connection, each with a task that tells of its changes, and
/// the clients.
pub struct Units {
    connection: Connection,
    desk: Arc<Desk>,
    count: watch::Receiver<usize>,
    come_and_go: watch::Receiver<u64>,
    reloads: watch::Receiver<Reloads>,
    /// With what their tasks are told of their clients by.
    shown: HashMap<LunKey, Arc<Notify>>,
    visitors: Visitors,
    watchers: JoinSet<()>,
    /// The manager's properties may have changed.
    changed: Arc<Notify>,
}

impl Units {
    /// Shows what there is.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn start(connection: Connection, desk: Arc<Desk>) -> zbus::Result<Self> {
        let mut reloads = desk.reloads.clone();
        reloads.mark_unchanged();
        let mut units = Units {
            count: desk.registry().count(),
            come_and_go: desk.clients().changes(),
            reloads,
            visitors: Visitors::new(connection.clone(), Arc::clone(&desk)),
            connection,
            desk,
            shown: HashMap::new(),
            watchers: JoinSet::new(),
            changed: Arc::default(),
        };
        units.show_new().await?;
        units.visitors.show().await?;
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
                Ok(()) = self.come_and_go.changed() => {
                    // Who only comes for a moment is not shown.
                    sleep(PAUSE).await;
                    self.come_and_go.mark_unchanged();
                    self.attend().await?;
                    self.changed.notify_one();
                }
                Ok(()) = self.reloads.changed() => {
                    let Reloads { generation, error } = self.reloads.borrow_and_update().clone();
                    announcer.announce().await?;
                    let emitter = SignalEmitter::new(&self.connection, ROOT)?;
                    let (ok, error) = (error.is_none(), error.unwrap_or_default());
                    Manager::config_reloaded(&emitter, generation, ok, &error).await?;
                }
                () = self.changed.notified() => {
                    self.desk.meet_multipathd().await;
                    announcer.announce().await?;
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Shows who came, and tells the units of it.
    async fn attend(&mut self) -> zbus::Result<()> {
        self.visitors.show().await?;
        for unit in self.desk.clients().take_touched() {
            if let Some(nudge) = self.shown.get(&unit) {
                nudge.notify_one();
            }
        }
        self.visitors.hide().await
    }

    async fn show_new(&mut self) -> zbus::Result<()> {
        self.count.mark_unchanged();
        for (key, lun) in self.desk.registry().units() {
            if self.shown.contains_key(&key) {
                continue;
            }
            let unit = (key.clone(), lun);
            let changed = Arc::clone(&self.changed);
            let watched = Watched::show(&self.connection, &self.desk, unit, changed).await?;
            self.shown.insert(key, watched.nudge());
            self.watchers.spawn(async move {
                // Whoever keeps the units notices a connection that is lost.
                if let Err(error) = watched.tell().await {
                    tracing::debug!(%error, "changes of a unit are not told any more");
                }
            });
        }
        Ok(())
    }
}
