//! `org.reservd1.Device`: a unit, as its last snapshot shows it, and what can be
//! done to it.

use super::caller::{Caller, present_key, reservation_type};
use super::change::{Change, Given, Verb};
use super::desk::Desk;
use super::error::Error;
use super::job::{self, Which};
use crate::lun::registry::LunKey;
use crate::lun::snapshot::{PathView, Registered, Snapshot};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use tokio::sync::watch;
use zbus::message::Header;
use zbus::{Connection, OwnedObjectPath, Variant, interface};

/// A unit on the bus.
#[derive(Debug)]
pub struct Device {
    key: LunKey,
    snapshot: watch::Receiver<Snapshot>,
    desk: Arc<Desk>,
}

impl Device {
    /// This unit.
    pub fn new(key: LunKey, snapshot: watch::Receiver<Snapshot>, desk: Arc<Desk>) -> Self {
        Device {
            key,
            snapshot,
            desk,
        }
    }

    /// Has it changed, for whom that is allowed.
    async fn change(
        &self,
        verb: Verb,
        options: Given,
        connection: &Connection,
        header: &Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        let caller = Caller { connection, header };
        let change = Change::new(verb, options)?;
        job::change(caller, &self.desk, Which::Unit(&self.key), change).await
    }

    fn now(&self) -> watch::Ref<'_, Snapshot> {
        self.snapshot.borrow()
    }
}

fn count<'a>(items: impl Iterator<Item = &'a PathView>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

/// Nothing is an empty string.
fn text(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

#[interface(name = "org.reservd1.Device", introspection_docs = false)]
impl Device {
    #[zbus(property(emits_changed_signal = "const"))]
    fn wwid(&self) -> String {
        self.key.0.to_string()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn simulated_host(&self) -> String {
        self.key.1.clone()
    }

    #[zbus(property)]
    fn name(&self) -> String {
        text(self.now().name.as_ref())
    }

    #[zbus(property)]
    fn kind(&self) -> &'static str {
        match (self.key.1.is_empty(), self.now().number) {
            (false, _) => "simulated",
            (true, Some(_)) => "multipath",
            (true, None) => "scsi",
        }
    }

    #[zbus(property)]
    fn device_number(&self) -> (u32, u32) {
        let number = self.now().number;
        number.map_or((0, 0), |number| (number.major, number.minor))
    }

    #[zbus(property)]
    fn state(&self) -> String {
        self.now().state.to_string()
    }

    #[zbus(property)]
    fn state_reason(&self) -> String {
        self.now().reason.clone()
    }

    #[zbus(property)]
    fn intent_key(&self) -> String {
        text(self.now().key)
    }

    #[zbus(property)]
    fn aptpl(&self) -> bool {
        self.now().aptpl
    }

    #[zbus(property)]
    fn generation(&self) -> u32 {
        self.now().generation.unwrap_or_default()
    }

    #[zbus(property)]
    fn reservation_type(&self) -> String {
        let reservation = self.now().reservation;
        text(reservation.and_then(|held| held.scope_type.kind()))
    }

    #[zbus(property)]
    fn reservation_key(&self) -> String {
        text(self.now().reservation.map(|held| held.key))
    }

    #[zbus(property)]
    fn paths_total(&self) -> u32 {
        count(self.now().paths.iter())
    }

    #[zbus(property)]
    fn paths_usable(&self) -> u32 {
        count(self.now().paths.iter().filter(|path| path.usable))
    }

    #[zbus(property)]
    fn paths_registered(&self) -> u32 {
        let now = self.now();
        let has = |path: &&PathView| path.registered == Registered::Yes;
        count(now.paths.iter().filter(has))
    }

    #[zbus(property)]
    fn path_states(&self) -> Vec<BTreeMap<&'static str, Variant<'static>>> {
        let now = self.now();
        let paths = now.paths.iter().map(|path| {
            BTreeMap::from([
                ("hctl", Variant::from(path.id.to_string())),
                ("name", Variant::from(text(path.name.as_ref()))),
                ("registered", Variant::from(path.registered.to_string())),
                ("key", Variant::from(text(path.key))),
                ("usable", Variant::from(path.usable)),
            ])
        });
        paths.collect()
    }

    #[zbus(property)]
    fn guarded_by_multipathd(&self) -> bool {
        self.now().guarded
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn last_checked_u_sec(&self) -> u64 {
        let since = self
            .now()
            .checked
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        since.map_or(0, |since| {
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
        })
    }

    #[zbus(out_args("job"))]
    async fn register(
        &self,
        key: &str,
        options: Given,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        let verb = Verb::Register(present_key(key)?);
        self.change(verb, options, connection, &header).await
    }

    #[zbus(out_args("job"))]
    async fn unregister(
        &self,
        options: Given,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        self.change(Verb::Unregister, options, connection, &header)
            .await
    }

    #[zbus(out_args("job"))]
    async fn reserve(
        &self,
        r#type: &str,
        options: Given,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        let verb = Verb::Reserve(reservation_type(r#type)?);
        self.change(verb, options, connection, &header).await
    }

    #[zbus(out_args("job"))]
    async fn release(
        &self,
        options: Given,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        self.change(Verb::Release, options, connection, &header)
            .await
    }

    #[zbus(out_args("job"))]
    async fn preempt(
        &self,
        victim: &str,
        r#type: &str,
        options: Given,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        let verb = Verb::Preempt(present_key(victim)?, reservation_type(r#type)?);
        self.change(verb, options, connection, &header).await
    }

    #[zbus(out_args("job"))]
    async fn preempt_and_abort(
        &self,
        victim: &str,
        r#type: &str,
        options: Given,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        let verb = Verb::PreemptAndAbort(present_key(victim)?, reservation_type(r#type)?);
        self.change(verb, options, connection, &header).await
    }

    #[zbus(out_args("job"))]
    async fn clear(
        &self,
        options: Given,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        self.change(Verb::Clear, options, connection, &header).await
    }

    #[zbus(out_args("job"))]
    async fn adopt(
        &self,
        key: &str,
        options: Given,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        let verb = Verb::Adopt(present_key(key)?);
        self.change(verb, options, connection, &header).await
    }

    #[zbus(out_args("job"))]
    async fn rearm(
        &self,
        options: Given,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        self.change(Verb::Rearm, options, connection, &header).await
    }

    #[zbus(out_args("job"))]
    async fn forget(
        &self,
        options: Given,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        self.change(Verb::Forget, options, connection, &header)
            .await
    }

    #[zbus(out_args("job"))]
    async fn repair(
        &self,
        options: Given,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        self.change(Verb::Repair(None), options, connection, &header)
            .await
    }

    #[zbus(out_args("job"))]
    async fn refresh(
        &self,
        options: Given,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        self.change(Verb::Refresh, options, connection, &header)
            .await
    }
}
