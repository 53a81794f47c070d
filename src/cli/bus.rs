//! reservd on the bus, as one who asks it. It is not started for that.

use super::failure::Failure;
use super::view::history::Event;
use super::view::job::Job;
use super::view::properties::{Mistake, Properties};
use super::view::{Host, Interfaces};
use crate::dbus::{Bus, DEVICE, NAME, ROOT};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;
use zbus::proxy::MethodFlags;
use zbus::{Connection, DynamicType, Message, OwnedObjectPath, OwnedVariant, Proxy, Variant};

/// Whoever does not answer within this is not there.
const PATIENCE: Duration = Duration::from_secs(10);
/// A change, with the time in which somebody is asked for a password: reservd
/// answers within 20 s and 60 s.
const LONG_PATIENCE: Duration = Duration::from_secs(90);
const FDO: &str = "org.freedesktop.DBus";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// The manager's interface.
pub const MANAGER: &str = "org.reservd1.Manager";
const JOB: &str = "org.reservd1.Job";

/// reservd.
#[derive(Debug)]
pub struct Daemon {
    connection: Connection,
}

/// A method of a unit that changes it.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its name, such as `Register`.
    pub method: &'static str,
    /// Its arguments before the options, two at most.
    pub arguments: Vec<String>,
    /// Its options.
    pub options: HashMap<&'static str, Variant<'static>>,
}

/// Does this with reservd, if it is there.
///
/// # Errors
/// [`Failure::Bus`], [`Failure::Runtime`], and those of the work.
pub fn run<T>(work: impl AsyncFnOnce(Daemon) -> Result<T, Failure>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    runtime.block_on(async { work(Daemon::connect().await?).await })
}

impl Daemon {
    async fn connect() -> Result<Self, Failure> {
        let bus = Bus::from_environment();
        let builder = bus.builder().method_timeout(LONG_PATIENCE);
        let connection = in_time(async { builder.build().await.map_err(failure) }).await?;
        let daemon = Daemon { connection };
        match daemon.is_there().await? {
            true => Ok(daemon),
            false => Err(Failure::Bus(format!(
                "{NAME} is not on the bus: reservd does not run, or has no bus"
            ))),
        }
    }

    /// The connection, to hear signals by.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// True while reservd is on the bus.
    ///
    /// # Errors
    /// [`Failure::Bus`]
    pub async fn is_there(&self) -> Result<bool, Failure> {
        let call = self.connection.call_method(
            Some(FDO),
            "/org/freedesktop/DBus",
            Some(FDO),
            "NameHasOwner",
            &NAME,
        );
        let reply = in_time(async { call.await.map_err(failure) }).await?;
        reply.body().deserialize().map_err(failure)
    }

    /// All that it shows.
    ///
    /// # Errors
    /// [`Failure::Bus`]
    pub async fn host(&self) -> Result<Host, Failure> {
        type Objects = HashMap<OwnedObjectPath, HashMap<String, HashMap<String, OwnedVariant>>>;
        let manager = self.properties(ROOT, MANAGER).await?;
        let interface = "org.freedesktop.DBus.ObjectManager";
        let reply = self.ask(ROOT, interface, "GetManagedObjects", &()).await?;
        let objects: Objects = reply.body().deserialize().map_err(failure)?;
        let plain = |interfaces: HashMap<String, HashMap<String, OwnedVariant>>| -> Interfaces {
            let each = interfaces.into_iter();
            each.map(|(name, properties)| (name, Properties(properties)))
                .collect()
        };
        let objects = objects
            .into_iter()
            .map(|(path, interfaces)| (path.to_string(), plain(interfaces)));
        Host::read(manager, objects.collect()).map_err(mistake)
    }

    /// The object of a unit with this name.
    ///
    /// # Errors
    /// [`Failure::Refused`], [`Failure::Bus`]
    pub async fn find(&self, device: &str) -> Result<String, Failure> {
        let name = spelt(device);
        let reply = self
            .ask(ROOT, MANAGER, "FindDevice", &name.as_str())
            .await?;
        let path: OwnedObjectPath = reply.body().deserialize().map_err(failure)?;
        Ok(path.to_string())
    }

