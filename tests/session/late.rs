//! Registrations that take effect after everybody had given up on them.

use crate::rig::{Bounds, Rig, eventually};
use reservd::device::sim::{Fault, Stuck};
use reservd::scsi::pr::RegisterFlags;
use reservd::scsi::{PrOut, ReservationKey};
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
