//! The end of the service.

use crate::rig::{Bounds, End, PATIENCE, Rig, read_keys};
use reservd::device::sim::{Fault, Stuck};
use std::time::Duration;

#[test]
fn a_command_in_flight_is_answered_before_the_end() {
    let rig = Rig::start(Bounds::default());
    let (device, path) = (rig.device("lun0/host-a.0"), rig.path(0, 0));
    let (mut busy, mut idle) = (rig.client(), rig.client());
    path.set_fault(Fault::Hang(Stuck::Before));
    busy.send_cdb(&read_keys(), &device);
    assert!(path.wait_until_hanging(PATIENCE));
    rig.stop();
    assert_eq!(idle.reply(), Err(End::Closed), "idle clients need not wait");
    assert!(busy.hears_nothing());
    assert!(!rig.ends_within(Duration::ZERO), "a command is in flight");
    path.set_fault(Fault::Up);
    assert!(busy.reply().expect("a reply").is_good());
    assert_eq!(busy.reply(), Err(End::Closed));
    assert!(rig.ends_within(PATIENCE));
}

#[test]
fn a_hung_command_holds_the_end_up_no_longer_than_its_deadline() {
    let rig = Rig::start(Bounds {
        deadline: Duration::from_millis(500),
        ..Bounds::default()
    });
    let (device, path) = (rig.device("lun0/host-a.0"), rig.path(0, 0));
    let mut client = rig.client();
    path.set_fault(Fault::Hang(Stuck::Never));
    client.send_cdb(&read_keys(), &device);
    assert!(path.wait_until_hanging(PATIENCE));
    rig.stop();
    assert!(!client.reply().expect("a reply").is_good());
    assert!(rig.ends_within(Duration::from_secs(5)));
}
