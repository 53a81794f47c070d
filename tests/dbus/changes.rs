//! Changes over the bus, and what is answered to nonsense.

use crate::bus::{Bus, Client, daemon, plain};
use crate::daemon::{Daemon, WWID};
use std::collections::HashMap;
use zbus::OwnedVariant;

async fn keys(client: &Client, device: &str) -> Vec<String> {
    let reply = client.manager("ReadKeys", &device).await.unwrap();
    reply.body().deserialize().unwrap()
}

fn device(daemon: &Daemon, name: &str) -> String {
    let path = daemon.folder().join("lun0").join(name);
    path.display().to_string()
}

#[tokio::test]
async fn a_reservation_is_taken_and_given_up() {
    let bus = Bus::started();
    let daemon = daemon(&bus);
    let client = bus.client().await;
    let a = device(&daemon, "host-a");
    let b = device(&daemon, "host-b");
    let done = async |method: &str, arguments: &[&str]| {
        // What another host did is heard once.
        for _ in 0..3 {
            let result = match arguments {
                [one] => client.manager(method, one).await,
                [one, two] => client.manager(method, &(one, two)).await,
                [one, two, three] => client.manager(method, &(one, two, three)).await,
                _ => panic!("{arguments:?}"),
            };
            match result {
                Ok(_) => return,
                Err((name, _)) if name == "UnitAttention" => {}
                Err(error) => panic!("{method}: {error:?}"),
            }
        }
        panic!("{method}: unit attentions without end");
    };
    done("Register", &[&a, "0xA1"]).await;
    done("Reserve", &[&a, "write-exclusive-registrants-only"]).await;
    done("Register", &[&b, "0xb1"]).await;
    assert_eq!(keys(&client, &a).await, ["0xa1", "0xa1", "0xb1", "0xb1"]);
    let reply = client
        .manager("ReadReservation", &b.as_str())
        .await
        .unwrap();
    let body = reply.body();
    let held: HashMap<String, OwnedVariant> = body.deserialize().unwrap();
    let held = |name: &str| plain(&held[name]);
    assert_eq!(
        [held("held"), held("key"), held("type")],
        ["true", "0xa1", "WERO"]
    );
    client.eventually("ReservationType", "WERO").await;
    done("Release", &[&a]).await;
    client.eventually("ReservationType", "").await;
    // Nothing to release is no error.
    done("Release", &[&a]).await;
    done("Preempt", &[&b, "0xa1", "5"]).await;
    assert_eq!(keys(&client, &b).await, ["0xb1", "0xb1"]);
    client.eventually("State", "fenced").await;
    assert_eq!(client.error("Reserve", &(&a, "WE")).await, "NotRegistered");
    done("Register", &[&a, "0xa2"]).await;
    client.eventually("State", "ok").await;
    done("Unregister", &[&a]).await;
    client.eventually("State", "unregistered").await;
    done("Clear", &[&b]).await;
    assert!(keys(&client, &a).await.is_empty());
}

/// Registering over the bus does not switch off what others have asked for.
#[tokio::test]
async fn aptpl_stays_as_it_is() {
    let bus = Bus::started();
    let daemon = daemon(&bus);
    daemon.prepare(&["pr register host-b 0xb1 --aptpl"]);
    let client = bus.client().await;
    let a = device(&daemon, "host-a");
    client.manager("Register", &(&a, "0xa1")).await.unwrap();
    client.manager("Unregister", &a).await.unwrap();
    let seen = daemon.session(&["pr capabilities host-b --json"]);
    assert!(seen.contains("\"aptpl_active\":true"), "{seen}");
}

#[tokio::test]
async fn nonsense_has_names() {
    let bus = Bus::started();
    let daemon = daemon(&bus);
    daemon.prepare(&[
        "pr keys host-a",
        "pr keys host-b",
        "pr register host-b 0xb1",
    ]);
    let client = bus.client().await;
    let (a, path) = (device(&daemon, "host-a"), device(&daemon, "host-a.0"));
    let a = a.as_str();
    for key in ["a1", "0x", "0x0", "", "0x11112222333344445"] {
        assert_eq!(
            client.error("Register", &(a, key)).await,
            "InvalidKey",
            "{key:?}"
        );
    }
    for kind in ["2", "we ", "", "exclusive"] {
        assert_eq!(
            client.error("Reserve", &(a, kind)).await,
            "InvalidType",
            "{kind:?}"
        );
    }
    for name in [
        "",
        "no-such-device",
        "/etc/passwd",
        "/",
        "9999:0",
        "../dev/null",
    ] {
        assert_eq!(
            client.error("ReadKeys", &name).await,
            "NoSuchDevice",
            "{name:?}"
        );
        assert_eq!(
            client.error("FindDevice", &name).await,
            "NoSuchDevice",
            "{name:?}"
        );
    }
    assert_eq!(client.error("FindDevice", &WWID).await, "AmbiguousDevice");
    for method in ["Unregister", "Release", "Clear"] {
        assert_eq!(client.error(method, &a).await, "NotRegistered", "{method}");
    }
    assert_eq!(
        client.error("Register", &(&path, "0xa1")).await,
        "NotSupported"
    );
    client.manager("Register", &(a, "0xa1")).await.unwrap();
    let again = client.manager("Register", &(a, "0xa2")).await.unwrap_err();
    assert_eq!(again.0, "ReservationConflict");
    assert!(again.1.contains("RESERVATION CONFLICT"), "{again:?}");
    // No registrant has it.
    let preempt = client.error("Preempt", &(a, "0xc1", "WERO")).await;
    assert_eq!(preempt, "ReservationConflict");
    assert_eq!(keys(&client, a).await, ["0xb1", "0xb1", "0xa1", "0xa1"]);
}

#[tokio::test]
async fn a_configuration_with_a_mistake_is_not_taken() {
    let bus = Bus::started();
    let daemon = daemon(&bus);
    let client = bus.client().await;
    daemon.configure("[defaults]\nreservation_key = \"0xa1\"\n");
    client.manager("Reload", &()).await.unwrap();
    daemon.configure("[defaults]\nreservation_key = \"a1\"\n");
    let (name, text) = client.manager("Reload", &()).await.unwrap_err();
    assert_eq!(name, "ConfigInvalid");
    assert!(text.contains("reservd.toml:"), "{text}");
    let a = device(&daemon, "host-a");
    let other = client.error("Register", &(&a, "0xa2")).await;
    assert_eq!(other, "IllegalRequest", "only 0xa1 is configured");
    client.manager("Register", &(&a, "0xa1")).await.unwrap();
    client.manager("Rescan", &()).await.unwrap();
}
