//! `org.reservd1.Device`: a unit, as its last snapshot shows it, and what can be
//! done to it.

use super::caller::{Caller, present_key, reservation_type};
use super::change::{Change, Given, Verb};
use super::desk::Desk;
use super::error::Error;
use super::job::{self, Which};
use super::name;
use super::shown::{self, Dictionary, count, microseconds, text};
use crate::config::{Coordination, KeySource};
use crate::lun::registry::LunKey;
use crate::lun::snapshot::{PathView, Registered, Snapshot};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, ObjectPath, OwnedObjectPath, Variant, interface};

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

    fn count(&self, which: impl Fn(&&PathView) -> bool) -> u32 {
        count(self.now().paths.iter().filter(which).count())
    }
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
    fn aliases(&self) -> Vec<String> {
        let now = self.now();
        let map = now.number.map(|number| format!("/dev/dm-{}", number.minor));
        let name = now.name.as_ref().filter(|_| map.is_some());
        let name = name.map(|name| format!("/dev/mapper/{name}"));
        name.into_iter().chain(map).collect()
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
    fn vendor(&self) -> String {
        text(self.now().product.as_ref().map(|product| &product.vendor))
    }

    #[zbus(property)]
    fn model(&self) -> String {
        text(self.now().product.as_ref().map(|product| &product.model))
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
    fn configured_key(&self) -> String {
        match self.now().settings.reservation_key {
            KeySource::File => String::new(),
            KeySource::Fixed { key, .. } => key.to_string(),
        }
    }

    #[zbus(property)]
    fn key_source(&self) -> String {
        let settings = &self.now().settings;
        match (settings.reservation_key, &settings.key_place) {
            (KeySource::Fixed { .. }, Some(place)) => place.to_string(),
            (source, _) => source.to_string(),
        }
    }

    #[zbus(property)]
    fn policy(&self) -> &'static str {
        match self.now().settings.multipathd {
            Coordination::Coordinate => "coordinate",
            Coordination::Observe => "observe",
            Coordination::Exclusive => "exclusive",
        }
    }

    #[zbus(property)]
    fn engine(&self) -> String {
        self.now().settings.engine.to_string()
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
    fn keys(&self) -> Vec<String> {
        shown::keys(&self.now())
    }

    #[zbus(property(emits_changed_signal = "invalidates"))]
    fn registrants(&self) -> Vec<Dictionary> {
        let (now, hosts) = (self.now(), self.desk.registry().hosts());
        let all = now.registrations.iter().flat_map(|all| &all.registrants);
        all.map(|row| shown::registrant(row, &self.key, &hosts))
            .collect()
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
    fn reservation_owner(&self) -> String {
        shown::reservation_owner(&self.now(), &self.desk.registry().hosts())
    }

    #[zbus(property)]
    fn held_here(&self) -> bool {
        self.now().is_held_here()
    }

    #[zbus(property)]
    fn paths_total(&self) -> u32 {
        self.count(|_| true)
    }

    #[zbus(property)]
    fn paths_usable(&self) -> u32 {
        self.count(|path| path.usable)
    }

    #[zbus(property)]
    fn paths_registered(&self) -> u32 {
        self.count(|path| path.registered == Registered::Yes)
    }

    #[zbus(property)]
    fn path_states(&self) -> Vec<Dictionary> {
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
    fn paths(&self) -> Vec<OwnedObjectPath> {
        let now = self.now();
        let shown = now.paths.iter().filter(|_| self.desk.export_paths);
        shown.map(|path| name::path(&self.key, &path.id)).collect()
    }

    #[zbus(property)]
    fn clients(&self) -> Vec<OwnedObjectPath> {
        let numbers = self.desk.clients().of_unit(&self.key);
        numbers.into_iter().map(name::client).collect()
    }

    #[zbus(property)]
    fn guarded_by_multipathd(&self) -> bool {
        self.now().guarded
    }

    #[zbus(property)]
    fn last_error(&self) -> String {
        text(self.now().failure.as_ref())
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn last_checked_u_sec(&self) -> u64 {
        microseconds(self.now().checked)
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn last_changed_u_sec(&self) -> u64 {
        microseconds(self.now().changed)
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

    #[zbus(out_args("events"))]
    fn history(&self, limit: u32) -> Vec<Dictionary> {
        let events = self.desk.history(&self.key);
        let newest = events.iter().rev().take(limit as usize);
        newest
            .map(|entry| {
                BTreeMap::from([
                    ("time", Variant::from(microseconds(Some(entry.time)))),
                    ("event", Variant::from(entry.event.name())),
                    ("text", Variant::from(entry.event.to_string())),
                ])
            })
            .collect()
    }

    #[zbus(signal)]
    pub(super) async fn registrations_changed(
        emitter: &SignalEmitter<'_>,
        added: Vec<String>,
        removed: Vec<String>,
        generation: u32,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn reservation_changed(
        emitter: &SignalEmitter<'_>,
        r#type: &str,
        key: &str,
        old_type: &str,
        old_key: &str,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn preempted(
        emitter: &SignalEmitter<'_>,
        lost_key: &str,
        by_key: &str,
        by_owner: &str,
        generation: u32,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn path_repaired(
        emitter: &SignalEmitter<'_>,
        path: ObjectPath<'_>,
        key: &str,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn repair_refused(
        emitter: &SignalEmitter<'_>,
        path: ObjectPath<'_>,
        reason: &str,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn conflict_detected(
        emitter: &SignalEmitter<'_>,
        kind: &str,
        detail: &str,
    ) -> zbus::Result<()>;
}
