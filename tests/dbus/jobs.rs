//! Changes by the objects of units: options, jobs, plans, and what they do.

use crate::bus::{Bus, Client, DEVICE, JOB, MANAGER, PATIENCE, ROOT, UNIT, daemon, plain};
use crate::daemon::Daemon;
use crate::hung::Lab;
use crate::signals::{next, signals};
use reservd::device::sim::{Fault, Stuck};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use zbus::{OwnedVariant, Variant};

/// Host B's.
const OTHER: &str = "/org/reservd1/device/w3600140500000000000000000000000a0_40host_2db";

/// A daemon whose two hosts' units are in use.
async fn with_both(bus: &Bus) -> (Daemon, Client) {
    let daemon = daemon(bus);
    daemon.prepare(&["pr keys host-a", "pr keys host-b"]);
    let client = bus.client().await;
    client.eventually("State", "unregistered").await;
    let until = Instant::now() + PATIENCE;
    while client.property(OTHER, DEVICE, "State").await.is_err() {
        assert!(Instant::now() < until, "host B's unit is not on the bus");
        sleep(Duration::from_millis(20)).await;
    }
    (daemon, client)
}

async fn job(client: &Client, job: &str, name: &str) -> String {
    let value = client.property(job, JOB, name).await.unwrap();
    plain(&value).trim_matches('"').to_owned()
}

/// Changes a unit, and waits for that; what another host did is heard once.
async fn done(client: &Client, unit: &str, method: &str, arguments: &[&str]) -> String {
    for _ in 0..3 {
        match client.change(unit, method, arguments, &[]).await {
            Ok(job) => return job,
            Err((name, _)) if name == "UnitAttention" => {}
            Err(error) => panic!("{method}: {error:?}"),
        }
    }
    panic!("{method}: unit attentions without end");
}

async fn error(client: &Client, method: &str, arguments: &[&str]) -> String {
    match client.change(UNIT, method, arguments, &[]).await {
        Ok(job) => format!("none, but {job}"),
        Err((name, text)) => {
            assert!(!text.is_empty(), "{name} says nothing");
            name
        }
    }
}

#[tokio::test]
async fn a_change_is_a_job() {
    let bus = Bus::started();
    let (daemon, client) = with_both(&bus).await;
    let options = [
        ("reason", Variant::from("node2 is dead")),
        ("aptpl", true.into()),
    ];
    let first = client
        .change(UNIT, "Register", &["0xA1"], &options)
        .await
        .unwrap();
    assert_eq!(first, "/org/reservd1/job/1");
    for (name, value) in [
        ("State", "done"),
        ("Verb", "Register"),
        ("Reason", "node2 is dead"),
        ("Error", ""),
        ("Device", UNIT),
    ] {
        assert_eq!(job(&client, &first, name).await, value, "{name}");
    }
    let steps = client.steps(&first).await;
    assert_eq!(steps.len(), 2, "one for each path: {steps:?}");
    assert_eq!(steps[0][0], "5f000000000000001800");
    client.eventually("Aptpl", "true").await;
    assert!(daemon.log().contains("node2 is dead"), "{}", daemon.log());
    done(&client, UNIT, "Reserve", &["WERO"]).await;
    done(&client, OTHER, "Register", &["0xb1"]).await;
    let last = done(&client, OTHER, "PreemptAndAbort", &["0xa1", "WERO"]).await;
    assert_eq!(job(&client, &last, "Verb").await, "PreemptAndAbort");
    client.eventually("State", "fenced").await;
    client.eventually("ReservationKey", "0xb1").await;
    let (name, text) = client
        .change(UNIT, "Reserve", &["WE"], &[])
        .await
        .unwrap_err();
    assert_eq!(name, "NotRegistered", "{text}");
    done(&client, OTHER, "Release", &[]).await;
    done(&client, OTHER, "Clear", &[]).await;
    let keys = daemon.session(&["pr keys host-a --json"]);
    assert!(keys.contains("\"keys\":[]"), "{keys}");
}

