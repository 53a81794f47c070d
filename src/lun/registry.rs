//! Every logical unit in use, found by the descriptor a client sends.

use super::actor::Lun;
use super::guard::Terms;
use super::route::{FixedPaths, Route, Source};
use super::state::PathId;
use crate::device::Nexus;
use crate::device::identity::{DeviceNumber, Identity, Kind, Refusal, SysFs, Wwid};
use crate::device::sg::SgNexus;
use crate::engine::mpathpersist::Engines;
use crate::sys::file::disk_sequence;
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A disk for as long as it exists: its number and the kernel's sequence number.
type DiskKey = (DeviceNumber, u64);
/// A file of the simulator: device and inode.
type FileKey = (u64, u64);

/// A unit as one host sees it; only simulated hosts have names.
type LunKey = (Wwid, String);

/// A client's device, resolved.
#[derive(Debug, Clone)]
pub struct Target {
    /// The logical unit.
    pub lun: Arc<Lun>,
    /// The device's name, for people.
    pub name: Arc<str>,
    /// The nexuses it stands for.
    pub route: Route,
}

/// What the simulator puts behind a file.
#[derive(Debug, Clone)]
pub struct Simulated {
    /// The simulated unit.
    pub wwid: Wwid,
    /// The simulated host. Each is one that knows only its own registrations,
    /// as if it had a daemon of its own.
    pub host: String,
    /// The file's name.
    pub name: String,
    /// One path, or all of a host's.
    pub paths: FixedPaths,
}

/// All logical units. Shared by the sessions; locks are held for look-ups only.
#[derive(Debug, Default)]
pub struct Registry {
    sysfs: SysFs,
    luns: Mutex<HashMap<LunKey, Arc<Lun>>>,
    disks: Mutex<HashMap<DiskKey, Arc<Identity>>>,
    simulated: HashMap<FileKey, Simulated>,
    engines: Arc<Engines>,
    terms: Option<Terms>,
}

impl Registry {
    /// With devices found below this sysfs.
    pub fn new(sysfs: SysFs) -> Self {
        Registry {
            sysfs,
            ..Default::default()
        }
    }

    /// With these engines for multipath maps; without any, direct.
    pub fn set_engines(&mut self, engines: Arc<Engines>) {
        self.engines = engines;
    }

    /// The engines for multipath maps.
    pub fn engines(&self) -> &Engines {
        &self.engines
    }

    /// Tells multipathd of registrations on maps. Without it, it is left alone.
    pub fn coordinate(&mut self, terms: Terms) {
        self.terms = Some(terms);
    }

    /// Lets this file stand for simulated paths.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub fn add_simulated(
        &mut self,
        file: &std::fs::File,
        simulated: Simulated,
    ) -> std::io::Result<()> {
        let metadata = file.metadata()?;
        self.simulated
            .insert((metadata.dev(), metadata.ino()), simulated);
        Ok(())
    }

    /// Finds the unit and the nexuses behind a descriptor.
    ///
    /// # Errors
    /// [`Refusal`] for what is not served.
    pub fn resolve(&self, device: OwnedFd) -> Result<Target, Refusal> {
        if let Some(simulated) = self.simulated(&device) {
            return Ok(self.simulated_target(simulated, device));
        }
        let identity = self.identify(&device)?;
        let route = match &identity.kind {
            Kind::Scsi(hctl) => Route::Single(PathId(hctl.clone()), Arc::new(SgNexus::new(device))),
            Kind::Multipath(number) => {
                Route::Multipath(Source::Map(self.sysfs.clone(), *number), Arc::new(device))
            }
        };
        Ok(Target {
            lun: self.lun(&identity.wwid, ""),
            name: Arc::from(identity.name.as_str()),
            route,
        })
    }

    fn identify(&self, device: &OwnedFd) -> Result<Arc<Identity>, Refusal> {
        let key = DeviceNumber::of_block(device.as_fd()).zip(disk_sequence(device.as_fd()).ok());
        if let Some(known) = key.and_then(|key| lock(&self.disks).get(&key).cloned()) {
            return Ok(known);
        }
        let identity = Arc::new(self.sysfs.identify(device.as_fd())?);
        if let Some(key) = key {
            let mut disks = lock(&self.disks);
            // Earlier disks with this number are gone for good.
            disks.retain(|(number, _), _| *number != key.0);
            disks.insert(key, Arc::clone(&identity));
        }
        Ok(identity)
    }

    fn simulated(&self, device: &OwnedFd) -> Option<&Simulated> {
        if self.simulated.is_empty() {
            return None;
        }
        let stat = nix::sys::stat::fstat(device).ok()?;
        self.simulated.get(&(stat.st_dev, stat.st_ino))
    }

    fn simulated_target(&self, simulated: &Simulated, device: OwnedFd) -> Target {
        let route = match &simulated.paths[..] {
            [(id, nexus)] => Route::Single(id.clone(), Arc::clone(nexus) as Arc<dyn Nexus>),
            _ => {
                let source = Source::Fixed {
                    name: simulated.name.clone(),
                    paths: Arc::clone(&simulated.paths),
                    map: None,
                };
                Route::Multipath(source, Arc::new(device))
            }
        };
        Target {
            lun: self.lun(&simulated.wwid, &simulated.host),
            name: Arc::from(simulated.name.as_str()),
            route,
        }
    }

    fn lun(&self, wwid: &Wwid, host: &str) -> Arc<Lun> {
        let mut luns = lock(&self.luns);
        let start = || {
            let engines = Arc::clone(&self.engines);
            Arc::new(Lun::start(wwid.clone(), engines, self.terms.clone()))
        };
        let lun = luns.entry((wwid.clone(), host.to_owned()));
        Arc::clone(lun.or_insert_with(start))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
