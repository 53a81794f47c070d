//! `org.reservd1.Client`: a connection to a helper socket.

use super::authority::Action;
use super::caller::Caller;
use super::error::{Error, no_options};
use super::name;
use super::shown::microseconds;
use crate::server::clients;
use std::collections::HashMap;
use std::sync::Arc;
use zbus::message::Header;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, interface};

/// A client on the bus.
#[derive(Debug)]
pub struct Client(Arc<clients::Client>);

impl Client {
    /// This one.
    pub fn new(client: Arc<clients::Client>) -> Self {
        Client(client)
    }
}

#[interface(name = "org.reservd1.Client", introspection_docs = false)]
impl Client {
    #[zbus(property(emits_changed_signal = "const"))]
    fn pid(&self) -> u32 {
        self.0.pid
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn uid(&self) -> u32 {
        self.0.uid
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn unit(&self) -> &str {
        &self.0.origin.unit
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn machine(&self) -> &str {
        &self.0.origin.machine
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn socket(&self) -> &str {
        &self.0.socket
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn connected_u_sec(&self) -> u64 {
        microseconds(Some(self.0.connected))
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn commands(&self) -> u64 {
        self.0.commands()
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn conflicts(&self) -> u64 {
        self.0.conflicts()
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn last_command(&self) -> String {
        self.0.last_command()
    }

    #[zbus(property)]
    fn devices(&self) -> Vec<OwnedObjectPath> {
        self.0.units().iter().map(name::object).collect()
    }

    async fn disconnect(
        &self,
        options: HashMap<String, OwnedVariant>,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        no_options(&options)?;
        let header = &header;
        let caller = Caller { connection, header };
        let machine = &self.0.origin.machine;
        let uid = caller
            .may(Action::DisconnectClient, "Disconnect", machine)
            .await?;
        tracing::info!(uid, client = self.0.number, "to be disconnected");
        self.0.disconnect();
        Ok(())
    }
}
