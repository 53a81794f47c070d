//! A real QEMU, without a guest, in front of the daemon and its front-end: this
//! process puts SCSI commands into the virtqueue, plays systemd, and has the logical
//! units, so that it can tell what was executed and what was answered.

mod frontend;
mod guest;
mod host;
mod manager;
mod qemu;
mod restarts;
#[path = "../shim/mod.rs"]
mod shim;
mod target;

use guest::Guest;
use reservd::scsi::pr::{KeyList, RegisterFlags};
use reservd::scsi::{Cdb, OutAction, Outcome, PrOut, ReservationKey};

/// REGISTER AND IGNORE EXISTING KEY: executed whatever is registered, so that each
/// one counts.
fn register_command(key: u64) -> (Cdb, Vec<u8>) {
    let flags = RegisterFlags::default();
    let mut command = PrOut::register(ReservationKey::ZERO, ReservationKey(key), flags);
    command.action = OutAction::RegisterAndIgnore;
    command.encode()
}

fn register(guest: &mut Guest, key: u64) -> Outcome {
    let (cdb, parameters) = register_command(key);
    guest.submit(cdb.as_device_bytes(), &parameters, 0);
    guest.complete(0, guest::PATIENCE)
}

fn read_keys(guest: &mut Guest) -> Outcome {
    guest.submit_read();
    guest.complete_read(guest::PATIENCE)
}

fn keys(outcome: &Outcome) -> Vec<u64> {
    assert!(outcome.is_good(), "{outcome}");
    let list = KeyList::parse(&outcome.data).expect("a list of keys");
    list.keys.iter().map(|key| key.0).collect()
}
