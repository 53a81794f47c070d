//! The bus comes late, goes, and comes again.

use crate::bus::{Bus, PATIENCE, READ_KEYS, daemon, guest};
use crate::daemon::Daemon;
use reservd::scsi::pr::RegisterFlags;
use reservd::scsi::{Cdb, OutAction, PrOut, ReservationKey, ReservationType};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::time::sleep;

const KEY: ReservationKey = ReservationKey(0xa1);
const NONE: ReservationKey = ReservationKey::ZERO;

/// What guests do, again and again until `end`; the number of commands, each of
/// which must end GOOD, and how long the slowest took.
fn work(daemon: &Daemon, end: &AtomicBool) -> (usize, Duration) {
    let wero = ReservationType::WriteExclusiveRegistrantsOnly.into();
    let register = |from, to| PrOut::register(from, to, RegisterFlags::default());
    let round = [
        register(NONE, KEY),
        PrOut::basic(OutAction::Reserve, wero, KEY, NONE),
        PrOut::basic(OutAction::Release, wero, KEY, NONE),
        register(KEY, NONE),
    ];
    let (mut guest, device) = (guest(daemon), daemon.device("host-a"));
    let (mut commands, mut slowest) = (0, Duration::ZERO);
    let mut run = |cdb: &Cdb, list: &[u8]| {
        let started = Instant::now();
        let outcome = guest.run(device.as_fd(), cdb, list).unwrap();
        slowest = slowest.max(started.elapsed());
        assert!(outcome.is_good(), "{cdb}: {outcome}");
        commands += 1;
    };
    while !end.load(Ordering::Relaxed) {
        for command in &round {
            let (cdb, list) = command.encode();
            run(&cdb, &list);
            run(&READ_KEYS.cdb(), &[]);
        }
    }
    // Something to see afterwards.
    let (cdb, list) = register(NONE, KEY).encode();
    run(&cdb, &list);
    (commands, slowest)
}

#[tokio::test]
async fn guests_notice_nothing_of_a_bus_that_is_killed_again_and_again() {
    let mut bus = Bus::started();
    let daemon = Arc::new(daemon(&bus));
    let end = Arc::new(AtomicBool::new(false));
    let (served, ended) = (Arc::clone(&daemon), Arc::clone(&end));
    let guest = std::thread::spawn(move || work(&served, &ended));
    for _ in 0..3 {
        bus.client().await;
        bus.kill();
        sleep(Duration::from_millis(300)).await;
        bus.start();
    }
    let client = bus.client().await;
    end.store(true, Ordering::Relaxed);
    let (commands, slowest) = guest.join().unwrap();
    println!("{commands} commands, the slowest took {slowest:?}");
    assert!(commands > 100, "{commands}");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    client.eventually("State", "ok").await;
    client.eventually("IntentKey", "0xa1").await;
    client.eventually("PathsRegistered", "2").await;
    let log = daemon.log();
    assert_eq!(log.matches("on the bus name").count(), 4, "{log}");
}

#[tokio::test]
async fn a_bus_that_is_killed_is_joined_again() {
    let mut bus = Bus::started();
    let daemon = daemon(&bus);
    daemon.prepare(&["pr register host-a 0xa1"]);
    let client = bus.client().await;
    client.eventually("State", "ok").await;
    bus.kill();
    // Guests notice nothing.
    daemon.prepare(&["pr reserve host-a --type WERO --key 0xa1", "pr keys host-a"]);
    bus.start();
    let client = bus.client().await;
    client.eventually("State", "ok").await;
    client.eventually("ReservationType", "WERO").await;
    let log = daemon.log();
    assert_eq!(log.matches("on the bus name").count(), 2, "{log}");
    assert_eq!(log.matches("the bus is gone").count(), 1, "{log}");
}

#[tokio::test]
async fn a_bus_that_comes_late_is_joined() {
    let mut bus = Bus::new();
    let daemon = daemon(&bus);
    daemon.prepare(&["pr register host-a 0xa1"]);
    let until = std::time::Instant::now() + PATIENCE;
    while !daemon.log().contains("going on without it") {
        assert!(std::time::Instant::now() < until, "{}", daemon.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    bus.start();
    bus.client().await.eventually("State", "ok").await;
    let log = daemon.log();
    assert_eq!(log.matches("going on without it").count(), 1, "{log}");
}

#[tokio::test]
async fn who_wants_no_bus_is_left_alone() {
    let bus = Bus::started();
    let daemon = crate::daemon::Daemon::start_on(&bus.address(), "[dbus]\nenabled = false\n");
    daemon.prepare(&["pr register host-a 0xa1"]);
    let log = daemon.log();
    assert!(!log.contains("the bus"), "{log}");
}
