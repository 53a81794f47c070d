//! `org.reservd1.Manager`: finds units, and changes them.

use super::authority::Action;
use super::caller::{Caller, present_key, reservation_type};
use super::change::{Change, Given, Verb};
use super::desk::Desk;
use super::device::Device;
use super::errand::Errand;
use super::error::Error;
use super::job::{self, Which};
use super::{name, report, shown};
use crate::lun::registry::{LunKey, Target};
use crate::scsi::ReservationType;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, ObjectPath, OwnedObjectPath, OwnedVariant, Variant, interface};

/// A new unit shows up on the bus within moments; this many are waited for.
const MOMENTS: usize = 100;
const MOMENT: Duration = Duration::from_millis(20);

/// The daemon on the bus.
#[derive(Debug)]
pub struct Manager {
    desk: Arc<Desk>,
}

impl Manager {
    /// For this desk.
    pub fn new(desk: Arc<Desk>) -> Self {
        Manager { desk }
    }

    /// The units in use with this name.
    fn matching(&self, text: &str) -> Vec<LunKey> {
        let units = self.desk.registry().units().into_iter();
        let named = units.filter(|(key, lun)| {
            let snapshot = lun.snapshot();
            let is_it = name::is_name_of(text, key, &snapshot.borrow());
            is_it || name::object(key).as_str() == text
        });
        named.map(|(key, _)| key).collect()
    }

    /// Changes a unit, for whom that is allowed, and waits for the end.
    async fn change(
        &self,
        verb: Verb,
        device: &str,
        connection: &Connection,
        header: &Header<'_>,
    ) -> Result<(), Error> {
        let caller = Caller { connection, header };
        let job = job::change(caller, &self.desk, Which::Device(device), verb.into()).await;
        job.map(drop)
    }

    /// Asks a unit, for whom that is allowed.
    async fn ask<T, F>(
        &self,
        caller: Caller<'_>,
        what: &'static str,
        device: &str,
        work: impl FnOnce(Errand, Target) -> F + Send + 'static,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        caller.may(Action::Refresh, what, device).await?;
        let device = device.to_owned();
        let ask = |errand: Errand| async move {
            let target = errand.resolve(&device).await?;
            work(errand, target).await
        };
        self.desk.run(ask).await
    }
}

