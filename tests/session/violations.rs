//! What ends a connection, and what does not.

use crate::rig::{Bounds, Client, End, Rig, read_keys};
use reservd::scsi::pr::RegisterFlags;
use reservd::scsi::{OutAction, PrOut, ReservationKey, ScopeType};
use std::time::{Duration, Instant};

/// Lets a client break the protocol; then another is served.
fn closes(break_it: impl FnOnce(&Rig, &mut Client)) {
    let rig = Rig::start(Bounds::default());
    let device = rig.device("lun0/host-a");
    let mut client = rig.client();
    assert!(client.read_keys(&device).expect("a reply").is_good());
    break_it(&rig, &mut client);
    assert_eq!(client.reply(), Err(End::Closed));
    let next = rig.client().read_keys(&device);
    assert!(next.expect("a reply").is_good());
}

#[test]
fn a_cdb_without_a_descriptor_ends_the_connection() {
    closes(|_, client| client.send(read_keys().as_wire_bytes(), &[]));
}

#[test]
fn two_descriptors_end_the_connection() {
    closes(|rig, client| {
        let device = rig.device("lun0/host-a");
        client.send(read_keys().as_wire_bytes(), &[&device, &device]);
    });
}

#[test]
fn a_descriptor_with_each_half_of_a_cdb_ends_the_connection() {
    closes(|rig, client| {
        let device = rig.device("lun0/host-a");
        client.send(&read_keys().as_wire_bytes()[..7], &[&device]);
        client.send(&read_keys().as_wire_bytes()[7..], &[&device]);
    });
}

#[test]
fn more_descriptors_than_one_message_brings_end_the_connection() {
    closes(|rig, client| {
        let device = rig.device("lun0/host-a");
        client.send(read_keys().as_wire_bytes(), &[&device; 253]);
    });
}

#[test]
fn a_descriptor_with_the_parameters_ends_the_connection() {
    closes(|rig, client| {
        let device = rig.device("lun0/host-a");
        let reserve = PrOut::basic(
            OutAction::Reserve,
            ScopeType(1),
            ReservationKey(1),
            ReservationKey::ZERO,
        );
        let (cdb, parameters) = reserve.encode();
        client.send_cdb(&cdb, &device);
        client.send(&parameters, &[&device]);
    });
}

#[test]
fn another_operation_code_ends_the_connection() {
    closes(|rig, client| {
        let mut inquiry = [0; 16];
        inquiry[0] = 0x12;
        client.send(&inquiry, &[&rig.device("lun0/host-a")]);
    });
}

#[test]
fn a_transfer_above_eight_kilobytes_ends_the_connection() {
    for opcode in [0x5e, 0x5f] {
        closes(|rig, client| {
            let mut cdb = [0; 16];
            cdb[0] = opcode;
            cdb[7..9].copy_from_slice(&8193u16.to_be_bytes());
            client.send(&cdb, &[&rig.device("lun0/host-a")]);
        });
    }
}

#[test]
fn unknown_features_end_the_connection() {
    let rig = Rig::start(Bounds::default());
    let mut client = Client::connect(&rig.socket());
    client.handshake([0, 0, 0, 1]);
    assert_eq!(client.reply(), Err(End::Closed));
    let next = rig.client().read_keys(&rig.device("lun0/host-a"));
    assert!(next.expect("a reply").is_good());
}

#[test]
fn a_client_that_half_closes_still_gets_its_reply() {
    let rig = Rig::start(Bounds::default());
    let mut client = rig.client();
    client.send_cdb(&read_keys(), &rig.device("lun0/host-a"));
    client.finish();
    assert!(client.reply().expect("a reply").is_good());
    assert_eq!(client.reply(), Err(End::Closed));
}

#[test]
fn half_a_request_is_waited_for_and_given_up_but_silence_is_not() {
    let patience = Duration::from_millis(300);
    let rig = Rig::start(Bounds {
        half_request: patience,
        ..Bounds::default()
    });
    let device = rig.device("lun0/host-a");
    let mut idle = rig.client();
    assert!(idle.read_keys(&device).expect("a reply").is_good());
    let mut fresh = rig.client();

    let mut half = rig.client();
    let mut unread = rig.client();
    let mut shy = Client::connect(&rig.socket());
    let started = Instant::now();
    half.send(&read_keys().as_wire_bytes()[..9], &[&device]);
    let (cdb, _) = PrOut::basic(
        OutAction::Clear,
        ScopeType(0),
        ReservationKey(1),
        ReservationKey::ZERO,
    )
    .encode();
    unread.send_cdb(&cdb, &device);
    assert_eq!(half.reply(), Err(End::Closed));
    assert_eq!(unread.reply(), Err(End::Closed));
    assert!(started.elapsed() >= patience, "{:?}", started.elapsed());
    let mut greeting = [1; 4];
    std::io::Read::read_exact(&mut shy.0, &mut greeting).expect("a feature word");
    assert_eq!(shy.reply(), Err(End::Closed), "it never sent its features");

    assert!(idle.read_keys(&device).expect("a reply").is_good());
    assert!(rig.lun(0).generation() == 0, "no CLEAR was executed");
    // Parameters come apart from their CDB: waiting for them starts anew.
    let register = PrOut::register(
        ReservationKey::ZERO,
        ReservationKey(1),
        RegisterFlags::default(),
    );
    for client in [&mut idle, &mut fresh] {
        client.send_cdb(&register.encode().0, &device);
        std::thread::sleep(patience / 6);
        client.send(&register.encode().1, &[]);
        client.reply().expect("a reply");
    }
}
