//! Paths whose commands never return.

use crate::rig::{Bounds, Client, PATIENCE, Rig, eventually, sense};
use reservd::device::sim::{Fault, Stuck};
use reservd::engine::read::HEDGE;
use reservd::scsi::pr::RegisterFlags;
use reservd::scsi::{PrOut, ReservationKey, SenseCode};
use std::fs::File;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_millis(600);
/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_millis(900);

fn rig() -> Rig {
    Rig::start(Bounds {
        deadline: DEADLINE,
        ..Bounds::default()
    })
}

fn register(to: u64) -> PrOut {
    PrOut::register(
        ReservationKey::ZERO,
        ReservationKey(to),
        RegisterFlags::default(),
    )
}

/// The median time of this many reads.
fn median(client: &mut Client, device: &File, count: usize) -> Duration {
    let mut times: Vec<_> = (0..count)
        .map(|_| {
            let started = Instant::now();
            assert!(client.read_keys(device).expect("a reply").is_good());
            started.elapsed()
        })
        .collect();
    times.sort();
    times[count / 2]
}

#[test]
fn a_hung_unit_is_answered_for_and_delays_nobody_else() {
    let rig = rig();
    let (bad, good) = (rig.device("lun0/host-a.0"), rig.device("lun1/host-a"));
    let mut other = rig.client();
    let before = median(&mut other, &good, 1000);

    let path = rig.path(0, 0);
    path.set_fault(Fault::Hang(Stuck::Never));
    let mut reader = rig.client();
    let mut writer = rig.client();
    let started = Instant::now();
    reader.send_cdb(&crate::rig::read_keys(), &bad);
    writer.send_out(&register(0xa1), &bad);
    let waiting = std::thread::spawn(move || {
        let replies = [reader.reply(), writer.reply()];
        (replies, started.elapsed(), reader, writer)
    });
    assert!(path.wait_until_hanging(PATIENCE));
    let during = median(&mut other, &good, 1000);
    let (replies, elapsed, mut reader, mut writer) = waiting.join().expect("replies");
    for reply in &replies {
        assert_eq!(sense(reply), Some(SenseCode::TIMEOUT_DURING_PROCESSING));
    }
    assert!(elapsed >= DEADLINE, "answered after {elapsed:?}");
    assert!(elapsed < DEADLINE + SLACK, "answered after {elapsed:?}");
    let limit = before * 5 + Duration::from_millis(1);
    assert!(
        during < limit,
        "median {before:?} before, {during:?} while hung"
    );

    path.set_fault(Fault::Up);
    assert!(reader.read_keys(&bad).expect("a reply").is_good());
    assert!(
        writer
            .out(&register(0xa1), &bad)
            .expect("a reply")
            .is_good()
    );
}

#[test]
fn a_read_goes_round_a_hung_path() {
    let rig = Rig::start(Bounds::default());
    let map = rig.device("lun0/host-a");
    let mut client = rig.client();
    rig.path(0, 0).set_fault(Fault::Hang(Stuck::Before));
    let started = Instant::now();
    assert!(client.read_keys(&map).expect("a reply").is_good());
    let elapsed = started.elapsed();
    assert!(
        elapsed >= HEDGE,
        "the hung path was asked first: {elapsed:?}"
    );
    assert!(elapsed < HEDGE + SLACK, "{elapsed:?}");

    // The path that answered is asked first from now on.
    let started = Instant::now();
    assert!(client.read_keys(&map).expect("a reply").is_good());
    assert!(started.elapsed() < HEDGE, "{:?}", started.elapsed());

    rig.path(0, 0).set_fault(Fault::Up);
    let registered = client.out(&register(0xa1), &map).expect("a reply");
    assert!(registered.is_good(), "{registered}");
    assert_eq!(rig.lun(0).keys("host-a"), [Some(ReservationKey(0xa1)); 2]);
}

#[test]
fn a_hung_path_holds_a_bounded_number_of_threads() {
    const CLIENTS: usize = 24;
    let rig = rig();
    let (bad, path) = (rig.device("lun0/host-a.0"), rig.path(0, 0));
    path.set_fault(Fault::Hang(Stuck::Never));
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| rig.client()).collect();
    for _ in 0..2 {
        for (index, client) in clients.iter().enumerate() {
            match index % 3 {
                0 => client.send_out(&register(0xa1), &bad),
                _ => client.send_cdb(&crate::rig::read_keys(), &bad),
            }
        }
        for client in &mut clients {
            let code = sense(&client.reply()).expect("a CHECK CONDITION");
            assert!(
                [
                    SenseCode::TIMEOUT_BEFORE_PROCESSING,
                    SenseCode::TIMEOUT_DURING_PROCESSING
                ]
                .contains(&code),
                "{code}"
            );
        }
        // Four readers and a writer; all others were told without being sent.
        assert_eq!(path.hanging(), 5);
        assert_eq!(path.received(), 5);
    }
    path.set_fault(Fault::Up);
    eventually("all commands have returned", || path.hanging() == 0);
    for client in &mut clients {
        assert!(client.read_keys(&bad).expect("a reply").is_good());
    }
}
