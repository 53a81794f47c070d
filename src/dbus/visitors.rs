//! Keeps the objects of clients in step with who is connected.

use super::announce::Announcer;
use super::client::Client;
use super::desk::Desk;
use super::name;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use zbus::Connection;

/// The clients that are on the bus.
pub struct Visitors {
    connection: Connection,
    desk: Arc<Desk>,
    /// By number, with how many units each was seen to use.
    shown: BTreeMap<u64, (Announcer<Client>, usize)>,
}

impl Visitors {
    /// Nobody yet.
    pub fn new(connection: Connection, desk: Arc<Desk>) -> Self {
        Visitors {
            connection,
            desk,
            shown: BTreeMap::new(),
        }
    }

    /// Shows who has come, and tells of those that use another unit.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn show(&mut self) -> zbus::Result<()> {
        let server = self.connection.object_server();
        for client in self.desk.clients().all() {
            let uses = client.units().len();
            match self.shown.get_mut(&client.number) {
                Some((_, seen)) if *seen == uses => {}
                Some((announcer, seen)) => {
                    announcer.announce().await?;
                    *seen = uses;
                }
                None => {
                    let (number, path) = (client.number, name::client(client.number));
                    server.at(&path, Client::new(client)).await?;
                    let interface = server.interface::<_, Client>(&path).await?;
                    let announcer = Announcer::new(interface).await?;
                    self.shown.insert(number, (announcer, uses));
                }
            }
        }
        Ok(())
    }

    /// Takes those away that have left.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn hide(&mut self) -> zbus::Result<()> {
        let server = self.connection.object_server();
        let here: BTreeSet<_> = self
            .desk
            .clients()
            .all()
            .iter()
            .map(|one| one.number)
            .collect();
        let gone: Vec<_> = self
            .shown
            .keys()
            .filter(|one| !here.contains(one))
            .copied()
            .collect();
        for number in gone {
            self.shown.remove(&number);
            server.remove::<Client, _>(name::client(number)).await?;
        }
        Ok(())
    }
}
