//! Every logical unit in use, found by the descriptor a client sends.

use super::guard::Terms;
use super::route::{FixedPaths, Route, Source};
use super::state::PathId;
use super::state::record::Record;
use super::unit::{Lun, Means};
use crate::config::{self, Config, Coordination, KeySource};
use crate::device::Nexus;
use crate::device::identity::{DeviceNumber, Identity, Kind, Refusal, SysFs, Wwid};
use crate::device::maps::Map;
use crate::device::sg::SgNexus;
use crate::engine::mpathpersist::Engines;
use crate::journal::{Boot, Keeper, Loaded};
use crate::owner::Hosts;
use crate::sys::file::disk_sequence;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A disk for as long as it exists: its number and the kernel's sequence number.
type DiskKey = (DeviceNumber, u64);
/// A file of the simulator: device and inode.
type FileKey = (u64, u64);

/// A unit as one host sees it; only simulated hosts have names.
pub type LunKey = (Wwid, String);

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
    /// The file itself.
    pub file: PathBuf,
}

/// All logical units. Shared by the sessions; locks are held for look-ups only.
#[derive(Debug, Default)]
pub struct Registry {
    pub(super) sysfs: SysFs,
    pub(super) units: Mutex<Units>,
    disks: Mutex<HashMap<DiskKey, Arc<Identity>>>,
    pub(super) simulated: HashMap<FileKey, Simulated>,
    engines: Arc<Engines>,
    terms: Option<Terms>,
    keeper: Option<Arc<Keeper>>,
    /// How many units there are; those who watch them hear of a new one.
    count: watch::Sender<usize>,
}

