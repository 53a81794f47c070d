//! Every command's text on a page of 80 columns, with and without colours, and on a
//! wide one. The host has one unit of each kind that people meet.

use super::*;
use std::time::{Duration, UNIX_EPOCH};
use view::Reservd;
use view::client::Client;
use view::history::Event;
use view::job::{Job, Step};
use view::unit::{Path, Registrant};

const NOON: u64 = 1_800_000_000;

fn page(width: usize, colour: bool) -> Page {
    Page {
        width,
        colour,
        now: UNIX_EPOCH + Duration::from_secs(NOON),
    }
}

fn ago(seconds: u64) -> u64 {
    (NOON - seconds) * 1_000_000
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn path(name: &str, hctl: &str, registered: &str, key: Option<&str>, usable: bool) -> Path {
    Path {
        object: Some(format!("/org/reservd1/path/p{}", hctl.replace(':', "_"))),
        hctl: hctl.into(),
        name: some(name),
        state: some(if usable { "running" } else { "failed" }),
        usable,
        registered: registered.into(),
        key: key.map(str::to_owned),
        initiator: some("fc:21000024ff3ecbd8"),
        last_sense: (!usable).then(|| "02/04/0A".to_owned()),
    }
}

fn registrant(key: &str, owner: &str, port: u32, holder: bool, path: Option<&Path>) -> Registrant {
    Registrant {
        key: key.into(),
        owner: some(owner),
        initiator: "fc:21000024ff3ecbd8".into(),
        target_port: Some(port),
        holder,
        local: path.is_some(),
        all_target_ports: false,
        path: path.and_then(|path| path.object.clone()),
    }
}

fn unit(name: &str, state: &str, reason: &str, paths: Vec<Path>) -> Unit {
    Unit {
        object: format!("/org/reservd1/device/w360014056f3c1a{name}"),
        wwid: format!("360014056f3c1a{name}"),
        name: some(name),
        kind: "multipath".into(),
        vendor: some("LIO-ORG"),
        model: some("cluster0"),
        state: state.into(),
        reason: reason.into(),
        policy: some("coordinate"),
        engine: some("direct"),
        key: some("0xa1"),
        key_source: some("client"),
        generation: 7,
        reservation_type: some("WERO"),
        reservation_key: some("0xa1"),
        reservation_owner: some("this host"),
        held_here: true,
        guarded_by_multipathd: true,
        checked_usec: Some(ago(2)),
        changed_usec: Some(ago(7300)),
        paths,
        ..Unit::default()
    }
}

fn host() -> Host {
    let both = |key| {
        vec![
            path("sdb", "2:0:0:1", "yes", Some(key), true),
            path("sdc", "3:0:0:1", "yes", Some(key), true),
        ]
    };
    let well = "the registration stands on every usable path";
    let mut mpatha = unit("mpatha", "ok", well, both("0xa1"));
    mpatha.clients = vec!["/org/reservd1/client/1".into()];
    mpatha.registrants = vec![
        registrant("0xa1", "this host", 1, true, Some(&mpatha.paths[0])),
        registrant("0xa1", "this host", 2, true, Some(&mpatha.paths[1])),
        registrant("0xb1", "lvm host 11", 1, false, None),
    ];
    let mut mpathb = unit(
        "mpathb",
        "fenced",
        "another host removed it (PREEMPT or CLEAR)",
        vec![
            path("sdd", "2:0:0:2", "no", None, true),
            path("sde", "3:0:0:2", "no", None, false),
        ],
    );
    mpathb.reservation_key = some("0xb1");
    mpathb.reservation_owner = some("lvm host 11");
    mpathb.held_here = false;
    mpathb.guarded_by_multipathd = false;
    mpathb.last_error = some("READ FULL STATUS: no answer in time");
    mpathb.registrants = vec![registrant("0xb1", "lvm host 11", 1, true, None)];
    let mut degraded = both("0xa1");
    degraded[1].registered = "unknown".into();
    let reason = "it stands, but sdc may lack it: the unit has not shown which nexus that path is";
    let mut mpathc = unit("mpathc", "degraded", reason, degraded);
    mpathc.reservation_type = some("EAAR");
    mpathc.reservation_key = some("0x0");
    mpathc.reservation_owner = some("all registrants");
    let mut plain = unit(
        "mpathd",
        "unregistered",
        "nobody has registered",
        both("0xa1"),
    );
    plain.key = None;
    plain.reservation_type = None;
    plain.reservation_key = None;
    plain.reservation_owner = None;
    plain.paths.iter_mut().for_each(|path| {
        path.registered = "no".into();
        path.key = None;
    });
    let client = Client {
        object: "/org/reservd1/client/1".into(),
        pid: Some(4711),
        uid: 107,
        unit: some("machine-qemu\\x2d1\\x2dwin1.scope"),
        machine: some("win1"),
        socket: some("/run/reservd/pr-helper.sock"),
        connected_usec: Some(ago(90_000)),
        commands: 31,
        conflicts: 2,
        last_command: some("RESERVE mpatha: GOOD"),
        devices: vec![mpatha.object.clone()],
    };
    Host {
        reservd: Reservd {
            version: "0.1.0".into(),
            last_reload_error: some("/etc/reservd/reservd.toml:3:1: unknown setting"),
            ..Reservd::default()
        },
        units: vec![mpatha, mpathb, mpathc, plain],
        clients: vec![client],
    }
}

fn events() -> Vec<Event> {
    let event = |seconds, event: &str, text: &str| Event {
        time_usec: ago(seconds),
        event: event.into(),
        text: text.into(),
    };
    vec![
        event(
            60,
            "state",
            "ok -> fenced: another host removed it (PREEMPT or CLEAR)",
        ),
        event(60, "preempted", "0xa1 by 0xb1"),
        event(7300, "command", "REGISTER 0x0 0xa1: GOOD"),
    ]
}

fn changed(state: &str) -> Report {
    let step = |what: &str, path: Option<&str>, risk: Option<&str>| Step {
        cdb: some("5f 04 00 00 00 00 00 00 18 00"),
        path: path.map(str::to_owned),
        what: what.into(),
        risk: risk.map(str::to_owned),
    };
    let risk = "0xb1 (lvm host 11) loses its registration and the reservation, and its writes fail \
                from then on";
    Report::Changed(change::Changed {
        text: "mpatha: would preempt 0xb1".into(),
        job: Job {
            object: "/org/reservd1/job/1".into(),
            verb: "Preempt".into(),
            device: None,
            state: state.into(),
            reason: None,
            steps: vec![
                step("PREEMPT of 0xb1 with 0xa1 as WERO", Some("sdb"), Some(risk)),
                step("READ FULL STATUS, to see what is left", None, None),
            ],
        },
    })
}

/// A report of every kind.
fn reports(page: &Page) -> Vec<(&'static str, Report)> {
    let host = host();
    let all: Vec<_> = host.units.iter().collect();
    let [mpatha, mpathb, mpathc, _] = &host.units[..] else {
        panic!("four units");
    };
    let explained = |unit, events| Report::Explained(explain::Explanation::new(unit, events, page));
    vec![
        ("status", Report::Status(host.clone())),
        (
            "show",
            Report::Shown(Box::new(show::Shown::new(mpatha.clone(), &host))),
        ),
        ("explain-fenced", explained(mpathb, events())),
        ("explain-degraded", explained(mpathc, vec![])),
        ("paths", Report::Paths(show::Paths::new(host.units.iter()))),
        ("keys", Report::UnitKeys(show::UnitKeys::new(mpatha))),
        (
            "history",
            Report::History(show::Events::new(mpathb, events())),
        ),
        ("clients", Report::Clients(show::Clients::new(host.clone()))),
        (
            "check",
            Report::Checked(check::Check::new(&host, &all, false)),
        ),
        (
            "check-one",
            Report::Checked(check::Check::new(&host, &all[..1], true)),
        ),
        ("planned", changed("planned")),
        ("done", changed("done")),
    ]
}

fn sheet(page: &Page) -> String {
    let shown = reports(page).into_iter().map(|(name, report)| {
        let text = report.render(page).replace('\u{1b}', "ESC");
        format!("==== {name}\n{text}")
    });
    shown.collect()
}

#[test]
fn eighty_columns() {
    let page = page(80, false);
    // The lines of `check` are read by programs.
    let mut people = reports(&page);
    people.retain(|(name, _)| !name.starts_with("check"));
    for (name, report) in people {
        for line in report.render(&page).lines() {
            assert!(line.chars().count() <= 80, "{name}: {line}");
        }
    }
    let sheet = sheet(&page);
    insta::assert_snapshot!(sheet);
}

#[test]
fn eighty_columns_in_colour() {
    let (plain, colour) = (page(80, false), page(80, true));
    insta::assert_snapshot!(sheet(&colour));
    for ((_, plainly), (name, coloured)) in reports(&plain).iter().zip(reports(&colour)) {
        let mut text = coloured.render(&colour);
        while let Some(at) = text.find('\u{1b}') {
            let end = at + text[at..].find('m').unwrap() + 1;
            text.replace_range(at..end, "");
        }
        assert_eq!(
            text,
            plainly.render(&plain),
            "{name}: colours change nothing else"
        );
    }
}

#[test]
fn a_wide_terminal() {
    insta::assert_snapshot!(sheet(&page(160, false)));
}

#[test]
fn states_are_as_bad_as_they_are() {
    let host = host();
    let verdict = |states: &[&str], registered| {
        let units = states.iter().map(|state| Unit {
            state: (*state).into(),
            ..Unit::default()
        });
        let units: Vec<_> = units.collect();
        let all: Vec<_> = units.iter().collect();
        check::Check::new(&host, &all, registered).severity.code()
    };
    assert_eq!(verdict(&[], false), 0);
    for state in ["ok", "unregistered", "unmanaged", "handed-off"] {
        assert_eq!(verdict(&[state], false), 0, "{state}");
    }
    for state in ["unregistered", "unmanaged", "handed-off", "fenced"] {
        assert_eq!(verdict(&["ok", state], true), 2, "{state}");
    }
    assert_eq!(verdict(&["ok", "degraded"], false), 1);
    assert_eq!(verdict(&["degraded", "fenced"], false), 2);
    assert_eq!(verdict(&["something-new"], false), 2);
}

#[test]
fn a_monitoring_system_gets_one_line_and_no_second_bar() {
    let mut host = host();
    host.units[1].reason = "a|b\nc".into();
    let all: Vec<_> = host.units.iter().collect();
    let text = check::Check::new(&host, &all, false).render();
    let (first, rest) = text.split_once('\n').unwrap();
    assert_eq!(first.matches('|').count(), 1, "{first}");
    assert_eq!(
        rest,
        "mpathb fenced: a/b?c\nmpathc degraded: it stands, but sdc may lack it: the \
                      unit has not shown which nexus that path is\n"
    );
    let gone = check::Check::failed(&Failure::Bus("gone".into()));
    assert_eq!(gone.render(), "RESERVD CRITICAL - D-Bus: gone\n");
    assert_eq!(
        usage_code(["reservctl", "check"].map(OsString::from).into_iter()),
        3
    );
    assert_eq!(
        usage_code(["reservctl", "status"].map(OsString::from).into_iter()),
        2
    );
}
