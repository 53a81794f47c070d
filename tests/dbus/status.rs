//! `reservctl status`.

use crate::bus::{Bus, daemon};
use crate::daemon::transcript;

#[tokio::test]
async fn every_unit_is_listed_with_what_is_wrong() {
    let mut bus = Bus::started();
    let daemon = daemon(&bus);
    let client = bus.client().await;
    assert_eq!(daemon.session(&["status"]), "$ status\nno units in use\n");
    daemon.prepare(&[
        "pr register host-a 0xa1",
        "pr reserve host-a --type WERO --key 0xa1",
        "pr register host-b 0xb1",
        "pr preempt host-b --type WERO --key 0xb1 --victim 0xa1",
    ]);
    client.eventually("State", "fenced").await;
    client.eventually("ReservationKey", "0xb1").await;
    // host-b's own look comes as soon.
    let until = std::time::Instant::now() + crate::bus::PATIENCE;
    let status = || transcript(&daemon.command("status").output().unwrap());
    while !status().contains("host-b  ok      0xb1  WERO  0xb1") {
        assert!(std::time::Instant::now() < until, "{}", status());
    }
    insta::assert_snapshot!(status(), @r"
    NAME    STATE   KEY   TYPE  HOLDER  OWNER      PATHS  GEN  CLIENTS  WWID
    host-a  fenced  0xa1  WERO  0xb1    -          0/2/2  5    0        3600140500000000000000000000000a0
        another host removed it (PREEMPT or CLEAR)
    host-b  ok      0xb1  WERO  0xb1    this host  2/2/2  5    0        3600140500000000000000000000000a0
    ");
    let json = daemon.session(&["status --json"]);
    let object = json.lines().nth(1).unwrap();
    let object: serde_json::Value = serde_json::from_str(object).unwrap();
    let unit = &object["units"][0];
    assert_eq!(unit["state"], "fenced");
    assert_eq!(unit["key"], "0xa1");
    assert_eq!(unit["reservation_key"], "0xb1");
    assert_eq!(unit["paths"][1]["registered"], "no");
    bus.kill();
    let seen = daemon.session(&["status"]);
    assert!(seen.contains("! reservctl: D-Bus: "), "{seen}");
    assert!(seen.contains("[exit 1]"), "{seen}");
}

#[test]
fn a_bus_without_reservd_is_said_to_be_one() {
    let bus = Bus::started();
    let enabled = "[dbus]\nenabled = false\n";
    let daemon = crate::daemon::Daemon::start_on(&bus.address(), enabled);
    insta::assert_snapshot!(daemon.session(&["status"]), @r"
    $ status
    ! reservctl: D-Bus: org.reservd1 is not on the bus: reservd does not run, or has no bus
    [exit 1]
    ");
}
