//! The end of the service.

use crate::rig::{Bounds, End, PATIENCE, Rig, read_keys};
use nix::errno::Errno;
use nix::sys::socket::MsgFlags;
use reservd::device::sim::{Fault, Stuck};
use std::io::Read;
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

#[test]
fn a_client_with_always_one_more_request_does_not_hold_the_end_up() {
    let rig = Rig::start(Bounds::default());
    let device = rig.device("lun0/host-a.0");
    let client = rig.client();
    let mut replies = client.0.try_clone().expect("a socket");
    let sender = std::thread::spawn(move || {
        let cdb = read_keys();
        let send = || client.try_send(cdb.as_wire_bytes(), &[&device], MsgFlags::empty());
        while send().is_ok() {}
    });
    let reader = std::thread::spawn(move || {
        let mut total = 0;
        while let Ok(length @ 1..) = replies.read(&mut [0; 4096]) {
            total += length;
        }
        total
    });
    crate::rig::eventually("it is being served", || rig.path(0, 0).received() > 50);
    rig.stop();
    assert!(rig.ends_within(Duration::from_secs(5)), "still serving");
    sender.join().expect("a sender");
    let total = reader.join().expect("a reader");
    assert_eq!(total % 112, 0, "the last reply is whole");
}

#[test]
fn a_client_that_takes_no_replies_does_not_hold_the_end_up() {
    let rig = Rig::start(Bounds {
        half_request: Duration::from_millis(300),
        ..Bounds::default()
    });
    let device = rig.device("lun0/host-a.0");
    let client = rig.client();
    let cdb = read_keys();
    let patience = Duration::from_millis(300);
    client
        .0
        .set_write_timeout(Some(patience))
        .expect("a time-out");
    let full = loop {
        // In the end the service does not read because it cannot write.
        match client.try_send(cdb.as_wire_bytes(), &[&device], MsgFlags::empty()) {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(full, Errno::EAGAIN);
    rig.stop();
    assert!(rig.ends_within(Duration::from_secs(5)), "still writing");
}
