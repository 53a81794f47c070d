//! The one place that knows all parts: start order, signals, reload, shutdown.

pub mod helper;

use crate::activation::Passed;
use crate::config::{Config, Engine, Files, Simulator};
use crate::dbus::{self, Bus, Desk, Reload, Reloads};
use crate::device::identity::SysFs;
use crate::engine::mpathpersist::{self, Engines, Launch};
use crate::journal::{Journal, Keeper};
use crate::lun::guard::Terms;
use crate::lun::registry::Registry;
use crate::multipathd::Multipathd;
use crate::server::Service;
use crate::server::store::Store;
use crate::simulation::Simulation;
use crate::vacancy;
use crate::watch::monitor::Monitor;
use nix::unistd::geteuid;
use sd_notify::NotifyState;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// The service manager hears this often that the event loop runs. It also keeps
/// the next timer near, so that the later ones of commands need not wake it: an
/// interval no longer than the shortest of those saves a system call each.
const HEARTBEAT: Duration = crate::engine::read::HEDGE;
/// Units are asked for a sign of life this often.
const PULSE: Duration = Duration::from_secs(5);
/// A unit may be busy for a deadline and so much more before the service manager
/// has to believe that the daemon hangs.
const BUSY: Duration = Duration::from_secs(30);
/// Helpers that serve by themselves have this long to give way. Their commands end
/// within their deadline; what takes longer is no longer run by anybody.
const HANDOVER: Duration = Duration::from_secs(20);
/// After the last command ended, the process does not wait for hung ioctls.
const DRAIN: Duration = Duration::from_millis(100);

/// The program that workers are started from: this one, even if its file was
/// replaced meanwhile.
const OURSELVES: &str = "/proc/self/exe";

/// What a daemon is started with.
#[derive(Debug)]
pub struct Setup {
    /// Its settings.
    pub config: Config,
    /// Where to read them again on SIGHUP.
    pub files: Option<Files>,
    /// Where to keep what has to outlive the process; `None` for nowhere.
    pub journal: Option<PathBuf>,
    /// Sockets for QEMU and for relays, and what an earlier process has left.
    pub passed: Passed,
    /// Where relays find it. The path must be there already.
    pub control: Option<PathBuf>,
    /// The bus to be on, if any.
    pub bus: Option<Bus>,
    /// Talk to the service manager.
    pub notify: bool,
}

/// Serves until SIGTERM or SIGINT; then ends what is in flight. A second one
/// ends the process at once.
///
/// # Errors
/// What keeps it from starting.
pub fn run(setup: Setup) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(serve(setup));
    runtime.shutdown_timeout(DRAIN);
    result
}

