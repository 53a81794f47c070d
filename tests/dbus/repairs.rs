//! Paths that lose the registration, or have another, and what is told of it.

use crate::bus::{Bus, Client, DEVICE, UNIT};
use crate::hung::Lab;
use crate::signals::{next, signals};
use reservd::device::Nexus;
use reservd::device::Transfer;
use reservd::device::sim::{Fault, SimPath};
use reservd::lun::notice::Notice;
use reservd::lun::state::PathId;
use reservd::scsi::pr::RegisterFlags;
use reservd::scsi::{PrOut, ReservationKey};
use std::sync::Arc;
use std::time::Duration;
use zbus::OwnedObjectPath;

const KEY: ReservationKey = ReservationKey(0xa1);
const NONE: ReservationKey = ReservationKey::ZERO;

/// Straight to the unit, as somebody else on this host would.
fn register(path: &SimPath, from: ReservationKey, to: ReservationKey) {
    let command = PrOut::register(from, to, RegisterFlags::default());
    let (cdb, parameters) = command.encode();
    let data = Transfer::Out(&parameters);
    let outcome = path.execute(cdb.as_device_bytes(), data, Duration::from_secs(1));
    assert!(outcome.unwrap().is_good());
}

/// The kernel says that something happened to a path.
fn notice(lab: &Lab, path: &SimPath) {
    let (_, lun) = lab.service.registry.units().remove(0);
    let path = PathId(format!("host-a.{}", path.index()));
    let notice = Notice::Path {
        path,
        renewed: false,
        reinstated: false,
    };
    lun.notice(&notice, None);
}

async fn registered(bus: &Bus) -> (Lab, Client, Vec<Arc<SimPath>>) {
    let lab = Lab::start(bus);
    let client = bus.client().await;
    let arguments = (lab.device(), KEY.to_string());
    client.manager("Register", &arguments).await.unwrap();
    client.eventually("State", "ok").await;
    let paths = lab.unit().paths("host-a");
    (lab, client, paths)
}

async fn state_of(client: &Client, path: &str, expected: &str) {
    let end = std::time::Instant::now() + crate::bus::PATIENCE;
    loop {
        let value = client.property(path, "org.reservd1.Path", "State").await;
        let value = value.map(|value| crate::bus::plain(&value));
        if value.as_deref() == Ok(expected) {
            return;
        }
        assert!(std::time::Instant::now() < end, "{value:?}, not {expected}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_path_that_goes_and_lacks_the_key_when_it_returns_is_told_to_be_repaired() {
    let bus = Bus::started();
    let (lab, client, paths) = registered(&bus).await;
    let mut repaired = signals(&client, DEVICE, "PathRepaired").await;
    let object = client.one_of(UNIT, DEVICE, "Paths").await;
    register(&paths[0], KEY, NONE);
    paths[0].set_fault(Fault::Down);
    notice(&lab, &paths[0]);
    state_of(&client, &object, "failed").await;
    client.eventually("PathsUsable", "1").await;
    paths[0].set_fault(Fault::Up);
    notice(&lab, &paths[0]);
    let told: (OwnedObjectPath, String) = next(&mut repaired).await.body().deserialize().unwrap();
    assert_eq!(
        (told.0.as_str(), told.1.as_str()),
        (object.as_str(), "0xa1")
    );
    state_of(&client, &object, "running").await;
    client.eventually("PathsRegistered", "2").await;
    assert_eq!(lab.unit().keys("host-a"), [Some(KEY); 2]);
}

#[tokio::test]
async fn a_path_with_another_key_is_told_to_be_left_alone() {
    let bus = Bus::started();
    let (lab, client, paths) = registered(&bus).await;
    let mut refused = signals(&client, DEVICE, "RepairRefused").await;
    let mut conflicts = signals(&client, DEVICE, "ConflictDetected").await;
    let object = client.one_of(UNIT, DEVICE, "Paths").await;
    register(&paths[0], KEY, ReservationKey(0xc1));
    notice(&lab, &paths[0]);
    let told: (OwnedObjectPath, String) = next(&mut refused).await.body().deserialize().unwrap();
    assert_eq!(told.0.as_str(), object);
    assert!(told.1.contains("has a key already"), "{}", told.1);
    let told: (String, String) = next(&mut conflicts).await.body().deserialize().unwrap();
    assert_eq!(told.0, "path-key");
    client.eventually("State", "conflict").await;
    assert_eq!(
        lab.unit().keys("host-a"),
        [Some(ReservationKey(0xc1)), Some(KEY)]
    );
}
