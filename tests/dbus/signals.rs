//! What changes is told.

use crate::bus::{Bus, Client, DEVICE, MANAGER, PATIENCE, PROPERTIES, UNIT, daemon, plain};
use std::collections::HashMap;
use tokio::time::timeout;
use zbus::{MatchRule, Message, MessageStream, OwnedObjectPath, OwnedVariant};

/// Signals of this name, from now on.
pub async fn signals(
    client: &Client,
    interface: &'static str,
    name: &'static str,
) -> MessageStream {
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .sender("org.reservd1")
        .interface(interface)
        .member(name)
        .build()
        .unwrap();
    MessageStream::for_match_rule(rule, &client.0, None)
        .await
        .unwrap()
}

pub async fn next(stream: &mut MessageStream) -> Message {
    let next = std::future::poll_fn(|context| {
        futures_core::Stream::poll_next(std::pin::Pin::new(&mut *stream), context)
    });
    timeout(PATIENCE, next)
        .await
        .expect("a signal")
        .unwrap()
        .unwrap()
}

/// Waits for the change that makes a property of host A's unit this, and
/// returns all that came with it.
async fn change(stream: &mut MessageStream, name: &str, value: &str) -> HashMap<String, String> {
    loop {
        let message = next(stream).await;
        let (interface, changed, invalidated): (
            String,
            HashMap<String, OwnedVariant>,
            Vec<String>,
        ) = message.body().deserialize().unwrap();
        let path = message.header().path().map(ToString::to_string);
        assert!(invalidated.iter().all(|name| name == "Registrants"));
        if interface != DEVICE || path.as_deref() != Some(UNIT) {
            continue;
        }
        let changed: HashMap<_, _> = changed
            .into_iter()
            .map(|(name, value)| (name, plain(&value)))
            .collect();
        if changed.get(name).map(String::as_str) == Some(value) {
            return changed;
        }
    }
}

#[tokio::test]
async fn a_guests_registration_and_its_fence_are_told() {
    let bus = Bus::started();
    let daemon = daemon(&bus);
    daemon.prepare(&["pr keys host-a"]);
    let client = bus.client().await;
    client.eventually("State", "unregistered").await;
    let mut properties = signals(&client, PROPERTIES, "PropertiesChanged").await;
    let mut states = signals(&client, MANAGER, "DeviceStateChanged").await;

    daemon.prepare(&["pr register host-a 0xa1"]);
    let changed = change(&mut properties, "State", "ok").await;
    assert_eq!(changed["IntentKey"], "0xa1");
    assert_eq!(changed["PathsRegistered"], "2");
    assert!(
        !changed.contains_key("Wwid"),
        "it never changes: {changed:?}"
    );

    daemon.prepare(&[
        "pr register host-b 0xb1",
        "pr preempt host-b --type WERO --key 0xb1 --victim 0xa1",
    ]);
    let changed = change(&mut properties, "State", "fenced").await;
    assert!(changed["StateReason"].contains("PREEMPT"), "{changed:?}");
    assert!(!changed.contains_key("IntentKey"), "{changed:?}");

    let mut told = Vec::new();
    while told.len() < 2 {
        let message = next(&mut states).await;
        let (path, wwid, old, new, reason): (OwnedObjectPath, String, String, String, String) =
            message.body().deserialize().unwrap();
        assert_eq!(wwid, crate::daemon::WWID);
        assert!(!reason.is_empty());
        if path.as_str() == UNIT {
            told.push((old, new));
        }
    }
    let told: Vec<_> = told.iter().map(|(old, new)| (&old[..], &new[..])).collect();
    assert_eq!(told, [("unregistered", "ok"), ("ok", "fenced")]);
}

#[tokio::test]
async fn a_new_unit_is_told() {
    let bus = Bus::started();
    let daemon = daemon(&bus);
    let client = bus.client().await;
    let manager = "org.freedesktop.DBus.ObjectManager";
    let mut added = signals(&client, manager, "InterfacesAdded").await;
    daemon.prepare(&["pr keys host-a"]);
    let message = next(&mut added).await;
    let body = message.body();
    let (path, _): (
        OwnedObjectPath,
        HashMap<String, HashMap<String, OwnedVariant>>,
    ) = body.deserialize().unwrap();
    assert_eq!(path.as_str(), UNIT);
}

/// A client that takes nothing holds nobody up.
#[tokio::test]
async fn a_client_that_reads_nothing_delays_no_guest() {
    let bus = Bus::started();
    let daemon = daemon(&bus);
    let client = bus.client().await;
    let _unread = signals(&client, PROPERTIES, "PropertiesChanged").await;
    let started = std::time::Instant::now();
    for _ in 0..30 {
        daemon.prepare(&["pr register host-a 0xa1", "pr unregister host-a --key 0xa1"]);
    }
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    let fresh = bus.client().await;
    fresh.eventually("State", "unregistered").await;
}