    /// The newest events of a unit, newest first.
    ///
    /// # Errors
    /// [`Failure::Refused`], [`Failure::Bus`]
    pub async fn history(&self, object: &str, limit: u32) -> Result<Vec<Event>, Failure> {
        let reply = self.ask(object, DEVICE, "History", &limit).await?;
        let rows: Vec<HashMap<String, OwnedVariant>> =
            reply.body().deserialize().map_err(failure)?;
        let events = rows.into_iter().map(|row| Event::read(Properties(row)));
        events.collect::<Result<_, _>>().map_err(mistake)
    }

    /// Has a unit changed, and waits for that. Where `interactive`, polkit may ask
    /// for a password.
    ///
    /// # Errors
    /// [`Failure::Refused`], [`Failure::Bus`]
    pub async fn change(
        &self,
        object: &str,
        call: &Call,
        interactive: bool,
    ) -> Result<Job, Failure> {
        let proxy = Proxy::new(&self.connection, NAME, object, DEVICE)
            .await
            .map_err(failure)?;
        let flags = match interactive {
            true => MethodFlags::ALLOW_INTERACTIVE_AUTH,
            false => MethodFlags::empty(),
        };
        let options = &call.options;
        let (method, body) = (call.method, &call.arguments[..]);
        let job: Option<OwnedObjectPath> = match body {
            [] => proxy.call_with_flags(method, flags, options).await,
            [one] => proxy.call_with_flags(method, flags, &(one, options)).await,
            [one, two, ..] => {
                let body = (one, two, options);
                proxy.call_with_flags(method, flags, &body).await
            }
        }
        .map_err(failure)?;
        let object = job.map(|job| job.to_string()).unwrap_or_default();
        let properties = self.properties(&object, JOB).await?;
        Job::read(&object, properties).map_err(mistake)
    }

    /// Has a unit read, and waits for that.
    ///
    /// # Errors
    /// [`Failure::Refused`], [`Failure::Bus`]
    pub async fn refresh(&self, object: &str) -> Result<(), Failure> {
        let options: HashMap<&str, Variant<'_>> = HashMap::new();
        self.ask(object, DEVICE, "Refresh", &options)
            .await
            .map(drop)
    }

    async fn properties(&self, object: &str, interface: &str) -> Result<Properties, Failure> {
        let reply = self.ask(object, PROPERTIES, "GetAll", &interface).await?;
        reply.body().deserialize().map(Properties).map_err(failure)
    }

    async fn ask<B>(
        &self,
        object: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<Message, Failure>
    where
        B: serde::Serialize + DynamicType,
    {
        let call = self
            .connection
            .call_method(Some(NAME), object, Some(interface), method, body);
        // These ask a device, which takes reservd up to 20 s.
        let patience = match method {
            "FindDevice" | "Refresh" => LONG_PATIENCE,
            _ => PATIENCE,
        };
        match timeout(patience, call).await {
            Ok(result) => result.map_err(failure),
            Err(_) => Err(Failure::Bus("no answer in time".into())),
        }
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match timeout(PATIENCE, work).await {
        Ok(result) => result,
        Err(_) => Err(Failure::Bus("no answer in time".into())),
    }
}

/// The daemon has another current directory.
fn spelt(device: &str) -> String {
    let is_file = device.contains('/') && !device.starts_with('/');
    let absolute = is_file
        .then(|| std::path::absolute(Path::new(device)).ok())
        .flatten();
    absolute
        .and_then(|path| path.into_os_string().into_string().ok())
        .unwrap_or_else(|| device.to_owned())
}

fn mistake(mistake: Mistake) -> Failure {
    Failure::Bus(mistake.to_string())
}

/// reservd's own errors have their names.
pub fn failure(error: zbus::Error) -> Failure {
    let zbus::Error::MethodError(name, text, _) = &error else {
        return Failure::Bus(error.to_string());
    };
    let text = text.clone().unwrap_or_default();
    match name.as_str().strip_prefix("org.reservd1.Error.") {
        Some(name) => Failure::Refused {
            name: name.to_owned(),
            text,
        },
        None if name.ends_with(".UnknownMethod") => {
            Failure::Bus(format!("reservd is older than reservctl: {text}"))
        }
        None if text.is_empty() => Failure::Bus(name.to_string()),
        None => Failure::Bus(text),
    }
}