/// The units in use, and what is configured for all.
#[derive(Debug, Default)]
pub(super) struct Units {
    config: Config,
    pub(super) luns: HashMap<LunKey, Entry>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) lun: Arc<Lun>,
    /// The map that clients last used it by; its name selects settings too.
    map: Option<DeviceNumber>,
    settings: watch::Sender<config::Unit>,
    /// Does not change while the unit is in use.
    coordination: Coordination,
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

    /// Takes this configuration for the commands to come. What multipathd is told
    /// of units in use stays as it is.
    pub fn configure(&self, config: Config) {
        let mut units = lock(&self.units);
        let units = &mut *units;
        units.config = config;
        for ((wwid, _), entry) in &mut units.luns {
            let settings = self.settings(&units.config, wwid, entry.map);
            if settings.multipathd != entry.coordination {
                tracing::warn!(%wwid, "a new setting of multipathd takes effect at the next start");
            }
            entry.settings.send_replace(settings);
        }
    }

    /// What is configured for a unit, by its WWID and the present name of its map.
    fn settings(&self, config: &Config, wwid: &Wwid, map: Option<DeviceNumber>) -> config::Unit {
        let alias = map.and_then(|map| self.sysfs.alias(map, wwid));
        config.unit(wwid.as_str(), alias.as_deref())
    }

    /// Tells multipathd of registrations on maps, as the configuration says for
    /// each unit. Without it, it is left alone.
    pub fn coordinate(&mut self, terms: Terms) {
        self.terms = Some(terms);
    }

    /// Keeps what has to outlive this process.
    pub fn remember(&mut self, keeper: Keeper) {
        self.keeper = Some(Arc::new(keeper));
    }

    /// Goes on where the journal ends: units with a registration of ours, or with
    /// a key that is to go, are looked after from the start.
    pub fn restore(&self, records: Vec<Loaded<Record>>) {
        let mut units = lock(&self.units);
        let Units { config, luns } = &mut *units;
        for Loaded { wwid, record, boot } in records {
            let wwid = Wwid::new(wwid);
            let map = self.map_of(&wwid).map(|map| map.number);
            let settings = self.settings(config, &wwid, map);
            let same_boot = boot == Boot::Same;
            tracing::info!(%wwid, same_boot, registration = ?record.registration.as_ref()
                .map(|made| made.key), "taken up from the journal");
            let entry = self.start((&wwid, ""), map, settings, record, same_boot);
            luns.insert((wwid, String::new()), entry);
        }
    }

    /// The units in use. They stay as long as the registry does.
    pub fn units(&self) -> Vec<(LunKey, Arc<Lun>)> {
        let units = lock(&self.units);
        let entries = units.luns.iter();
        entries
            .map(|(key, entry)| (key.clone(), Arc::clone(&entry.lun)))
            .collect()
    }

    /// The unit that is known by this, if it is in use.
    pub fn unit(&self, key: &LunKey) -> Option<Arc<Lun>> {
        let units = lock(&self.units);
        let entry = units.luns.get(key)?;
        Some(Arc::clone(&entry.lun))
    }

    /// What this unit is known by.
    pub fn key_of(&self, lun: &Arc<Lun>) -> Option<LunKey> {
        let units = lock(&self.units);
        let mut entries = units.luns.iter();
        let (key, _) = entries.find(|(_, entry)| Arc::ptr_eq(&entry.lun, lun))?;
        Some(key.clone())
    }

    /// Whose keys are whose, as the configuration says.
    pub fn hosts(&self) -> Arc<Hosts> {
        Arc::clone(&lock(&self.units).config.hosts)
    }

    /// Asks every actor for a sign of life; returns the one that has owed it for
    /// longest, and for how long.
    pub fn slowest(&self, now: Instant) -> Option<(Wwid, Duration)> {
        let units = lock(&self.units);
        let ages = units.luns.values().map(|entry| {
            let lun = &entry.lun;
            (lun.wwid().clone(), lun.pulse(now))
        });
        ages.max_by_key(|(_, age)| *age)
    }

    /// Their number, as it grows. It may be a moment ahead of [`Registry::units`],
    /// which waits for the lock under which it grows.
    pub fn count(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
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
        let map = match identity.kind {
            Kind::Multipath(number) => Some(number),
            Kind::Scsi(_) => None,
        };
        let route = match &identity.kind {
            Kind::Scsi(hctl) => Route::Single(PathId(hctl.clone()), Arc::new(SgNexus::new(device))),
            Kind::Multipath(number) => {
                Route::Multipath(Source::Map(self.sysfs.clone(), *number), Arc::new(device))
            }
        };
        Ok(Target {
            lun: self.lun(&identity.wwid, "", map),
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
            lun: self.lun(&simulated.wwid, &simulated.host, None),
            name: Arc::from(simulated.name.as_str()),
            route,
        }
    }

    fn lun(&self, wwid: &Wwid, host: &str, map: Option<DeviceNumber>) -> Arc<Lun> {
        let mut units = lock(&self.units);
        let Units { config, luns } = &mut *units;
        match luns.entry((wwid.clone(), host.to_owned())) {
            Slot::Occupied(mut known) => {
                let known = known.get_mut();
                if map.is_some() && known.map != map {
                    known.map = map;
                    known
                        .settings
                        .send_replace(self.settings(config, wwid, map));
                }
                Arc::clone(&known.lun)
            }
            Slot::Vacant(slot) => {
                let settings = self.settings(config, wwid, map);
                let entry = self.start((wwid, host), map, settings, Record::default(), true);
                Arc::clone(&slot.insert(entry).lun)
            }
        }
    }

    /// A unit with a key in the configuration is looked after from the start.
    pub(super) fn take_up_configured(&self, map: &Map) {
        let fixed = {
            let units = lock(&self.units);
            let settings = units.config.unit(map.wwid.as_str(), Some(&map.name));
            settings.reservation_key != KeySource::File
        };
        if fixed {
            self.lun(&map.wwid, "", Some(map.number));
        }
    }

    fn start(
        &self,
        (wwid, host): (&Wwid, &str),
        map: Option<DeviceNumber>,
        settings: config::Unit,
        record: Record,
        same_boot: bool,
    ) -> Entry {
        let coordination = settings.multipathd;
        let terms = self.terms.clone().map(|terms| Terms {
            coordination,
            ..terms
        });
        let terms = terms.filter(|_| coordination != Coordination::Exclusive);
        let (settings, receiver) = watch::channel(settings);
        let means = Means {
            engines: Arc::clone(&self.engines),
            terms,
            settings: receiver,
            // Simulated units end with us.
            keeper: self.keeper.clone().filter(|_| host.is_empty()),
            source: map.map(|map| Source::Map(self.sysfs.clone(), map)),
            sysfs: self.sysfs.clone(),
            record,
            same_boot,
        };
        self.count.send_modify(|count| *count += 1);
        Entry {
            lun: Arc::new(Lun::start(wwid.clone(), means)),
            map,
            settings,
            coordination,
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    const WWID: &str = "36001405aaaa";
    const MAP: DeviceNumber = DeviceNumber {
        major: 253,
        minor: 0,
    };

    fn name_map(root: &Path, name: &str) {
        let folder = root.join("block/dm-0/dm");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("uuid"), format!("mpath-{WWID}\n")).unwrap();
        fs::write(folder.join("name"), format!("{name}\n")).unwrap();
    }

    fn keys(registry: &Registry) -> Vec<String> {
        let units = lock(&registry.units);
        let settings = units.luns.values().map(|entry| entry.settings.borrow());
        settings
            .map(|settings| settings.reservation_key.to_string())
            .collect()
    }

    #[tokio::test]
    async fn the_name_of_a_map_selects_settings_as_it_is_known_and_changes() {
        let sysfs = tempfile::tempdir().unwrap();
        name_map(sysfs.path(), "mpatha");
        fs::create_dir_all(sysfs.path().join("dev/block")).unwrap();
        let link = sysfs.path().join("dev/block/253:0");
        symlink(sysfs.path().join("block/dm-0"), link).unwrap();
        let config = Config::parse(
            "[[multipath]]\nalias = \"mpatha\"\nreservation_key = \"0xa1\"\n\
             [[multipath]]\nalias = \"mpathb\"\nreservation_key = \"0xb1\"\n",
        )
        .unwrap();
        let registry = Registry::new(SysFs::new(sysfs.path()));
        registry.configure(config.clone());
        let wwid = Wwid::new(WWID);
        let by_path = registry.lun(&wwid, "", None);
        assert_eq!(keys(&registry), ["file"]);
        let by_map = registry.lun(&wwid, "", Some(MAP));
        assert!(Arc::ptr_eq(&by_path, &by_map));
        assert_eq!(keys(&registry), ["0xa1"]);
        registry.lun(&wwid, "", None);
        assert_eq!(keys(&registry), ["0xa1"]);

        name_map(sysfs.path(), "mpathb");
        registry.configure(config);
        assert_eq!(keys(&registry), ["0xb1"]);
        registry.configure(Config::default());
        assert_eq!(keys(&registry), ["file"]);
    }
}