async fn serve(setup: Setup) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;

    let tell = |states: &[NotifyState<'_>]| {
        if setup.notify {
            // Without a service manager there is nobody to tell.
            let _ = sd_notify::notify(states);
        }
    };
    if let Some(control) = &setup.control {
        tell(&[NotifyState::Status("waiting for helpers to give way")]);
        await_vacancy(control).await;
    }
    let Passed { listeners, kept } = setup.passed;
    let keeps = setup.notify && std::env::var_os("NOTIFY_SOCKET").is_some();
    let store = keeps.then(Store::default);
    let kept = match &store {
        Some(store) => store.take_up(kept),
        None => Vec::new(),
    };
    let Assembled {
        service,
        multipathd,
        simulation: _simulation,
    } = assemble(&setup.config, setup.journal.as_deref(), store).await?;
    let (stop, stopping) = watch::channel(false);
    let mut servers = tokio::task::JoinSet::new();
    if !kept.is_empty() {
        tracing::info!(clients = kept.len(), "taken over from the process before");
    }
    servers.spawn(Arc::clone(&service).resume(kept, stopping.clone()));
    for (listener, door) in listeners {
        let listener = tokio::net::UnixListener::from_std(listener)?;
        servers.spawn(Arc::clone(&service).serve_door(listener, door, stopping.clone()));
    }
    let watching = tokio::spawn(listen(Arc::clone(&service)));
    let (ask, mut asked) = mpsc::channel(1);
    let reloads = watch::Sender::new(Reloads::default());
    if let Some(bus) = setup.bus {
        let path = setup.files.as_ref().map(|files| files.main().to_owned());
        let simulated = setup.config.simulator.is_some();
        let mut desk = Desk::new(
            Arc::clone(&service),
            path.unwrap_or_default(),
            simulated,
            ask,
        );
        desk.export_paths = setup.config.dbus.export_paths;
        desk.reloads = reloads.subscribe();
        desk.multipathd = Some(multipathd);
        if let Err(error) = dbus::start(bus, desk, stopping) {
            tracing::error!(%error, "not on the bus: no thread for it");
        }
    }
    tell(&[NotifyState::Ready, NotifyState::Status(&status(&service))]);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");

    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    let mut pulse = tokio::time::interval(PULSE);
    let mut alive = true;
    loop {
        tokio::select! {
            _ = heartbeat.tick() => if alive {
                tell(&[NotifyState::Watchdog]);
            },
            _ = pulse.tick() => {
                alive = is_alive(&service, alive);
                tell(&[NotifyState::Status(&status(&service))]);
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                if let Ok(now) = NotifyState::monotonic_usec_now() {
                    tell(&[NotifyState::Reloading, now]);
                }
                let result = reload(setup.files.as_ref(), &setup.config, &service).await;
                reloads.send_modify(|reloads| reloads.add(&result));
                tell(&[NotifyState::Ready]);
            }
            Some(reply) = asked.recv() => {
                let reply: Reload = reply;
                let result = reload(setup.files.as_ref(), &setup.config, &service).await;
                reloads.send_modify(|reloads| reloads.add(&result));
                // Whoever asked may have left.
                let _ = reply.send(result);
            }
        }
    }
    tell(&[NotifyState::Stopping]);
    watching.abort();
    tracing::info!("stopping; commands in flight are finished first");
    // Nobody else holds the receiver when all servers have ended already.
    let _ = stop.send(true);
    tokio::select! {
        () = async { while servers.join_next().await.is_some() {} } => {}
        _ = terminate.recv() => tracing::warn!("stopped at once"),
        _ = interrupt.recv() => tracing::warn!("stopped at once"),
    }
    Ok(())
}

/// A service, and what it works with.
struct Assembled {
    service: Arc<Service>,
    multipathd: Arc<Multipathd>,
    /// Has to live as long.
    simulation: Option<Simulation>,
}

/// Puts a service together.
async fn assemble(
    config: &Config,
    journal: Option<&Path>,
    store: Option<Store>,
) -> io::Result<Assembled> {
    let mut registry = Registry::new(sysfs());
    let simulation = match &config.simulator {
        Some(simulator) => Some(simulate(simulator, &mut registry)?),
        None => None,
    };
    let engines = Engines::new(Launch::new(OURSELVES), None);
    establish(&engines, config).await;
    registry.set_engines(Arc::new(engines));
    let multipathd = Arc::new(Multipathd::default());
    registry.coordinate(Terms::new(
        Arc::clone(&multipathd),
        config.defaults.multipathd,
    ));
    registry.configure(config.clone());
    if let Some(folder) = journal {
        take_up(folder, &mut registry);
    }
    registry.walk();
    let (deadline, clients) = (config.commands.deadline, config.helper.max_connections);
    let mut service = Service::new(registry, deadline, clients);
    if let Some(store) = store {
        service.keep_in(store);
    }
    Ok(Assembled {
        service: Arc::new(service),
        multipathd,
        simulation,
    })
}

/// Waits until no helper serves by itself.
async fn await_vacancy(control: &Path) {
    match vacancy::wait(control, HANDOVER).await {
        Ok(true) => {}
        Ok(false) => tracing::error!("a helper that serves by itself does not give way"),
        Err(error) => tracing::error!(%error, "helpers may serve by themselves beside us"),
    }
}

