//! A logical unit that outlives the daemon: the simulator in this process answers
//! what the shim in the daemon sends over a socket. A command whose sender is
//! killed is executed all the same, as on a real disk.

use reservd::device::sim::{Config, SimLun, SimPath};
use reservd::device::{Nexus, Transfer};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How often each service action key was registered, whatever became of the answer.
type Registrations = Arc<Mutex<HashMap<u64, u32>>>;

/// One disk, on one path.
#[derive(Clone)]
pub struct Disk {
    pub lun: Arc<SimLun>,
    pub path: Arc<SimPath>,
    registrations: Registrations,
}

impl Disk {
    fn new(wwid: &str) -> Disk {
        let lun = SimLun::with_config(Config::new(wwid));
        let path = lun.add_host("host", 1).remove(0);
        Disk {
            lun,
            path,
            registrations: Arc::default(),
        }
    }

    /// How often a REGISTER of this key was executed.
    pub fn registered(&self, key: u64) -> u32 {
        let registrations = self.registrations.lock().expect("registrations");
        registrations.get(&key).copied().unwrap_or(0)
    }

    /// How many REGISTERs were executed.
    pub fn registers(&self) -> u32 {
        let registrations = self.registrations.lock().expect("registrations");
        registrations.values().sum()
    }
}

/// Disks by the number of their device, 8:N.
pub struct Target {
    disks: Arc<HashMap<u32, Disk>>,
}

impl Target {
    /// Listens at `socket` for commands to the disks with these numbers.
    pub fn start(socket: &Path, numbers: &[u32]) -> Target {
        let disks: HashMap<u32, Disk> = numbers
            .iter()
            .map(|number| (*number, Disk::new(&wwid(*number))))
            .collect();
        let disks = Arc::new(disks);
        let listener = UnixListener::bind(socket).expect("a socket for the target");
        let serving = Arc::clone(&disks);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, disks) = (stream.expect("a connection"), Arc::clone(&serving));
                // A sender that is killed takes no answer.
                thread::spawn(move || answer(stream, &disks).ok());
            }
        });
        Target { disks }
    }

    pub fn disk(&self, number: u32) -> &Disk {
        &self.disks[&number]
    }
}

/// The name of the disk with this number.
pub fn wwid(number: u32) -> String {
    format!("naa.6001405{number:025x}")
}

/// `struct question` of shim.c, its `struct answer`, and data after both.
fn answer(mut stream: UnixStream, disks: &HashMap<u32, Disk>) -> io::Result<()> {
    let mut question = [0; 36];
    stream.read_exact(&mut question)?;
    let word = |at: usize| u32::from_ne_bytes(question[at..at + 4].try_into().expect("4 bytes"));
    let (minor, incoming, length) = (word(4), word(8) != 0, word(12) as usize);
    let cdb = &question[20..30];
    let mut data = vec![0; if incoming { 0 } else { length }];
    stream.read_exact(&mut data)?;
    let disk = &disks[&minor];
    let transfer = match (incoming, length) {
        (true, _) => Transfer::In(length),
        (false, 0) => Transfer::None,
        (false, _) => Transfer::Out(&data),
    };
    let before = disk.path.executed();
    let result = disk.path.execute(cdb, transfer, Duration::from_secs(3600));
    if !incoming && cdb[1] & 0x1f == 6 && disk.path.executed() > before {
        let key = u64::from_be_bytes(data[8..16].try_into().expect("8 bytes"));
        let mut registrations = disk.registrations.lock().expect("registrations");
        *registrations.entry(key).or_default() += 1;
    }
    let mut reply = Vec::new();
    let mut put = |word: u32| reply.extend_from_slice(&word.to_ne_bytes());
    match &result {
        Ok(outcome) => {
            put(0);
            put(0);
            put(u8::from(outcome.status).into());
            put(if outcome.sense.is_some() { 18 } else { 0 });
            put(outcome.data.len() as u32);
            match &outcome.sense {
                Some(sense) => reply.extend_from_slice(sense.bytes()),
                None => reply.extend_from_slice(&[0; 96]),
            }
            reply.extend_from_slice(&outcome.data);
        }
        // DID_TIME_OUT
        Err(_) => {
            put(3);
            reply.resize(20 + 96, 0);
        }
    }
    stream.write_all(&reply)
}
