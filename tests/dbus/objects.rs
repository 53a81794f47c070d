//! Registrants with their owners, paths, clients, and what is told of them.

use crate::bus::{Bus, Client, DEVICE, MANAGER, PATIENCE, READ_KEYS, ROOT, UNIT};
use crate::bus::{daemon, guest, plain};
use crate::daemon::Daemon;
use crate::signals::{next, signals};
use reservd::scsi::{OutAction, PrOut, ReservationKey, ReservationType};
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::time::Instant;
use zbus::{OwnedObjectPath, OwnedVariant, Variant};

const CLIENT: &str = "org.reservd1.Client";
const PATH: &str = "org.reservd1.Path";

type Row = HashMap<String, OwnedVariant>;

async fn list<T>(client: &Client, path: &str, interface: &str, name: &str) -> Vec<T>
where
    Vec<T>: TryFrom<OwnedVariant>,
    <Vec<T> as TryFrom<OwnedVariant>>::Error: std::fmt::Debug,
{
    let value = client.property(path, interface, name).await.unwrap();
    Vec::<T>::try_from(value).unwrap()
}

async fn shown(client: &Client, path: &str, interface: &str, name: &str) -> String {
    let value = client.property(path, interface, name).await;
    value.map_or_else(|(error, _)| error, |value| plain(&value))
}