#[tokio::test]
async fn a_job_that_fails_says_why() {
    let bus = Bus::started();
    let (_daemon, client) = with_both(&bus).await;
    assert_eq!(error(&client, "Clear", &[]).await, "NotRegistered");
    let failed = "/org/reservd1/job/1";
    assert_eq!(job(&client, failed, "State").await, "failed");
    let text = job(&client, failed, "Error").await;
    assert!(text.contains("org.reservd1.Error.NotRegistered"), "{text}");
}

#[tokio::test]
async fn options_that_mean_nothing_are_refused() {
    let bus = Bus::started();
    let (_daemon, client) = with_both(&bus).await;
    for (method, arguments, name, value) in [
        ("Clear", vec![], "dryrun", Variant::from(true)),
        ("Clear", vec![], "aptpl", true.into()),
        ("Register", vec!["0xa1"], "dry-run", 1u32.into()),
        ("Register", vec!["0xa1"], "timeout-ms", 0u32.into()),
        ("Refresh", vec![], "existing-key", "0xa1".into()),
    ] {
        let result = client
            .change(UNIT, method, &arguments, &[(name, value)])
            .await;
        let (error, text) = result.unwrap_err();
        assert_eq!(error, "InvalidArgument", "{text}");
        assert!(text.contains(name), "{text}");
    }
    assert_eq!(error(&client, "Register", &["a1"]).await, "InvalidKey");
    assert_eq!(error(&client, "Reserve", &["2"]).await, "InvalidType");
}

#[tokio::test]
async fn a_dry_run_only_says_what_would_be_done() {
    let bus = Bus::started();
    let (daemon, client) = with_both(&bus).await;
    daemon.prepare(&[
        "pr register host-a 0xa1",
        "pr register host-b 0xb1",
        "pr reserve host-a --type WERO --key 0xa1",
    ]);
    client.eventually("ReservationType", "WERO").await;
    let before = daemon.session(&["pr full-status host-a"]);
    let dry = [("dry-run", Variant::from(true))];
    let planned = client.change(UNIT, "Clear", &[], &dry).await.unwrap();
    assert_eq!(job(&client, &planned, "State").await, "planned");
    let steps = client.steps(&planned).await;
    let [cdb, path, what, risk] = &steps[0];
    assert_eq!(cdb, "5f030000000000001800");
    assert_eq!(path, "host-a.0");
    assert_eq!(what, "CLEAR by 0xa1");
    assert_eq!(
        risk,
        "ends the reservation (WERO of 0xa1); removes from other hosts: 0xb1 on 2 nexuses; \
         from this host: 0xa1 on 2 nexuses"
    );
    for (method, arguments, contains) in [
        ("Preempt", vec!["0xb1", "WERO"], "removes 0xb1 on 2 nexuses"),
        ("Unregister", vec![], "the WERO reservation of 0xa1 ends"),
        ("Release", vec![], "is let in"),
    ] {
        let planned = client.change(UNIT, method, &arguments, &dry).await.unwrap();
        let steps = client.steps(&planned).await;
        assert!(steps[0][3].contains(contains), "{method}: {steps:?}");
    }
    assert_eq!(daemon.session(&["pr full-status host-a"]), before);
    // The same, without a job.
    let device = daemon.folder().join("lun0/host-a").display().to_string();
    let options = HashMap::from([
        ("victim", Variant::from("0xb1")),
        ("type", Variant::from("WERO")),
    ]);
    let reply = client
        .manager("Plan", &(&device, "preempt", options))
        .await
        .unwrap();
    let steps: Vec<HashMap<String, OwnedVariant>> = reply.body().deserialize().unwrap();
    assert!(plain(&steps[0]["risk"]).contains("its host is fenced"));
    assert_eq!(daemon.session(&["pr full-status host-a"]), before);
    let nothing = HashMap::<&str, Variant<'_>>::new();
    let reply = client
        .call(ROOT, MANAGER, "Plan", &(&device, "explode", nothing))
        .await;
    assert_eq!(reply.unwrap_err().0, "InvalidArgument");
}

