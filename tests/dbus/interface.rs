//! What is there, and who may see it.

use crate::bus::{Bus, DEVICE, JOB, MANAGER, READ_KEYS, ROOT, UNIT, daemon, guest, plain};
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::process::Command;
use zbus::fdo::ManagedObjects;

/// The tags of one interface, in order.
fn tags(xml: &str, interface: &str) -> Vec<String> {
    let start = format!("<interface name=\"{interface}\">");
    let from = xml
        .find(&start)
        .unwrap_or_else(|| panic!("no {interface} in {xml}"));
    let mut rest = &xml[from..];
    let mut tags = Vec::new();
    while let Some(open) = rest.find('<') {
        rest = &rest[open..];
        let end = match rest.starts_with("<!--") {
            true => rest.find("-->").unwrap() + 3,
            false => rest.find('>').unwrap() + 1,
        };
        if !rest.starts_with("<!--") {
            tags.push(rest[..end].to_owned());
        }
        if rest.starts_with("</interface>") {
            return tags;
        }
        rest = &rest[end..];
    }
    panic!("{interface} has no end");
}

#[tokio::test]
async fn the_documents_are_what_is_there() {
    let bus = Bus::started();
    let daemon = daemon(&bus);
    daemon.prepare(&["pr register host-a 0xa1"]);
    let mut guest = guest(&daemon);
    guest
        .run(daemon.device("host-a").as_fd(), &READ_KEYS.cdb(), &[])
        .unwrap();
    let client = bus.client().await;
    client.eventually("PathsTotal", "2").await;
    let path = client.one_of(UNIT, DEVICE, "Paths").await;
    let connection = client.one_of(ROOT, MANAGER, "Clients").await;
    let found = daemon.folder().join("lun0/host-a").display().to_string();
    client.manager("FindDevice", &found).await.unwrap();
    let job = client.change(UNIT, "Refresh", &[], &[]).await.unwrap();
    for (path, interface, document) in [
        (
            job.as_str(),
            JOB,
            include_str!("../../dbus/org.reservd1.Job.xml"),
        ),
        (
            ROOT,
            MANAGER,
            include_str!("../../dbus/org.reservd1.Manager.xml"),
        ),
        (
            UNIT,
            DEVICE,
            include_str!("../../dbus/org.reservd1.Device.xml"),
        ),
        (
            &path,
            "org.reservd1.Path",
            include_str!("../../dbus/org.reservd1.Path.xml"),
        ),
        (
            &connection,
            "org.reservd1.Client",
            include_str!("../../dbus/org.reservd1.Client.xml"),
        ),
    ] {
        let introspectable = "org.freedesktop.DBus.Introspectable";
        let reply = client
            .call(path, introspectable, "Introspect", &())
            .await
            .unwrap();
        let live: String = reply.body().deserialize().unwrap();
        let (live, said) = (tags(&live, interface), tags(document, interface));
        assert!(live.len() > 10, "{live:?}");
        assert_eq!(live, said, "{interface}");
    }
}

#[tokio::test]
async fn units_are_objects_with_their_properties() {
    let bus = Bus::started();
    let daemon = daemon(&bus);
    daemon.prepare(&[
        "pr register host-a 0xa1 --aptpl",
        "pr reserve host-a --type WERO --key 0xa1",
    ]);
    let client = bus.client().await;
    client.eventually("ReservationType", "WERO").await;
    client.eventually("State", "ok").await;
    for (name, value) in [
        ("Wwid", "3600140500000000000000000000000a0"),
        ("IntentKey", "0xa1"),
        ("ReservationKey", "0xa1"),
        ("Aptpl", "true"),
        ("PathsTotal", "2"),
        ("PathsRegistered", "2"),
        ("Kind", "simulated"),
    ] {
        client.eventually(name, value).await;
    }
    let manager = "org.freedesktop.DBus.ObjectManager";
    let reply = client
        .call(ROOT, manager, "GetManagedObjects", &())
        .await
        .unwrap();
    let objects: ManagedObjects = reply.body().deserialize().unwrap();
    // What only leads to other objects is listed as well, and has nothing.
    let mut units = objects.iter().filter(|(_, has)| has.contains_key(DEVICE));
    let (path, has) = units.next().unwrap();
    assert_eq!(path.as_str(), UNIT);
    let properties = &has[DEVICE];
    assert!(units.next().is_none());
    assert_eq!(plain(&properties["State"]), "ok");
    let states = client
        .property(ROOT, MANAGER, "DevicesByState")
        .await
        .unwrap();
    let states = HashMap::<String, u32>::try_from(states).unwrap();
    assert_eq!(states, HashMap::from([("ok".to_owned(), 1)]));
}

/// Takes another user, which only root can be.
#[tokio::test]
async fn everybody_may_look_and_nobody_may_touch() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not root: nobody else to be");
        return;
    }
    let bus = Bus::started();
    let daemon = daemon(&bus);
    daemon.prepare(&["pr register host-a 0xa1"]);
    let client = bus.client().await;
    client.eventually("State", "ok").await;
    let device = daemon.folder().join("lun0/host-a").display().to_string();
    let nobody = |words: &[&str]| {
        let output = Command::new("setpriv")
            .args([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "dbus-send",
            ])
            .arg(format!("--bus={}", bus.address()))
            .args(["--print-reply", "--dest=org.reservd1"])
            .args(words)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8(text).unwrap()
    };
    let state = "string:State";
    let get = "org.freedesktop.DBus.Properties.Get";
    let seen = nobody(&[UNIT, get, &format!("string:{DEVICE}"), state]);
    assert!(seen.contains("string \"ok\""), "{seen}");
    let find = format!("{MANAGER}.FindDevice");
    let seen = nobody(&[ROOT, &find, "string:host-a"]);
    assert!(seen.contains(UNIT), "{seen}");
    // The file is there, but is none that anybody may have reservd open.
    let seen = nobody(&[ROOT, &find, &format!("string:{device}")]);
    assert!(seen.contains("Error.NoSuchDevice"), "{seen}");
    for method in [
        "Clear",
        "Unregister",
        "Release",
        "ReadKeys",
        "ReadReservation",
    ] {
        let seen = nobody(&[
            ROOT,
            &format!("{MANAGER}.{method}"),
            &format!("string:{device}"),
        ]);
        assert!(seen.contains("Error.PolicyDenied"), "{method}: {seen}");
        assert!(seen.contains("polkit"), "{method}: {seen}");
    }
    for method in ["Rescan", "Reload"] {
        let seen = nobody(&[ROOT, &format!("{MANAGER}.{method}")]);
        assert!(seen.contains("Error.PolicyDenied"), "{method}: {seen}");
    }
    let keys = daemon.session(&["pr keys host-a"]);
    assert!(keys.contains("0xa1"), "{keys}");
}
