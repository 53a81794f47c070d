//! Takes what callers ask for to the units, on the runtime of the service:
//! commands of a client like any other.

use super::error::{Error, good};
use crate::device::identity::DeviceNumber;
use crate::lun::history::Entry;
use crate::lun::registry::{LunKey, Registry, Target};
use crate::lun::route::Route;
use crate::lun::unit::Write;
use crate::multipathd::Multipathd;
use crate::scsi::pr::{Capabilities, KeyList, RegisterFlags, ReservationData};
use crate::scsi::{InAction, OutAction, PrIn, PrOut, ReservationKey, ScopeType, SenseCode};
use crate::server::Service;
use crate::server::clients::Clients;
use nix::libc::O_NONBLOCK;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

/// Callers hear the end of a command within this: `busctl` waits for 25 s.
const DEADLINE: Duration = Duration::from_secs(20);
/// Commands at a time.
const ERRANDS: usize = 16;
/// A unit attention is met this often before an answer to a question.
const ATTENTIONS: usize = 5;

/// Somebody wants the configuration read again, and to hear whether it was.
pub type Reload = oneshot::Sender<Result<(), String>>;

/// What became of the configuration since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloads {
    /// How many configurations have been in use, with the first.
    pub generation: u32,
    /// Why the last one that was read is not in use.
    pub error: Option<String>,
}

impl Default for Reloads {
    fn default() -> Self {
        Reloads {
            generation: 1,
            error: None,
        }
    }
}

impl Reloads {
    /// It was read once more, and taken or not.
    pub fn add(&mut self, result: &Result<(), String>) {
        self.error = result.as_ref().err().cloned();
        self.generation += u32::from(result.is_ok());
    }
}

/// What the objects on the bus know of the daemon.
#[derive(Debug)]
pub struct Desk {
    service: Arc<Service>,
    main: Handle,
    reload: mpsc::Sender<Reload>,
    permits: Arc<Semaphore>,
    /// Where the configuration is; empty for nowhere.
    pub config: PathBuf,
    /// Units are simulated.
    pub simulated: bool,
    /// There is an object for each path.
    pub export_paths: bool,
    /// What became of the configuration.
    pub reloads: watch::Receiver<Reloads>,
    /// multipathd, if it is asked anything.
    pub multipathd: Option<Arc<Multipathd>>,
}

impl Desk {
    /// For this service; to be called on its runtime.
    pub fn new(
        service: Arc<Service>,
        config: PathBuf,
        simulated: bool,
        reload: mpsc::Sender<Reload>,
    ) -> Self {
        Desk {
            service,
            main: Handle::current(),
            reload,
            permits: Arc::new(Semaphore::new(ERRANDS)),
            config,
            simulated,
            export_paths: true,
            reloads: watch::channel(Reloads::default()).1,
            multipathd: None,
        }
    }

    /// Who is connected to the helper's sockets.
    pub fn clients(&self) -> &Clients {
        &self.service.clients
    }

    /// The last events of a unit, oldest first.
    pub fn history(&self, unit: &LunKey) -> Vec<Entry> {
        let lun = self.registry().unit(unit);
        lun.map_or_else(Vec::new, |lun| lun.history().since(0))
    }

    /// Finds out which multipathd it is, once it has been talked to.
    pub async fn meet_multipathd(&self) {
        let Some(multipathd) = self.multipathd.clone() else {
            return;
        };
        if multipathd.is_unmet() {
            let meeting = self.main.spawn(async move { multipathd.meet().await });
            // The service may be about to end.
            let _ = meeting.await;
        }
    }

    /// The units.
    pub fn registry(&self) -> &Registry {
        &self.service.registry
    }

    /// Has the configuration read again.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn reload(&self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let stopping = || Error::Aborted("reservd is stopping".into());
        self.reload.send(reply).await.map_err(|_| stopping())?;
        let result = answer.await.map_err(|_| stopping())?;
        result.map_err(Error::ConfigInvalid)
    }

    /// Has every unit looked at, wherever its paths are now.
    pub async fn rescan(&self) -> Result<(), Error> {
        self.run(|errand| async move {
            errand.service.registry.walk();
            Ok(())
        })
        .await
    }

    /// Does this on the service's runtime, as one of a bounded number.
    ///
    /// # Errors
    /// [`Error::Busy`], and those of the work.
    pub async fn run<T, F>(&self, work: impl FnOnce(Errand) -> F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            let text = format!("{ERRANDS} commands are running already");
            return Err(Error::Busy(text));
        };
        let work = work(Errand {
            service: Arc::clone(&self.service),
            until: Instant::now() + DEADLINE,
        });
        let task = self.main.spawn(async move {
            let result = work.await;
            drop(permit);
            result
        });
        task.await
            .unwrap_or_else(|_| Err(Error::Aborted("reservd is stopping".into())))
    }
}

/// One caller's business with a unit.
#[derive(Debug)]
pub struct Errand {
    service: Arc<Service>,
    until: Instant,
}

impl Errand {
    /// The device of this name: a file, a WWID, a map by name or number, or a
    /// disk by kernel name or number.
    ///
    /// # Errors
    /// [`Error::NoSuchDevice`], or [`Error::Timeout`] where it cannot be opened
    /// in time.
    pub async fn resolve(&self, text: &str) -> Result<Target, Error> {
        let (service, name) = (Arc::clone(&self.service), text.to_owned());
        let opening = spawn_blocking(move || open(&service.registry, &name));
        let file = match timeout_at(self.until, opening).await {
            Ok(Ok(file)) => {
                file.map_err(|error| Error::NoSuchDevice(format!("{text}: {error}")))?
            }
            Ok(Err(_)) => return Err(Error::Aborted("reservd is stopping".into())),
            Err(_) => return Err(Error::Timeout(format!("{text}: cannot be opened"))),
        };
        Ok(self.service.registry.resolve(file.into())?)
    }

