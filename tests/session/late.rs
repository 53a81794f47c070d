//! Registrations that take effect after everybody had given up on them.

use crate::rig::{Bounds, Rig, eventually};
use reservd::device::sim::{Fault, SimPath, Stuck};
use reservd::device::{Nexus, Transfer};
use reservd::scsi::pr::RegisterFlags;
use reservd::scsi::{OutAction, PrOut, ReservationKey, ScopeType};
use std::time::Duration;

const A1: ReservationKey = ReservationKey(0xa1);
const A2: ReservationKey = ReservationKey(0xa2);

fn register(from: ReservationKey, to: ReservationKey) -> PrOut {
    PrOut::register(from, to, RegisterFlags::default())
}

fn rig() -> Rig {
    Rig::start(Bounds {
        deadline: Duration::from_millis(600),
        ..Bounds::default()
    })
}

#[test]
fn a_late_register_is_undone_once_the_client_has_unregistered() {
    let rig = rig();
    let map = rig.device("lun0/host-a");
    let (hung, mut client) = (rig.path(0, 0), rig.client());
    hung.script([Fault::Up, Fault::Hang(Stuck::Before)]);
    let reply = client.out(&register(ReservationKey::ZERO, A1), &map);
    assert!(reply.expect("a reply").is_good(), "the other path took it");
    assert_eq!(rig.lun(0).keys("host-a"), [None, Some(A1)]);
    let reply = client.out(&register(A1, ReservationKey::ZERO), &map);
    assert!(reply.expect("a reply").is_good());

    hung.release();
    eventually("the late key came and went", || {
        hung.log()
            .iter()
            .any(|line| line.data.get(15) == Some(&0xa1))
            && rig.lun(0).registrations().is_empty()
    });
}

#[test]
fn a_late_register_is_undone_once_the_client_has_another_key() {
    let rig = rig();
    let map = rig.device("lun0/host-a");
    let (hung, mut client) = (rig.path(0, 0), rig.client());
    hung.script([Fault::Up, Fault::Hang(Stuck::Before)]);
    let reply = client.out(&register(ReservationKey::ZERO, A1), &map);
    assert!(reply.expect("a reply").is_good());
    let reply = client.out(&register(A1, A2), &map);
    assert!(reply.expect("a reply").is_good());
    hung.release();
    eventually("the old key is gone from the path", || {
        hung.log()
            .iter()
            .any(|line| line.data.get(15) == Some(&0xa1))
            && !rig.lun(0).registrations().iter().any(|row| row.key == A1)
    });
    assert_eq!(rig.lun(0).keys("host-a")[1], Some(A2));
}

#[test]
fn a_late_register_that_is_still_wanted_stays() {
    let rig = rig();
    let map = rig.device("lun0/host-a");
    let (hung, mut client) = (rig.path(0, 0), rig.client());
    hung.script([Fault::Up, Fault::Hang(Stuck::Before)]);
    let reply = client.out(&register(ReservationKey::ZERO, A1), &map);
    assert!(reply.expect("a reply").is_good());
    hung.release();
    eventually("both paths have it", || {
        rig.lun(0).keys("host-a") == [Some(A1); 2]
    });
    // A later command of the same client finds it in order.
    let reply = client.out(&register(A1, A2), &map);
    assert!(reply.expect("a reply").is_good());
    assert_eq!(rig.lun(0).keys("host-a"), [Some(A2); 2]);
}

/// Another host's command: it does not pass through the service.
fn elsewhere(path: &SimPath, command: &PrOut) {
    let (cdb, parameters) = command.encode();
    let data = Transfer::Out(&parameters);
    let outcome = path.execute(cdb.as_device_bytes(), data, Duration::from_secs(1));
    assert!(outcome.expect("an outcome").is_good(), "{command:?}");
}

/// True once the path has executed a REGISTER with this key.
fn executed(path: &SimPath, key: u8) -> bool {
    let log = path.log();
    log.iter().any(|line| line.data.get(15) == Some(&key))
}

#[test]
fn a_late_register_is_undone_once_the_client_has_cleared() {
    let rig = rig();
    let map = rig.device("lun0/host-a");
    let (hung, mut client) = (rig.path(0, 0), rig.client());
    hung.script([Fault::Up, Fault::Hang(Stuck::Before)]);
    let reply = client.out(&register(ReservationKey::ZERO, A1), &map);
    assert!(reply.expect("a reply").is_good());
    let clear = PrOut::basic(OutAction::Clear, ScopeType(0), A1, ReservationKey::ZERO);
    let reply = client.out(&clear, &map);
    assert!(reply.expect("a reply").is_good());
    hung.release();
    eventually("the late key came and went", || {
        executed(&hung, 0xa1) && rig.lun(0).registrations().is_empty()
    });
}

#[test]
fn a_late_register_is_undone_once_another_host_has_preempted() {
    let rig = rig();
    let map = rig.device("lun0/host-a");
    let (hung, mut client) = (rig.path(0, 0), rig.client());
    hung.script([Fault::Up, Fault::Hang(Stuck::Before)]);
    let reply = client.out(&register(ReservationKey::ZERO, A1), &map);
    assert!(reply.expect("a reply").is_good());

    let other = rig.lun(0).path("host-b", 0).expect("a path");
    elsewhere(&other, &register(ReservationKey::ZERO, A2));
    let preempt = PrOut::basic(OutAction::Preempt, ScopeType(5), A2, A1);
    elsewhere(&other, &preempt);
    assert_eq!(rig.lun(0).keys("host-a"), [None; 2]);
    hung.release();
    eventually("fenced stays fenced", || {
        executed(&hung, 0xa1) && rig.lun(0).keys("host-a") == [None; 2]
    });
}
