//! Takes what callers ask for to the units, on the runtime of the service:
//! commands of a client like any other.

use super::errand::Errand;
use super::error::Error;
use crate::lun::history::Entry;
use crate::lun::registry::{LunKey, Registry, Target};
use crate::multipathd::Multipathd;
use crate::server::Service;
use crate::server::clients::Clients;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

/// Callers hear the end of a command within this: `busctl` waits for 25 s.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);
/// Commands at a time.
const ERRANDS: usize = 16;
/// Jobs at a time, with those that are kept after their end.
const JOBS: usize = 512;

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
    /// Places for jobs, and how many there have been.
    places: Arc<Semaphore>,
    jobs: AtomicU64,
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
            places: Arc::new(Semaphore::new(JOBS)),
            jobs: AtomicU64::new(0),
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

    /// The unit behind a resolved device.
    pub fn key_of(&self, target: &Target) -> Option<LunKey> {
        let units = self.registry().units().into_iter();
        let mut same = units.filter(|(_, lun)| Arc::ptr_eq(lun, &target.lun));
        same.next().map(|(key, _)| key)
    }

    /// A number that no job has had, and a place for it.
    ///
    /// # Errors
    /// [`Error::Busy`].
    pub fn open_job(&self) -> Result<(u64, OwnedSemaphorePermit), Error> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| Error::Busy(format!("there are {JOBS} jobs already")))?;
        Ok((self.jobs.fetch_add(1, Ordering::Relaxed) + 1, place))
    }

    /// Does this on the service's runtime, as one of a bounded number, and in
    /// the time that callers have.
    ///
    /// # Errors
    /// [`Error::Busy`], and those of the work.
    pub async fn run<T, F>(&self, work: impl FnOnce(Errand) -> F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        self.run_until(Instant::now() + DEADLINE, work).await
    }

    /// As [`Desk::run`], with until when commands may take.
    ///
    /// # Errors
    /// Those.
    pub async fn run_until<T, F>(
        &self,
        until: Instant,
        work: impl FnOnce(Errand) -> F,
    ) -> Result<T, Error>
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
            until,
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
