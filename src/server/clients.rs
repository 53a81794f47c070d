//! Who is connected, and what they do.

use super::origin::Origin;
use crate::lun::registry::{LunKey, Registry, Target};
use crate::lun::unit::Lun;
use crate::scsi::{Cdb, Outcome, SenseCode, Status};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::sync::{Notify, watch};

/// A connection to a helper socket.
#[derive(Debug)]
pub struct Client {
    /// Its number, from 1; none is used again.
    pub number: u64,
    /// Its process when it connected; 0 where the kernel does not say.
    pub pid: u32,
    /// That process's user.
    pub uid: u32,
    /// What that process was to the service manager.
    pub origin: Origin,
    /// The socket it came by.
    pub socket: String,
    /// Since when it is there.
    pub connected: SystemTime,
    commands: AtomicU64,
    conflicts: AtomicU64,
    last: Mutex<Option<Last>>,
    units: Mutex<BTreeSet<LunKey>>,
    end: Notify,
}

/// What a client did last.
#[derive(Debug, Clone)]
struct Last {
    cdb: Cdb,
    device: Arc<str>,
    status: Status,
    code: Option<SenseCode>,
}

/// Where a connection comes from.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// Its process; 0 where that is unknown.
    pub pid: u32,
    /// That process's user.
    pub uid: u32,
    /// The socket it came by.
    pub socket: String,
    /// The virtual machine it says it is, through a relay; else empty.
    pub machine: String,
}

impl Client {
    /// Requests answered so far.
    pub fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    /// How many of them ended in RESERVATION CONFLICT.
    pub fn conflicts(&self) -> u64 {
        self.conflicts.load(Ordering::Relaxed)
    }

    /// The last request and how it ended, in words; empty before the first.
    pub fn last_command(&self) -> String {
        match &*lock(&self.last) {
            Some(Last {
                cdb,
                device,
                status,
                code,
            }) => {
                let outcome = code.map_or_else(|| Outcome::status(*status), Outcome::check);
                format!("{cdb} on {device}: {outcome}")
            }
            None => String::new(),
        }
    }

    /// The units it has sent commands to.
    pub fn units(&self) -> Vec<LunKey> {
        lock(&self.units).iter().cloned().collect()
    }

    /// Ends the connection once the request in hand is answered.
    pub fn disconnect(&self) {
        self.end.notify_one();
    }

    /// Waits until somebody wants the connection to end.
    pub(super) async fn ended(&self) {
        self.end.notified().await;
    }

    fn answered(&self, cdb: Cdb, device: Option<Arc<str>>, outcome: &Outcome) {
        self.commands.fetch_add(1, Ordering::Relaxed);
        if outcome.status == Status::ReservationConflict {
            self.conflicts.fetch_add(1, Ordering::Relaxed);
        }
        *lock(&self.last) = Some(Last {
            cdb,
            device: device.unwrap_or_else(|| Arc::from("a device that is not served")),
            status: outcome.status,
            code: outcome.sense_code(),
        });
    }
}

/// All connections.
#[derive(Debug, Default)]
pub struct Clients {
    connected: Mutex<Connected>,
    /// Moves on when one comes or goes, or uses a unit for the first time.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Connected {
    last: u64,
    all: BTreeMap<u64, Arc<Client>>,
    by_unit: HashMap<LunKey, BTreeSet<u64>>,
    /// Units whose clients are others than when this was last asked for.
    touched: HashSet<LunKey>,
}

impl Clients {
    /// Everybody, by number.
    pub fn all(&self) -> Vec<Arc<Client>> {
        lock(&self.connected).all.values().cloned().collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        lock(&self.connected).all.len()
    }

    /// The numbers of those that have used this unit.
    pub fn of_unit(&self, unit: &LunKey) -> Vec<u64> {
        let connected = lock(&self.connected);
        let numbers = connected.by_unit.get(unit).into_iter().flatten();
        numbers.copied().collect()
    }

    /// Moves on with every change that those three show.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The units whose clients changed since the last call.
    pub fn take_touched(&self) -> HashSet<LunKey> {
        std::mem::take(&mut lock(&self.connected).touched)
    }

    /// Somebody has connected; they are there until this is dropped.
    pub(super) fn welcome(&self, peer: Peer) -> Attended<'_> {
        let Peer {
            pid,
            uid,
            socket,
            machine,
        } = peer;
        let mut origin = match pid {
            0 => Origin::default(),
            pid => Origin::of(pid),
        };
        if !machine.is_empty() {
            origin.machine = machine;
        }
        let mut connected = lock(&self.connected);
        connected.last += 1;
        let client = Arc::new(Client {
            number: connected.last,
            pid,
            uid,
            origin,
            socket,
            connected: SystemTime::now(),
            commands: AtomicU64::default(),
            conflicts: AtomicU64::default(),
            last: Mutex::default(),
            units: Mutex::default(),
            end: Notify::new(),
        });
        connected.all.insert(client.number, Arc::clone(&client));
        drop(connected);
        self.changed();
        Attended {
            clients: self,
            client,
            known: Mutex::default(),
        }
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}

/// A client as its session has it.
#[derive(Debug)]
pub(super) struct Attended<'a> {
    clients: &'a Clients,
    pub(super) client: Arc<Client>,
    /// The units it is known to use; as long as they are here, no other has
    /// their place in memory.
    known: Mutex<HashMap<usize, Arc<Lun>>>,
}

impl Attended<'_> {
    /// A request was answered; it went to this target, if to any.
    pub(super) fn answered(
        &self,
        registry: &Registry,
        cdb: Cdb,
        target: Option<Target>,
        outcome: &Outcome,
    ) {
        let device = target.as_ref().map(|target| Arc::clone(&target.name));
        self.client.answered(cdb, device, outcome);
        if let Some(target) = target {
            self.uses(registry, &target.lun);
        }
    }

    fn uses(&self, registry: &Registry, lun: &Arc<Lun>) {
        let place = Arc::as_ptr(lun) as usize;
        if lock(&self.known).insert(place, Arc::clone(lun)).is_some() {
            return;
        }
        let Some(unit) = registry.key_of(lun) else {
            return;
        };
        lock(&self.client.units).insert(unit.clone());
        let mut connected = lock(&self.clients.connected);
        let users = connected.by_unit.entry(unit.clone()).or_default();
        users.insert(self.client.number);
        connected.touched.insert(unit);
        drop(connected);
        self.clients.changed();
    }
}

impl Drop for Attended<'_> {
    fn drop(&mut self) {
        let number = self.client.number;
        let mut connected = lock(&self.clients.connected);
        let connected_now = &mut *connected;
        connected_now.all.remove(&number);
        for unit in lock(&self.client.units).iter() {
            if let Some(users) = connected_now.by_unit.get_mut(unit) {
                users.remove(&number);
                if users.is_empty() {
                    connected_now.by_unit.remove(unit);
                }
            }
            connected_now.touched.insert(unit.clone());
        }
        drop(connected);
        self.clients.changed();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