    /// As [`Errand::resolve`], for a change: only maps are changed from here.
    ///
    /// # Errors
    /// Those, and [`Error::NotSupported`] for a single path.
    pub async fn map(&self, text: &str) -> Result<Target, Error> {
        let target = self.resolve(text).await?;
        match target.route {
            Route::Multipath(..) => Ok(target),
            Route::Single(..) => Err(Error::NotSupported(format!(
                "{text} is a single path, whose registration reservd does not keep; use reservctl pr"
            ))),
        }
    }

    /// Registers this key, from none.
    ///
    /// # Errors
    /// What the unit says to it.
    pub async fn register(&self, target: &Target, key: ReservationKey) -> Result<(), Error> {
        let flags = self.flags(target).await;
        let command = PrOut::register(ReservationKey::ZERO, key, flags);
        self.write(target, command).await
    }

    /// Removes the key that this host has.
    ///
    /// # Errors
    /// [`Error::NotRegistered`], or what the unit says to it.
    pub async fn unregister(&self, target: &Target) -> Result<(), Error> {
        let key = own_key(target)?;
        let flags = self.flags(target).await;
        let command = PrOut::register(key, ReservationKey::ZERO, flags);
        self.write(target, command).await
    }

    /// Gives up the reservation, if there is one.
    ///
    /// # Errors
    /// [`Error::NotRegistered`], or what the unit says to it.
    pub async fn release(&self, target: &Target) -> Result<(), Error> {
        let held = self.reservation(target).await?.reservation;
        match held {
            Some(held) => {
                let none = ReservationKey::ZERO;
                self.with_own_key(target, OutAction::Release, held.scope_type, none)
                    .await
            }
            None => own_key(target).map(drop),
        }
    }

    /// Sends a command in the name of the key that this host has.
    ///
    /// # Errors
    /// [`Error::NotRegistered`], or what the unit says to it.
    pub async fn with_own_key(
        &self,
        target: &Target,
        action: OutAction,
        scope_type: ScopeType,
        victim: ReservationKey,
    ) -> Result<(), Error> {
        let key = own_key(target)?;
        let command = PrOut::basic(action, scope_type, key, victim);
        self.write(target, command).await
    }

    /// The keys that are registered now.
    ///
    /// # Errors
    /// What the unit says instead.
    pub async fn keys(&self, target: &Target) -> Result<KeyList, Error> {
        const SOME: u16 = 8192;
        let parse = |data: Vec<u8>| KeyList::parse(&data).map_err(malformed);
        let list = parse(self.read(target, InAction::ReadKeys, SOME).await?)?;
        match list.keys.len() * 8 < list.additional_length as usize {
            true => parse(self.read(target, InAction::ReadKeys, u16::MAX).await?),
            false => Ok(list),
        }
    }

    /// The reservation as it is now.
    ///
    /// # Errors
    /// What the unit says instead.
    pub async fn reservation(&self, target: &Target) -> Result<ReservationData, Error> {
        let length = ReservationData::LENGTH;
        let data = self.read(target, InAction::ReadReservation, length).await?;
        ReservationData::parse(&data).map_err(malformed)
    }

    /// The unit's APTPL stays as it is: without the bit, a REGISTER switches it
    /// off for every host.
    async fn flags(&self, target: &Target) -> RegisterFlags {
        let length = Capabilities::LENGTH;
        let data = self
            .read(target, InAction::ReportCapabilities, length)
            .await;
        let capabilities = data.ok().and_then(|data| Capabilities::parse(&data).ok());
        RegisterFlags {
            aptpl: capabilities.is_some_and(|known| known.persist_active),
            ..RegisterFlags::default()
        }
    }

    async fn read(
        &self,
        target: &Target,
        action: InAction,
        allocation_length: u16,
    ) -> Result<Vec<u8>, Error> {
        let command = PrIn {
            action,
            allocation_length,
        };
        let (lun, route) = (&target.lun, &target.route);
        let mut outcome = lun.read(route, command, self.until).await;
        for _ in 0..ATTENTIONS {
            let attention = outcome.sense_code();
            if !attention.is_some_and(SenseCode::is_unit_attention) {
                break;
            }
            outcome = lun.read(route, command, self.until).await;
        }
        good(outcome)
    }

    async fn write(&self, target: &Target, command: PrOut) -> Result<(), Error> {
        let (cdb, parameters) = command.encode();
        let write = Write {
            command,
            cdb,
            parameters,
        };
        let (lun, route) = (&target.lun, target.route.clone());
        good(lun.write(route, write, self.until).await).map(drop)
    }
}

fn own_key(target: &Target) -> Result<ReservationKey, Error> {
    let key = target.lun.registered_key();
    key.ok_or_else(|| {
        let text = format!("{}: no key of this host is registered", target.name);
        Error::NotRegistered(text)
    })
}

fn malformed(error: impl std::fmt::Display) -> Error {
    Error::Malformed(error.to_string())
}

/// Opens the node of a device, without asking the device for anything.
fn open(registry: &Registry, text: &str) -> io::Result<File> {
    let path = match (registry.map_named(text), DeviceNumber::parse(text)) {
        (Some(map), _) => Path::new("/dev/mapper").join(map.name),
        (None, Some(number)) => PathBuf::from(format!("/dev/block/{number}")),
        (None, None) => Path::new("/dev").join(text),
    };
    OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(path)
}