#[tokio::test]
async fn keys_and_flags_are_as_the_options_say() {
    let bus = Bus::started();
    let (daemon, client) = with_both(&bus).await;
    done(&client, UNIT, "Register", &["0xa1"]).await;
    assert_eq!(
        error(&client, "Register", &["0xa2"]).await,
        "ReservationConflict"
    );
    let existing = [("existing-key", Variant::from("0xa1"))];
    client
        .change(UNIT, "Register", &["0xa2"], &existing)
        .await
        .unwrap();
    client.eventually("IntentKey", "0xa2").await;
    let wrong = client.change(UNIT, "Unregister", &[], &existing).await;
    assert_eq!(wrong.unwrap_err().0, "ReservationConflict");
    done(&client, UNIT, "Unregister", &[]).await;
    let everywhere = [("all-target-ports", Variant::from(true))];
    client
        .change(UNIT, "Register", &["0xa3"], &everywhere)
        .await
        .unwrap();
    let status = daemon.session(&["pr full-status host-a --json"]);
    assert!(status.contains("\"all_tg_pt\":true"), "{status}");
}

#[tokio::test]
async fn a_key_that_is_there_is_adopted_and_the_other_path_gets_it() {
    let bus = Bus::started();
    let (daemon, client) = with_both(&bus).await;
    assert_eq!(error(&client, "Adopt", &["0xc1"]).await, "NotRegistered");
    daemon.prepare(&["pr register host-a.0 0xc1"]);
    done(&client, UNIT, "Adopt", &["0xc1"]).await;
    client.eventually("IntentKey", "0xc1").await;
    client.eventually("State", "ok").await;
    let keys = daemon.session(&["pr keys host-b"]);
    assert!(keys.contains("0xc1  2 nexuses"), "{keys}");
    assert_eq!(error(&client, "Adopt", &["0xc2"]).await, "WrongState");
    assert_eq!(error(&client, "Forget", &[]).await, "WrongState");
    // It is a registration like any other: a fence ends it.
    daemon.prepare(&[
        "pr register host-b 0xb1",
        "pr preempt host-b --type WERO --key 0xb1 --victim 0xc1",
    ]);
    client.eventually("State", "fenced").await;
}

#[tokio::test]
async fn what_was_taken_away_comes_back_by_an_administrators_word_alone() {
    let bus = Bus::started();
    let (daemon, client) = with_both(&bus).await;
    assert_eq!(error(&client, "Rearm", &[]).await, "WrongState");
    done(&client, UNIT, "Register", &["0xa1"]).await;
    daemon.prepare(&[
        "pr register host-b 0xb1",
        "pr preempt host-b --type WERO --key 0xb1 --victim 0xa1",
    ]);
    client.eventually("State", "fenced").await;
    assert_eq!(error(&client, "Adopt", &["0xa1"]).await, "Fenced");
    assert_eq!(error(&client, "Repair", &[]).await, "NotRegistered");
    let dry = [("dry-run", Variant::from(true))];
    let planned = client.change(UNIT, "Rearm", &[], &dry).await.unwrap();
    let steps = client.steps(&planned).await;
    assert_eq!(steps[1][2], "REGISTER 0xa1 from no key", "{steps:?}");
    assert!(steps[1][3].contains("fenced"), "{steps:?}");
    client.eventually("State", "fenced").await;
    done(&client, UNIT, "Rearm", &[]).await;
    client.eventually("State", "ok").await;
    client.eventually("PathsRegistered", "2").await;

    // Where somebody else has the key by now, it is theirs.
    daemon.prepare(&["pr preempt host-b --type WERO --key 0xb1 --victim 0xa1"]);
    client.eventually("State", "fenced").await;
    daemon.prepare(&["pr unregister host-b --key 0xb1", "pr register host-b 0xa1"]);
    let (name, text) = client.change(UNIT, "Rearm", &[], &[]).await.unwrap_err();
    assert_eq!(name, "WrongState");
    assert!(text.contains("0xa1 is registered on 2 nexuses"), "{text}");
    done(&client, UNIT, "Forget", &[]).await;
    client.eventually("State", "unregistered").await;
    client.eventually("IntentKey", "").await;
    let keys = daemon.session(&["pr keys host-b"]);
    assert!(keys.contains("0xa1  2 nexuses"), "host B's: {keys}");
}

