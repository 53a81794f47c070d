//! What the service runs on.

use reservd::device::Nexus;
use reservd::device::identity::{SysFs, Wwid};
use reservd::device::sim::{Fault, SimLun, SimPath};
use reservd::lun::registry::{Registry, Simulated};
use reservd::lun::route::FixedPaths;
use reservd::server::Service;
use reservd::simulation::path_id;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const WWID: &str = "3600140500000000000000000000000a0";
/// `O_PATH`: a name without a right to anything.
const O_PATH: i32 = 0o10_000_000;

/// What stays from run to run.
pub struct Host {
    pub runtime: Runtime,
    pub devices: Devices,
}

/// What a client may pass, and whether the service may say GOOD for it.
pub struct Devices {
    folder: TempDir,
    map: File,
    path: File,
    pub all: [(File, Permission); 6],
}

/// What a descriptor is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    Everything,
    Reading,
    Nothing,
}

impl Host {
    pub fn start() -> Host {
        Host {
            runtime: Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime"),
            devices: Devices::create(),
        }
    }
}

impl Devices {
    fn create() -> Devices {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let create = |name| {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            let path = folder.path().join(name);
            (options.open(&path).expect("a file"), path)
        };
        let (map, map_name) = create("map");
        let (path, path_name) = create("path");
        let read = |name| File::open(name).expect("a file");
        let name_only = File::options()
            .read(true)
            .custom_flags(O_PATH)
            .open(&map_name);
        let all = [
            (map.try_clone().expect("a file"), Permission::Everything),
            (path.try_clone().expect("a file"), Permission::Everything),
            (read(&map_name), Permission::Reading),
            (read(&path_name), Permission::Reading),
            (name_only.expect("a file"), Permission::Nothing),
            (read(&"/dev/null".into()), Permission::Nothing),
        ];
        Devices {
            folder,
            map,
            path,
            all,
        }
    }
}

/// What one run has for itself.
pub struct World {
    pub service: Service,
    paths: Vec<Arc<SimPath>>,
}

impl World {
    pub fn new(devices: &Devices) -> World {
        let lun = SimLun::new(WWID);
        let paths = lun.paths("host-a");
        let fixed: FixedPaths = paths
            .iter()
            .map(|path| (path_id(path), Arc::clone(path) as Arc<dyn Nexus>))
            .collect();
        let mut registry = Registry::new(SysFs::new("/nonexistent"));
        let one: FixedPaths = Arc::from([fixed[0].clone()]);
        for (file, name, paths) in [(&devices.map, "map", fixed), (&devices.path, "path", one)] {
            let simulated = Simulated {
                wwid: Wwid::new(WWID),
                host: "host-a".into(),
                name: name.into(),
                file: devices.folder.path().join(name),
                paths,
            };
            registry.add_simulated(file, simulated).expect("a file");
        }
        World {
            service: Service::new(registry, Duration::from_secs(10), 1),
            paths,
        }
    }

    /// What the next commands on a path meet, by two bits each.
    pub fn set_faults(&self, path: usize, bits: u8) {
        self.paths[path].script((0..4).map(|shift| match bits >> (2 * shift) & 3 {
            0 => Fault::Up,
            1 => Fault::Down,
            2 => Fault::Lost,
            _ => Fault::Swallowed,
        }));
    }
}
