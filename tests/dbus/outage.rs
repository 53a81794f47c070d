//! The bus comes late, goes, and comes again.

use crate::bus::{Bus, PATIENCE, daemon};

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