#[tokio::test]
async fn a_path_is_repaired_on_request_where_that_is_left_to_people() {
    let bus = Bus::started();
    let more = "[defaults]\npoll-interval-ms = 200\npath_repair = \"observe\"\n";
    let daemon = Daemon::start_on(&bus.address(), more);
    daemon.prepare(&["pr register host-a 0xa1"]);
    let client = bus.client().await;
    client.eventually("PathsRegistered", "2").await;
    daemon.prepare(&["pr unregister host-a.1 --key 0xa1"]);
    client.eventually("State", "degraded").await;
    done(&client, UNIT, "Repair", &[]).await;
    client.eventually("State", "ok").await;
}

#[tokio::test]
async fn a_single_path_is_read_by_its_names_and_left_to_its_client() {
    let bus = Bus::started();
    let daemon = daemon(&bus);
    daemon.prepare(&["pr register host-a 0xa1", "pr keys host-b.0"]);
    let client = bus.client().await;
    client.eventually("State", "ok").await;
    let path = daemon.folder().join("lun0/host-b.0").display().to_string();
    for name in [
        path.as_str(),
        UNIT,
        "3600140500000000000000000000000a0@host-b",
        OTHER,
    ] {
        let reply = client.manager("ReadKeys", &name).await;
        let keys: Vec<String> = reply.unwrap().body().deserialize().unwrap();
        assert_eq!(keys, ["0xa1", "0xa1"], "{name}");
    }
    for (method, arguments) in [
        ("Register", vec![path.as_str(), "0xb1"]),
        ("Unregister", vec![path.as_str()]),
    ] {
        let result = match &arguments[..] {
            [one] => client.manager(method, one).await,
            [one, two] => client.manager(method, &(one, two)).await,
            _ => unreachable!(),
        };
        assert_eq!(result.unwrap_err().0, "NotSupported", "{method}");
    }
}

#[tokio::test]
async fn a_job_is_not_waited_for_where_nobody_wants_to() {
    let bus = Bus::started();
    let lab = Lab::start(&bus);
    let client = bus.client().await;
    lab.set_fault(&Fault::Hang(Stuck::Before));
    let options = [("no-wait", Variant::from(true))];
    let started = Instant::now();
    let running = client.change(UNIT, "Refresh", &[], &options).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!(job(&client, &running, "State").await, "running");
    let completed = completed(&client).await;
    lab.set_fault(&Fault::Up);
    let (path, success, message) = completed.await.unwrap();
    assert_eq!((path.as_str(), success), (running.as_str(), true));
    assert_eq!(message, "done");
    assert_eq!(job(&client, &running, "State").await, "done");
    // And one that has less time than the unit takes.
    lab.set_fault(&Fault::Hang(Stuck::Before));
    let options = [("timeout-ms", Variant::from(300u32))];
    let started = Instant::now();
    let end = client.change(UNIT, "Refresh", &[], &options).await;
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(end.is_err(), "{end:?}");
}

/// The next job to end: its path, and what is said of it.
async fn completed(client: &Client) -> JoinHandle<(String, bool, String)> {
    let mut stream = signals(client, JOB, "Completed").await;
    tokio::spawn(async move {
        let message = next(&mut stream).await;
        let (success, text) = message.body().deserialize().unwrap();
        let path = message.header().path().unwrap().to_string();
        (path, success, text)
    })
}

/// Takes 20 s: what `busctl` waits for is no longer.
#[tokio::test]
async fn who_waits_hears_in_time_which_job_goes_on() {
    let bus = Bus::started();
    let lab = Lab::start(&bus);
    let client = bus.client_within(Duration::from_secs(25)).await;
    lab.set_fault(&Fault::Hang(Stuck::Before));
    let options = [("timeout-ms", Variant::from(40_000u32))];
    let started = Instant::now();
    let end = client.change(UNIT, "Refresh", &[], &options).await;
    let (name, text) = end.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(21));
    assert_eq!(name, "Timeout");
    let running = text.split(' ').find(|word| word.starts_with(ROOT)).unwrap();
    assert_eq!(job(&client, running, "State").await, "running");
    let completed = completed(&client).await;
    lab.set_fault(&Fault::Up);
    assert!(completed.await.unwrap().1);
    assert_eq!(job(&client, running, "State").await, "done");
}
