//! A LUN with hosts and paths.

use super::path::{Executed, Shared, SimPath, lock};
use super::unit::{Config, LogicalUnit};
use crate::scsi::pr::NexusId;
use crate::scsi::{ReservationKey, ReservationType, TransportId};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// The SAS addresses of the initiator ports start here: hosts count in steps of
/// 65536, paths in steps of one.
const FIRST_ADDRESS: u64 = 0x5001_4050_0000_0000;

/// A simulated LUN. Path `n` of a host is its initiator port `n` with the
/// target ports of the unit in turn.
#[derive(Debug)]
pub struct SimLun {
    wwid: String,
    shared: Arc<Mutex<Shared>>,
    hosts: Mutex<Vec<Host>>,
}

#[derive(Debug)]
struct Host {
    name: String,
    paths: Vec<Arc<SimPath>>,
}

/// A registration, by the names of the fabric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The host with this initiator port, if it has one.
    pub host: Option<String>,
    /// The path that is this nexus. `None` where no path is: ALL_TG_PT and
    /// REGISTER AND MOVE reach those too.
    pub path: Option<usize>,
    /// The nexus itself.
    pub nexus: NexusId,
    /// Its key.
    pub key: ReservationKey,
}

impl SimLun {
    /// A LUN with the hosts `host-a` and `host-b`, two paths each.
    pub fn new(wwid: &str) -> Arc<Self> {
        let lun = Self::with_config(Config::new(wwid));
        lun.add_host("host-a", 2);
        lun.add_host("host-b", 2);
        lun
    }

    /// A LUN without hosts.
    pub fn with_config(config: Config) -> Arc<Self> {
        Arc::new(SimLun {
            wwid: config.wwid.clone(),
            shared: Arc::new(Mutex::new(Shared {
                unit: LogicalUnit::new(config),
                log: VecDeque::new(),
            })),
            hosts: Mutex::default(),
        })
    }

    /// Its name.
    pub fn wwid(&self) -> &str {
        &self.wwid
    }

    /// Adds paths to a host, and the host where it is new. Returns the new ones.
    pub fn add_host(&self, name: &str, paths: usize) -> Vec<Arc<SimPath>> {
        let mut hosts = lock(&self.hosts);
        let number = match hosts.iter().position(|host| host.name == name) {
            Some(number) => number,
            None => {
                hosts.push(Host {
                    name: name.to_owned(),
                    paths: Vec::new(),
                });
                hosts.len() - 1
            }
        };
        let host = &mut hosts[number];
        let first = host.paths.len();
        for index in first..first + paths {
            let address = FIRST_ADDRESS + ((number as u64 + 1) << 16) + index as u64;
            host.paths.push(self.connect(name, index, address));
        }
        host.paths[first..].to_vec()
    }

    fn connect(&self, host: &str, index: usize, address: u64) -> Arc<SimPath> {
        let mut shared = lock(&self.shared);
        let ports = &shared.unit.config().target_ports;
        let nexus = NexusId {
            transport_id: TransportId::sas(address),
            relative_target_port: ports.iter().copied().cycle().nth(index).unwrap_or(1),
        };
        shared.unit.attach(&nexus);
        Arc::new(SimPath::new(host, index, nexus, Arc::clone(&self.shared)))
    }

    /// The names of the hosts, in the order they were added.
    pub fn hosts(&self) -> Vec<String> {
        let hosts = lock(&self.hosts);
        hosts.iter().map(|host| host.name.clone()).collect()
    }

    /// The paths of a host; none for a host that is not there.
    pub fn paths(&self, host: &str) -> Vec<Arc<SimPath>> {
        let hosts = lock(&self.hosts);
        let own = hosts.iter().filter(|known| known.name == host);
        own.flat_map(|host| host.paths.clone()).collect()
    }

    /// One path of a host.
    pub fn path(&self, host: &str, index: usize) -> Option<Arc<SimPath>> {
        self.paths(host).get(index).cloned()
    }

    /// The key of each path of a host.
    pub fn keys(&self, host: &str) -> Vec<Option<ReservationKey>> {
        let paths = self.paths(host);
        let shared = lock(&self.shared);
        let state = shared.unit.reservations();
        paths
            .iter()
            .map(|path| state.key_of(path.nexus()))
            .collect()
    }

    /// Every registration, oldest first.
    pub fn registrations(&self) -> Vec<Registered> {
        let rows = lock(&self.shared).unit.reservations().registrations.clone();
        let hosts = lock(&self.hosts);
        let name = |nexus: &NexusId| {
            let port = |path: &Arc<SimPath>| path.nexus().transport_id == nexus.transport_id;
            let host = hosts.iter().find(|host| host.paths.iter().any(port))?;
            let path = host.paths.iter().position(|path| path.nexus() == nexus);
            Some((host.name.clone(), path))
        };
        rows.into_iter()
            .map(|row| {
                let (host, path) = name(&row.nexus).unzip();
                Registered {
                    host,
                    path: path.flatten(),
                    nexus: row.nexus,
                    key: row.key,
                }
            })
            .collect()
    }

    /// Those that hold the reservation: one registration, or all of them.
    pub fn holders(&self) -> Vec<Registered> {
        let state = lock(&self.shared).unit.reservations().clone();
        let mut rows = self.registrations();
        rows.retain(|row| state.is_holder(&row.nexus));
        rows
    }

    /// The single holder; `None` also where every registrant holds.
    pub fn holder(&self) -> Option<Registered> {
        match self.reservation() {
            Some(kind) if !kind.is_all_registrants() => self.holders().pop(),
            _ => None,
        }
    }

    /// The type of the reservation that is held.
    pub fn reservation(&self) -> Option<ReservationType> {
        let shared = lock(&self.shared);
        shared.unit.reservations().held.as_ref().map(|h| h.kind)
    }

    /// PRGENERATION.
    pub fn generation(&self) -> u32 {
        lock(&self.shared).unit.reservations().generation
    }

    /// APTPL.
    pub fn aptpl(&self) -> bool {
        lock(&self.shared).unit.reservations().aptpl
    }

    /// Power loss and power on.
    pub fn power_cycle(&self) {
        lock(&self.shared).unit.power_cycle();
    }

    /// The commands the unit executed for all paths, oldest first; the last few
    /// thousand are kept.
    pub fn log(&self) -> Vec<Executed> {
        lock(&self.shared).log.iter().cloned().collect()
    }

    /// Empties the log.
    pub fn clear_log(&self) {
        lock(&self.shared).log.clear();
    }
}
