//! Paths that stop answering: what that costs, and whom.

use super::lab::*;
use reservd::client::Client;
use reservd::scsi::{InAction, OutAction, PrIn, SenseCode};
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

fn transport(lab: &Lab, name: &str, status: &str) {
    let tpg = lab.env(&format!("TPG_{name}"));
    fs::write(format!("{tpg}/transport_status"), status).unwrap();
}

/// Median time of READ KEYS on the plain disk, over a connection of its own.
fn neighbour(lab: &Lab, rounds: usize) -> Duration {
    let mut client = Client::connect(Path::new(SOCKET)).unwrap();
    let disk = open(lab.env("PLAIN"), false);
    let command = PrIn {
        action: InAction::ReadKeys,
        allocation_length: 8192,
    };
    let mut times: Vec<_> = (0..rounds)
        .map(|_| {
            let started = Instant::now();
            let outcome = client.run(disk.as_fd(), &command.cdb(), &[]).unwrap();
            assert!(outcome.is_good());
            started.elapsed()
        })
        .collect();
    times.sort();
    times[rounds / 2]
}

#[test]
fn a_path_whose_cable_is_pulled_costs_nothing_but_itself() {
    let mut lab = lab();
    let map = lab.env("MAP").to_owned();
    let other = lab.env("HOST_B").to_owned();
    for down in ["A", "B"] {
        transport(&lab, down, "offline");
        let started = Instant::now();
        lab.good(&map, &register(NONE, K1));
        lab.good(&map, &act(OutAction::Reserve, K1, NONE));
        assert_eq!(lab.read_keys(&map), [K1.0]);
        assert!(started.elapsed() < DEADLINE, "{:?}", started.elapsed());
        assert_eq!(holder_key(&other), Some(K1.0));
        transport(&lab, down, "online");
        lab.good(&map, &act(OutAction::Clear, K1, NONE));
    }
}

#[test]
fn a_unit_that_is_out_of_reach_is_answered_in_time_and_delays_nobody() {
    let mut lab = lab();
    let map = lab.env("MAP").to_owned();
    let before = neighbour(&lab, 200);
    transport(&lab, "A", "offline");
    transport(&lab, "B", "offline");

    // Commands to the lost unit keep coming while the neighbour is measured.
    let (during, answers) = std::thread::scope(|scope| {
        let lost = scope.spawn(|| {
            let mut client = Client::connect(Path::new(SOCKET)).unwrap();
            let disk = open(&map, true);
            let mut answers = Vec::new();
            for _ in 0..20 {
                let started = Instant::now();
                let (cdb, list) = register(NONE, K1).encode();
                let outcome = client.run(disk.as_fd(), &cdb, &list).unwrap();
                answers.push((outcome, started.elapsed()));
            }
            answers
        });
        (neighbour(&lab, 200), lost.join().unwrap())
    });
    for (outcome, time) in answers {
        assert!(!outcome.is_good(), "nothing reached the unit: {outcome}");
        assert!(time < DEADLINE + Duration::from_secs(1), "{time:?}");
    }
    println!("neighbour: median {before:?} before, {during:?} during the outage");
    // The commands to the lost unit take CPU time under emulation, no more.
    let busy = before * 4 + Duration::from_millis(20);
    assert!(during < busy, "{before:?} before, {during:?} during");

    transport(&lab, "A", "online");
    transport(&lab, "B", "online");
    lab.good(&map, &register(NONE, K1));
    assert_eq!(keys(lab.env("HOST_B")), [K1.0, K1.0]);
}

#[test]
fn a_partition_and_a_mapping_are_refused() {
    let mut lab = lab();
    let plain = lab.env("PLAIN").to_owned();
    run(
        "dmsetup",
        &[
            "create",
            "linear0",
            "--table",
            &format!("0 2048 linear {plain} 0"),
        ],
    );
    let outcome = lab.out("/dev/mapper/linear0", &register(NONE, K1));
    run("dmsetup", &["remove", "--retry", "linear0"]);
    assert_eq!(outcome.sense_code(), Some(SenseCode::INVALID_OPCODE));
    let read = lab.read("/dev/vda", InAction::ReadKeys, 8192);
    assert_eq!(
        read.sense_code(),
        Some(SenseCode::INVALID_OPCODE),
        "not a SCSI disk"
    );
    assert_eq!(keys(&plain), [0; 0]);
}
