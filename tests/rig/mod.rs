//! A whole service in this process: simulated units, a socket in a temporary
//! folder, and clients that speak the helper protocol over it.

// Each test program uses a part of this.
#![allow(dead_code, unused_imports)]

mod client;

pub use client::{Client, End, read_keys, sense};

use reservd::config::{Config, SimulatedLun, Simulator};
use reservd::device::identity::SysFs;
use reservd::device::sim::{SimLun, SimPath};
use reservd::engine::mpathpersist::Engines;
use reservd::lun::registry::Registry;
use reservd::server::Service;
use reservd::simulation::Simulation;
use reservd::socket::BoundSocket;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::watch;

/// Longer than anything healthy takes, shorter than anybody's patience.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The bounds of a service.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub deadline: Duration,
    pub half_request: Duration,
    pub connections: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            deadline: PATIENCE,
            half_request: PATIENCE,
            connections: 1024,
        }
    }
}

/// A running service. It has the units `lun0` and `lun1`, each with `host-a`
/// and `host-b` of two paths.
pub struct Rig {
    folder: TempDir,
    luns: Vec<Arc<SimLun>>,
    stop: watch::Sender<bool>,
    ended: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Rig {
    pub fn start(bounds: Bounds) -> Rig {
        Self::start_with(bounds, Arc::default(), Config::default())
    }

    /// With these engines for multipath maps, and this configuration of units.
    pub fn start_with(bounds: Bounds, engines: Arc<Engines>, config: Config) -> Rig {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let unit = |number| SimulatedLun {
            name: format!("lun{number}"),
            wwid: format!("3600140500000000000000000000000a{number}"),
            hosts: vec!["host-a".into(), "host-b".into()],
            paths: 2,
        };
        let simulator = Simulator {
            directory: folder.path().to_owned(),
            lun: vec![unit(0), unit(1)],
        };
        let mut registry = Registry::new(SysFs::new(folder.path().join("no-sysfs")));
        registry.set_engines(engines);
        registry.configure(config);
        let simulation = Simulation::start(&simulator, &mut registry).expect("simulated units");
        let mut service = Service::new(registry, bounds.deadline, bounds.connections);
        service.half_request = bounds.half_request;
        let socket = BoundSocket::bind(&folder.path().join("socket"), None).expect("a socket");

        let (stop, stopping) = watch::channel(false);
        let (end, ended) = mpsc::channel();
        let luns = simulation.luns.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = socket.listener.try_clone().expect("a listener");
                let listener = tokio::net::UnixListener::from_std(listener).expect("a listener");
                Arc::new(service).serve(listener, stopping).await;
            });
            // The test may be gone by now.
            let _ = end.send(());
            runtime.shutdown_timeout(Duration::from_millis(100));
            drop((socket, simulation));
        });
        Rig {
            folder,
            luns,
            stop,
            ended,
            thread: Some(thread),
        }
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// A client past the handshake.
    pub fn client(&self) -> Client {
        Client::ready(&self.socket())
    }

    /// Opens a simulated device: `lun0/host-a` is a map, `lun0/host-a.0` a path.
    pub fn device(&self, name: &str) -> File {
        File::options()
            .read(true)
            .write(true)
            .open(self.folder.path().join(name))
            .expect("a simulated device")
    }

    /// The simulated unit with this number.
    pub fn lun(&self, number: usize) -> &Arc<SimLun> {
        &self.luns[number]
    }

    /// A path of `host-a`.
    pub fn path(&self, lun: usize, path: usize) -> Arc<SimPath> {
        self.luns[lun].path("host-a", path).expect("a path")
    }

    /// Asks it to end.
    pub fn stop(&self) {
        self.stop.send(true).expect("a running service");
    }

    /// True once it has ended, if that is in time.
    pub fn ends_within(&self, patience: Duration) -> bool {
        self.ended.recv_timeout(patience).is_ok()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.stop.send(true);
        for lun in &self.luns {
            for path in lun.hosts().iter().flat_map(|host| lun.paths(host)) {
                path.set_fault(reservd::device::sim::Fault::Up);
            }
        }
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "service panicked"
            );
        }
    }
}

/// Waits until `condition` holds; fails when it does not in time.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