async fn until(client: &Client, (path, interface, name): (&str, &str, &str), expected: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let now = shown(client, path, interface, name).await;
        if now == expected {
            return;
        }
        assert!(
            Instant::now() < end,
            "{name} of {path} is {now}, not {expected}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn with_hosts(hosts: &str) -> String {
    format!("[defaults]\npoll-interval-ms = 200\n[hosts]\n{hosts}\n")
}

#[tokio::test]
async fn registrants_have_owners_that_follow_the_configuration() {
    let bus = Bus::started();
    let daemon = Daemon::start_on(&bus.address(), &with_hosts("node-b = \"0xb1\""));
    daemon.prepare(&[
        "pr register host-b 0xb1",
        "pr reserve host-b --type WERO --key 0xb1",
        "pr register host-a 0xa1",
    ]);
    let client = bus.client().await;
    client.eventually("ReservationOwner", "node-b").await;
    client.eventually("HeldHere", "false").await;
    client.eventually("PathsRegistered", "2").await;
    let keys: Vec<String> = list(&client, UNIT, DEVICE, "Keys").await;
    assert_eq!(keys, ["0xa1", "0xa1", "0xb1", "0xb1"]);
    let rows: Vec<Row> = list(&client, UNIT, DEVICE, "Registrants").await;
    let mut told: Vec<_> = rows
        .iter()
        .map(|row| {
            let word = |name: &str| plain(&row[name]);
            let path = word("path");
            let path = path.rsplit('/').next().unwrap_or_default().to_owned();
            [
                word("key"),
                word("owner"),
                word("local"),
                word("holder"),
                path,
            ]
        })
        .collect();
    told.sort();
    let wwid = crate::daemon::WWID;
    let (first, second) = (
        format!("p{wwid}_40host_2da_2e0"),
        format!("p{wwid}_40host_2da_2e1"),
    );
    assert_eq!(
        told,
        [
            ["0xa1", "this host", "true", "false", &first],
            ["0xa1", "this host", "true", "false", &second],
            ["0xb1", "node-b", "false", "false", ""],
            ["0xb1", "node-b", "false", "true", ""],
        ]
    );
    assert!(
        rows.iter()
            .all(|row| plain(&row["initiator"]).starts_with("sas:5001405"))
    );

    let mut reloads = signals(&client, MANAGER, "ConfigReloaded").await;
    daemon.configure(&with_hosts("node-two = \"0xb1\""));
    client.manager("Reload", &()).await.unwrap();
    client.eventually("ReservationOwner", "node-two").await;
    let told: (u32, bool, String) = next(&mut reloads).await.body().deserialize().unwrap();
    assert_eq!(told, (2, true, String::new()));
    daemon.configure(&with_hosts("node-two = \"b1\""));
    client.manager("Reload", &()).await.unwrap_err();
    let (generation, ok, error): (u32, bool, String) =
        next(&mut reloads).await.body().deserialize().unwrap();
    assert_eq!((generation, ok), (2, false));
    assert!(error.contains("reservd.toml: line"), "{error}");
    assert_eq!(shown(&client, ROOT, MANAGER, "ConfigGeneration").await, "2");
    let last = shown(&client, ROOT, MANAGER, "LastReloadError").await;
    assert!(last.contains("reservd.toml: line"), "{last}");
    client.eventually("ReservationOwner", "node-two").await;
}

#[tokio::test]
async fn the_configured_key_is_shown_with_its_place() {
    let bus = Bus::started();
    let fixed = "[defaults]\nreservation_key = \"0xa1\"\nengine = \"direct\"\n\
                 multipathd = \"observe\"\n";
    let daemon = Daemon::start_on(&bus.address(), fixed);
    daemon.prepare(&["pr keys host-a"]);
    let client = bus.client().await;
    client.eventually("ConfiguredKey", "0xa1").await;
    client.eventually("Policy", "observe").await;
    client.eventually("Engine", "direct").await;
    let place = client.shown("KeySource").await;
    assert!(place.contains("reservd.toml: line "), "{place}");
    daemon.configure("[defaults]\nengine = \"auto\"\n");
    client.manager("Reload", &()).await.unwrap();
    client.eventually("KeySource", "file").await;
    client.eventually("ConfiguredKey", "").await;
    client.eventually("Engine", "auto").await;
    // As when the unit came into use.
    client.eventually("Policy", "observe").await;
}

#[tokio::test]
async fn a_client_is_an_object_while_it_is_connected() {
    let bus = Bus::started();
    let daemon = daemon(&bus);
    let client = bus.client().await;
    let mut guest = guest(&daemon);
    let device = daemon.device("host-a");
    guest.run(device.as_fd(), &READ_KEYS.cdb(), &[]).unwrap();
    let path = client.one_of(ROOT, MANAGER, "Clients").await;
    let see = async |name| shown(&client, &path, CLIENT, name).await;
    // Its object follows a moment later.
    until(
        &client,
        (&path, CLIENT, "Pid"),
        &std::process::id().to_string(),
    )
    .await;
    assert_eq!(see("Uid").await, nix::unistd::geteuid().to_string());
    assert_eq!(see("Socket").await, daemon.socket().display().to_string());
    assert_eq!(see("Commands").await, "1");
    assert_eq!(see("LastCommand").await, "READ KEYS on host-a: GOOD");
    until(&client, (ROOT, MANAGER, "ClientsConnected"), "1").await;
    assert_eq!(client.one_of(&path, CLIENT, "Devices").await, UNIT);
    assert_eq!(client.one_of(UNIT, DEVICE, "Clients").await, path);

    let nobodys = PrOut::basic(
        OutAction::Reserve,
        ReservationType::WriteExclusiveRegistrantsOnly.into(),
        ReservationKey(0xdead),
        ReservationKey::ZERO,
    );
    let (cdb, parameters) = nobodys.encode();
    let outcome = guest.run(device.as_fd(), &cdb, &parameters).unwrap();
    assert!(outcome.is_conflict());
    assert_eq!(see("Conflicts").await, "1");
    assert_eq!(see("Commands").await, "2");
    client
        .eventually("LastError", "RESERVE 0xdead 0x0: RESERVATION CONFLICT")
        .await;

    let force = HashMap::from([("force", Variant::from(true))]);
    let refused = client.call(&path, CLIENT, "Disconnect", &force).await;
    assert_eq!(refused.unwrap_err().0, "InvalidArgument");
    guest.run(device.as_fd(), &READ_KEYS.cdb(), &[]).unwrap();
    let nothing = HashMap::<&str, Variant<'_>>::new();
    client
        .call(&path, CLIENT, "Disconnect", &nothing)
        .await
        .unwrap();
    until(&client, (ROOT, MANAGER, "ClientsConnected"), "0").await;
    guest
        .run(device.as_fd(), &READ_KEYS.cdb(), &[])
        .unwrap_err();
    let end = Instant::now() + PATIENCE;
    while see("Pid").await == std::process::id().to_string() {
        assert!(Instant::now() < end, "the object stays");
    }
    until(&client, (UNIT, DEVICE, "Clients"), "[]").await;
    // It is welcome to come again.
    let mut again = crate::bus::guest(&daemon);
    again.run(device.as_fd(), &READ_KEYS.cdb(), &[]).unwrap();
    assert_ne!(client.one_of(ROOT, MANAGER, "Clients").await, path);
}

#[tokio::test]
async fn what_happens_is_told_in_order_and_remembered() {
    let bus = Bus::started();
    let daemon = daemon(&bus);
    let client = bus.client().await;
    daemon.prepare(&["pr keys host-a"]);
    client.eventually("State", "unregistered").await;
    let mut registrations = signals(&client, DEVICE, "RegistrationsChanged").await;
    let mut reservations = signals(&client, DEVICE, "ReservationChanged").await;
    let mut preempted = signals(&client, DEVICE, "Preempted").await;
    daemon.prepare(&["pr register host-a 0xa1"]);
    client.eventually("State", "ok").await;
    let ours = |message: &zbus::Message| {
        let header = message.header();
        header.path().is_some_and(|path| path.as_str() == UNIT)
    };
    // Those of the other host's unit are not told here.
    let mut moved = async |count: usize| {
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        while added.len() + removed.len() < count {
            let message = next(&mut registrations).await;
            if ours(&message) {
                let (new, old, generation): (Vec<String>, Vec<String>, u32) =
                    message.body().deserialize().unwrap();
                assert!(generation > 0);
                added.extend(new);
                removed.extend(old);
            }
        }
        (added, removed)
    };
    let none: [String; 0] = [];
    assert_eq!(moved(2).await, (vec!["0xa1".into(); 2], none.to_vec()));
    daemon.prepare(&["pr reserve host-a --type WERO --key 0xa1"]);
    client.eventually("HeldHere", "true").await;
    client.eventually("ReservationOwner", "this host").await;
    daemon.prepare(&["pr register host-b 0xb1"]);
    assert_eq!(moved(2).await, (vec!["0xb1".into(); 2], none.to_vec()));
    daemon.prepare(&["pr preempt host-b --type WERO --key 0xb1 --victim 0xa1"]);
    assert_eq!(moved(2).await, (none.to_vec(), vec!["0xa1".into(); 2]));
    let mut held = Vec::new();
    while held.len() < 2 {
        let message = next(&mut reservations).await;
        if ours(&message) {
            let told: (String, String, String, String) = message.body().deserialize().unwrap();
            held.push([told.0, told.1, told.2, told.3]);
        }
    }
    assert_eq!(
        held,
        [["WERO", "0xa1", "", ""], ["WERO", "0xb1", "WERO", "0xa1"]]
    );
    let lost = next(&mut preempted).await;
    assert!(ours(&lost), "host B has lost nothing");
    let told: (String, String, String, u32) = lost.body().deserialize().unwrap();
    assert_eq!(
        (told.0.as_str(), told.1.as_str(), told.2.as_str()),
        ("0xa1", "0xb1", "")
    );

    let reply = client.call(UNIT, DEVICE, "History", &100u32).await.unwrap();
    let events: Vec<Row> = reply.body().deserialize().unwrap();
    let words = |row: &Row| format!("{}: {}", plain(&row["event"]), plain(&row["text"]));
    let told: Vec<_> = events.iter().map(words).collect();
    assert_eq!(told[0], "preempted: 0xa1 by 0xb1");
    assert!(
        told[1].starts_with("state: ok -> fenced: another host"),
        "{told:#?}"
    );
    assert_eq!(told.last().unwrap(), "command: REGISTER 0x0 0xa1: GOOD");
    let reply = client.call(UNIT, DEVICE, "History", &1u32).await.unwrap();
    assert_eq!(reply.body().deserialize::<Vec<Row>>().unwrap().len(), 1);

    let with_history = HashMap::from([("history", Variant::from(true))]);
    let reply = client.manager("Report", &with_history).await.unwrap();
    let text: String = reply.body().deserialize().unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let unit = &report["devices"][0];
    assert_eq!(unit["simulated_host"], "host-a");
    assert_eq!(unit["state"], "fenced");
    assert_eq!(unit["registrants"][0]["key"], "0xb1");
    assert_eq!(unit["history"][0]["text"], "0xa1 by 0xb1");
    assert_eq!(report["config_generation"], 1);
    for (name, value) in [
        ("events", Variant::from(true)),
        ("history", Variant::from(1)),
    ] {
        let options = HashMap::from([(name, value)]);
        assert_eq!(client.error("Report", &options).await, "InvalidArgument");
    }
}

#[tokio::test]
async fn paths_are_objects_unless_that_is_switched_off() {
    let bus = Bus::started();
    let daemon = daemon(&bus);
    daemon.prepare(&["pr register host-a 0xa1"]);
    let client = bus.client().await;
    client.eventually("PathsRegistered", "2").await;
    let paths: Vec<OwnedObjectPath> = list(&client, UNIT, DEVICE, "Paths").await;
    assert_eq!(paths.len(), 2);
    let path = paths[0].as_str();
    for (name, value) in [
        ("Hctl", "host-a.0"),
        ("Device", UNIT),
        ("State", "running"),
        ("Registered", "yes"),
        ("Key", "0xa1"),
        ("Initiator", "sas:5001405000010000"),
    ] {
        until(&client, (path, PATH, name), value).await;
    }
    drop(daemon);
    let bus = Bus::started();
    let off = "[dbus]\nexport-paths = false\n";
    let daemon = Daemon::start_on(&bus.address(), off);
    daemon.prepare(&["pr register host-a 0xa1"]);
    let client = bus.client().await;
    client.eventually("PathsRegistered", "2").await;
    let paths: Vec<OwnedObjectPath> = list(&client, UNIT, DEVICE, "Paths").await;
    assert!(paths.is_empty(), "{paths:?}");
    client.property(path, PATH, "Hctl").await.unwrap_err();
    let features: Vec<String> = list(&client, ROOT, MANAGER, "Features").await;
    assert!(!features.contains(&"paths".to_owned()), "{features:?}");
}