#[interface(name = "org.reservd1.Manager", introspection_docs = false)]
impl Manager {
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn config_path(&self) -> String {
        self.desk.config.display().to_string()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn simulated(&self) -> bool {
        self.desk.simulated
    }

    #[zbus(property)]
    fn library_version(&self) -> String {
        let library = self.desk.registry().engines().library();
        library.map_or_else(String::new, |version| version.to_string())
    }

    #[zbus(property)]
    fn devices(&self) -> Vec<OwnedObjectPath> {
        let units = self.desk.registry().units();
        let mut paths: Vec<_> = units.iter().map(|(key, _)| name::object(key)).collect();
        paths.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        paths
    }

    #[zbus(property)]
    fn devices_by_state(&self) -> BTreeMap<String, u32> {
        let mut states = BTreeMap::new();
        for (_, lun) in self.desk.registry().units() {
            let state = lun.snapshot().borrow().state.to_string();
            *states.entry(state).or_default() += 1;
        }
        states
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn features(&self) -> Vec<&'static str> {
        let paths = self.desk.export_paths.then_some("paths");
        let library = cfg!(feature = "mpathpersist").then_some("mpathpersist");
        let simulated = self.desk.simulated.then_some("simulator");
        let always = ["clients", "history", "owners", "report"].map(Some);
        let all = always.into_iter().chain([library, paths, simulated]);
        all.flatten().collect()
    }

    #[zbus(property)]
    fn config_generation(&self) -> u32 {
        self.desk.reloads.borrow().generation
    }

    #[zbus(property)]
    fn last_reload_error(&self) -> String {
        shown::text(self.desk.reloads.borrow().error.as_ref())
    }

    #[zbus(property)]
    fn clients_connected(&self) -> u32 {
        shown::count(self.desk.clients().count())
    }

    #[zbus(property)]
    fn clients(&self) -> Vec<OwnedObjectPath> {
        let clients = self.desk.clients().all();
        clients.iter().map(|one| name::client(one.number)).collect()
    }

    #[zbus(property)]
    fn multipathd_version(&self) -> String {
        let multipathd = self.desk.multipathd.as_ref();
        shown::text(multipathd.and_then(|multipathd| multipathd.version()))
    }

    #[zbus(out_args("object"))]
    async fn find_device(
        &self,
        device: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        match &self.matching(device)[..] {
            [key] => return Ok(name::object(key)),
            [] => {}
            many => {
                let paths: Vec<_> = many
                    .iter()
                    .map(|key| name::object(key).to_string())
                    .collect();
                let text = format!("{device} may be {}", paths.join(", "));
                return Err(Error::AmbiguousDevice(text));
            }
        }
        // A file that nobody uses yet is not opened for everybody.
        let caller = Caller {
            connection,
            header: &header,
        };
        let allowed = caller.may(Action::Refresh, "FindDevice", device).await;
        if allowed.is_err() {
            let text = format!("{device}: no unit in use has this name");
            return Err(Error::NoSuchDevice(text));
        }
        let text = device.to_owned();
        let work = |errand: Errand| async move { errand.resolve(&text).await };
        let target = self.desk.run(work).await?;
        let Some(key) = self.desk.key_of(&target) else {
            return Err(Error::NoSuchDevice(device.to_owned()));
        };
        let path = name::object(&key);
        for _ in 0..MOMENTS {
            if connection
                .object_server()
                .interface::<_, Device>(&path)
                .await
                .is_ok()
            {
                break;
            }
            sleep(MOMENT).await;
        }
        Ok(path)
    }

    #[zbus(out_args("keys"))]
    async fn read_keys(
        &self,
        device: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<String>, Error> {
        let header = &header;
        let caller = Caller { connection, header };
        let work = |errand: Errand, target| async move { errand.keys(&target).await };
        let list = self.ask(caller, "ReadKeys", device, work).await?;
        Ok(list.keys.iter().map(ToString::to_string).collect())
    }

    #[zbus(out_args("reservation"))]
    async fn read_reservation(
        &self,
        device: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<BTreeMap<&'static str, Variant<'static>>, Error> {
        let header = &header;
        let caller = Caller { connection, header };
        let work = |errand: Errand, target| async move { errand.reservation(&target).await };
        let data = self.ask(caller, "ReadReservation", device, work).await?;
        let held = data.reservation;
        let kind = held.and_then(|held| held.scope_type.kind());
        Ok(BTreeMap::from([
            ("generation", Variant::from(data.generation)),
            ("held", Variant::from(held.is_some())),
            (
                "key",
                Variant::from(held.map_or_else(String::new, |held| held.key.to_string())),
            ),
            (
                "type",
                Variant::from(kind.map_or("", ReservationType::short_name)),
            ),
        ]))
    }

    async fn register(
        &self,
        device: &str,
        key: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        let verb = Verb::Register(present_key(key)?);
        self.change(verb, device, connection, &header).await
    }

    async fn unregister(
        &self,
        device: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        self.change(Verb::Unregister, device, connection, &header)
            .await
    }

    async fn reserve(
        &self,
        device: &str,
        r#type: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        let verb = Verb::Reserve(reservation_type(r#type)?);
        self.change(verb, device, connection, &header).await
    }

    async fn release(
        &self,
        device: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        self.change(Verb::Release, device, connection, &header)
            .await
    }

    async fn preempt(
        &self,
        device: &str,
        victim: &str,
        r#type: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        let verb = Verb::Preempt(present_key(victim)?, reservation_type(r#type)?);
        self.change(verb, device, connection, &header).await
    }

    async fn clear(
        &self,
        device: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        self.change(Verb::Clear, device, connection, &header).await
    }

    #[zbus(out_args("steps"))]
    async fn plan(
        &self,
        device: &str,
        verb: &str,
        mut options: Given,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<BTreeMap<&'static str, Variant<'static>>>, Error> {
        let verb = Verb::named(verb, &mut options)?;
        let change = Change::new(verb, options)?;
        let header = &header;
        let caller = Caller { connection, header };
        let work = |errand: Errand, target| async move {
            let deed = errand.deed(&target, &change).await?;
            Ok(errand.steps(&target, &deed, true).await)
        };
        let steps = self.ask(caller, "Plan", device, work).await?;
        Ok(steps.iter().map(job::row).collect())
    }

    async fn rescan(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        let header = &header;
        let caller = Caller { connection, header };
        caller.may(Action::Refresh, "Rescan", "").await?;
        self.desk.rescan().await
    }

    async fn reload(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        let header = &header;
        let caller = Caller { connection, header };
        caller.may(Action::Configure, "Reload", "").await?;
        self.desk.reload().await
    }

    #[zbus(out_args("json"))]
    fn report(&self, options: HashMap<String, OwnedVariant>) -> Result<String, Error> {
        let scope = report::Scope::parse(options)?;
        Ok(report::report(&self.desk, scope))
    }

    #[zbus(signal)]
    pub(super) async fn device_state_changed(
        emitter: &SignalEmitter<'_>,
        device: ObjectPath<'_>,
        wwid: &str,
        old: &str,
        new: &str,
        reason: &str,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn config_reloaded(
        emitter: &SignalEmitter<'_>,
        generation: u32,
        ok: bool,
        error: &str,
    ) -> zbus::Result<()>;
}