/// What the service manager shows.
fn status(service: &Service) -> String {
    let (clients, units) = (service.clients.count(), service.registry.units().len());
    format!("serving {clients} connections, {units} logical units in use")
}

/// True while every unit's actor turns. An actor that does not is as good as a
/// daemon that does not: only a new one helps.
fn is_alive(service: &Service, before: bool) -> bool {
    let limit = service.deadline() + BUSY;
    match service.registry.slowest(Instant::now()) {
        Some((wwid, age)) if age > limit => {
            if before {
                tracing::error!(%wwid, "a unit hangs: the service manager is to start us again");
            }
            false
        }
        _ => true,
    }
}

/// Opens the journal, and goes on with what it has. Without it everything works
/// but that a restart forgets.
fn take_up(folder: &Path, registry: &mut Registry) {
    let opened = Journal::open(folder).and_then(|mut journal| {
        let (records, damaged) = journal.load_all()?;
        Ok((Keeper::start(journal)?, records, damaged))
    });
    match opened {
        Ok((keeper, records, damaged)) => {
            for file in damaged {
                tracing::error!(file = %file.file.display(), reason = %file.reason,
                    "a record of the journal cannot be used: that unit is forgotten");
            }
            registry.remember(keeper);
            registry.restore(records);
        }
        Err(error) => tracing::error!(folder = %folder.display(), %error,
            "no journal: a restart will forget which registrations are ours"),
    }
}

/// Hears of paths that come and go, for as long as the service runs.
async fn listen(service: Arc<Service>) {
    let mut monitor = Monitor::start();
    loop {
        let batch = monitor.next().await;
        service.registry.heard(&batch);
    }
}

/// Takes over what the files say now, or nothing of it if any of them is wrong.
/// Some settings need a restart.
async fn reload(files: Option<&Files>, started: &Config, service: &Service) -> Result<(), String> {
    let Some(files) = files else {
        tracing::info!("nothing to reload: no configuration file in use");
        return Ok(());
    };
    match files.load() {
        Ok(config) => {
            for setting in config.held_up(started) {
                tracing::warn!(setting, "changed; takes effect at the next start");
            }
            service.set_deadline(config.commands.deadline);
            establish(service.registry.engines(), &config).await;
            service.registry.configure(config);
            tracing::info!(path = %files.main().display(), "configuration reloaded");
            Ok(())
        }
        Err(error) => {
            tracing::error!(%error, "configuration not reloaded; the old one stays");
            Err(error.to_string())
        }
    }
}

/// Looks for libmpathpersist where a setting asks for it.
async fn establish(engines: &Engines, config: &Config) {
    let settings: Vec<Engine> = config.engines().collect();
    if settings.iter().all(|setting| *setting == Engine::Direct) {
        return engines.set_library(None);
    }
    let found = match geteuid().is_root() {
        // multipathd takes keys from root only.
        false => Err("reservd does not run as root".into()),
        true => mpathpersist::probe(engines.launch()).await,
    };
    match &found {
        Ok(probe) => {
            let version = probe.effective_version();
            tracing::info!(%version, "libmpathpersist is there");
        }
        Err(reason) if settings.contains(&Engine::Mpathpersist) => {
            tracing::error!(
                reason,
                "libmpathpersist cannot be used: where engine is \"mpathpersist\", \
                changes of reservations on multipath maps are refused"
            );
        }
        Err(reason) => tracing::info!(reason, "libmpathpersist cannot be used; direct"),
    }
    engines.set_library(found.ok().map(|probe| probe.effective_version()));
}

/// The kernel's sysfs, or one that a test or a container puts elsewhere.
fn sysfs() -> SysFs {
    match std::env::var_os("RESERVD_SYSFS_ROOT") {
        Some(root) => SysFs::new(root),
        None => SysFs::default(),
    }
}

fn simulate(simulator: &Simulator, registry: &mut Registry) -> io::Result<Simulation> {
    tracing::warn!(directory = %simulator.directory.display(), "simulating logical units");
    Simulation::start(simulator, registry)
}
