//! PropertiesChanged: one signal for all that changed, with the values.

use std::borrow::Cow;
use std::collections::HashMap;
use zbus::fdo::Properties;
use zbus::object_server::{Interface, InterfaceRef};
use zbus::{OwnedVariant, Variant};

/// These change all the time; who wants to know asks.
const SILENT: [&str; 5] = [
    "LastCheckedUSec",
    "LastChangedUSec",
    "Commands",
    "Conflicts",
    "LastCommand",
];
/// These are long; that they changed is told without the value.
const LONG: [&str; 1] = ["Registrants"];

/// Says which properties of an object changed since it last did.
pub struct Announcer<I> {
    interface: InterfaceRef<I>,
    last: HashMap<String, OwnedVariant>,
}

impl<I: Interface> Announcer<I> {
    /// Of this object, as it is now.
    ///
    /// # Errors
    /// Where a value does not fit its type.
    pub async fn new(interface: InterfaceRef<I>) -> zbus::Result<Self> {
        let mut announcer = Announcer {
            interface,
            last: HashMap::new(),
        };
        announcer.last = announcer.properties().await?;
        Ok(announcer)
    }

    /// As if nobody had heard anything yet.
    pub fn forget(&mut self) {
        self.last.clear();
    }

    async fn properties(&self) -> zbus::Result<HashMap<String, OwnedVariant>> {
        let emitter = self.interface.signal_emitter();
        let connection = emitter.connection();
        let interface = self.interface.get().await;
        let mut properties = interface
            .get_all(connection.object_server(), connection, None, emitter)
            .await?;
        properties.retain(|name, _| !SILENT.contains(&name.as_str()));
        Ok(properties)
    }

    /// Tells of what changed, if anything did.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn announce(&mut self) -> zbus::Result<()> {
        let now = self.properties().await?;
        let new = |(name, value): &(&String, &OwnedVariant)| self.last.get(*name) != Some(*value);
        let (invalidated, changed): (HashMap<_, _>, HashMap<&str, &OwnedVariant>) = now
            .iter()
            .filter(new)
            .map(|(name, value)| (name.as_str(), value))
            .partition(|(name, _)| LONG.contains(name));
        let invalidated: Vec<&str> = invalidated.into_keys().collect();
        let changed: HashMap<&str, Variant<'_>> = changed
            .into_iter()
            .map(|(name, value)| (name, Variant::from(value.clone())))
            .collect();
        if !changed.is_empty() || !invalidated.is_empty() {
            let emitter = self.interface.signal_emitter();
            let invalidated = Cow::Borrowed(&invalidated[..]);
            Properties::properties_changed(emitter, I::name(), changed, invalidated).await?;
        }
        self.last = now;
        Ok(())
    }
}
