//! Hosts, paths and their faults.

use super::super::{Fault, SimLun, SimPath, Stuck};
use super::key;
use crate::device::{Nexus, Transfer, TransportError};
use crate::scsi::pr::RegisterFlags;
use crate::scsi::{
    InAction, OutAction, Outcome, PrIn, PrOut, ReservationKey, ReservationType, SenseCode, Status,
};
use std::sync::Arc;
use std::time::Duration;

const WWID: &str = "3600140500000000000000000000000a1";
const LONG: Duration = Duration::from_secs(20);

type Reply = Result<Outcome, TransportError>;

fn send(path: &SimPath, command: &PrOut) -> Reply {
    let (cdb, list) = command.encode();
    path.execute(cdb.as_device_bytes(), Transfer::Out(&list), LONG)
}

fn register(path: &SimPath, from: &str, to: &str) -> Reply {
    let flags = RegisterFlags::default();
    send(path, &PrOut::register(key(from), key(to), flags))
}

fn good() -> Reply {
    Ok(Outcome::good(Vec::new()))
}

fn path(lun: &SimLun, host: &str, index: usize) -> Arc<SimPath> {
    lun.path(host, index).unwrap()
}

#[test]
fn hosts_have_paths_of_their_own() {
    let lun = SimLun::new(WWID);
    assert_eq!(lun.wwid(), WWID);
    assert_eq!(lun.hosts(), ["host-a", "host-b"]);
    for (host, index, expected) in [
        ("host-a", 0, "sas:5001405000010000@1"),
        ("host-a", 1, "sas:5001405000010001@2"),
        ("host-b", 0, "sas:5001405000020000@1"),
        ("host-b", 1, "sas:5001405000020001@2"),
    ] {
        let path = path(&lun, host, index);
        assert_eq!(path.nexus().to_string(), expected);
        assert_eq!((path.host(), path.index()), (host, index));
    }
    assert!(lun.path("host-a", 2).is_none());
    assert!(lun.path("host-c", 0).is_none());
    let more = lun.add_host("host-a", 1);
    assert_eq!(more[0].nexus().to_string(), "sas:5001405000010002@1");
    assert_eq!(lun.paths("host-a").len(), 3);
}

#[test]
fn registrations_are_told_by_name() {
    let lun = SimLun::new(WWID);
    let (a, b) = (path(&lun, "host-a", 0), path(&lun, "host-b", 1));
    assert_eq!(register(&b, "0", "b1"), good());
    let flags = RegisterFlags {
        all_tg_pt: true,
        ..RegisterFlags::default()
    };
    let all = PrOut::register(key("0"), key("a1"), flags);
    assert_eq!(send(&a, &all), good());
    let kind = ReservationType::WriteExclusive.into();
    let reserve = PrOut::basic(OutAction::Reserve, kind, key("b1"), ReservationKey::ZERO);
    assert_eq!(send(&b, &reserve), good());
    let rows: Vec<_> = lun
        .registrations()
        .into_iter()
        .map(|row| (row.host.unwrap(), row.path, row.key))
        .collect();
    assert_eq!(
        rows,
        [
            ("host-b".to_owned(), Some(1), key("b1")),
            ("host-a".to_owned(), Some(0), key("a1")),
            ("host-a".to_owned(), None, key("a1")),
        ]
    );
    assert_eq!(lun.keys("host-a"), [Some(key("a1")), None]);
    assert_eq!(lun.holder().unwrap().nexus, *b.nexus());
    assert_eq!(lun.reservation(), Some(ReservationType::WriteExclusive));
    assert_eq!((lun.generation(), lun.aptpl()), (2, false));
    lun.power_cycle();
    assert_eq!(lun.registrations(), []);
    assert_eq!(lun.holder(), None);
    assert_eq!(a.pending(), [SenseCode::POWER_ON_OR_RESET]);
}

#[test]
fn faults_tell_the_three_fates_apart() {
    let lun = SimLun::new(WWID);
    let path = path(&lun, "host-a", 0);
    path.set_fault(Fault::Down);
    let down = TransportError::not_sent(SenseCode::NO_RESPONSE_TO_SELECTION);
    let lost = TransportError::unknown(SenseCode::TIMEOUT_DURING_PROCESSING);
    assert_eq!(register(&path, "0", "1"), Err(down));
    path.set_fault(Fault::Swallowed);
    assert_eq!(register(&path, "0", "1"), Err(lost));
    path.set_fault(Fault::Answer(Outcome::status(Status::Busy)));
    assert_eq!(register(&path, "0", "1"), Ok(Outcome::status(Status::Busy)));
    assert_eq!((path.received(), path.executed()), (3, 0));
    assert_eq!(lun.registrations(), []);
    path.set_fault(Fault::Lost);
    assert_eq!(register(&path, "0", "1"), Err(lost));
    assert_eq!(lun.keys("host-a"), [Some(key("1")), None]);
    path.set_fault(Fault::Up);
    assert_eq!(register(&path, "1", "2"), good());
    assert_eq!((path.received(), path.executed()), (5, 2));
    assert_eq!(path.log().len(), 2);
    assert_eq!(path.log()[1].cdb, [0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0]);
    assert_eq!(path.log()[1].status, Status::Good);
    assert_eq!(lun.log(), path.log());
    lun.clear_log();
    assert_eq!(lun.log(), []);
}

#[test]
fn a_script_runs_before_the_standing_fault() {
    let lun = SimLun::new(WWID);
    let path = path(&lun, "host-a", 0);
    path.script([Fault::Up, Fault::Down]);
    assert_eq!(register(&path, "0", "1"), good());
    assert!(register(&path, "1", "2").is_err());
    assert_eq!(register(&path, "1", "2"), good());
}

#[test]
fn a_hanging_command_waits_for_its_release() {
    for (stuck, executed_early, executed_late) in [
        (Stuck::Before, false, true),
        (Stuck::After, true, true),
        (Stuck::Never, false, false),
    ] {
        let lun = SimLun::new(WWID);
        let path = path(&lun, "host-a", 0);
        path.set_fault(Fault::Hang(stuck));
        let other = Arc::clone(&path);
        let thread = std::thread::spawn(move || register(&other, "0", "1"));
        assert!(path.wait_until_hanging(LONG));
        assert_eq!(lun.keys("host-a")[0].is_some(), executed_early);
        // Others are not held up.
        let free = lun.path("host-b", 0).unwrap();
        assert_eq!(register(&free, "0", "b"), good());
        path.set_fault(Fault::Up);
        let reply = thread.join().unwrap();
        assert_eq!(lun.keys("host-a")[0].is_some(), executed_late);
        assert_eq!(reply.is_ok(), executed_late);
        assert_eq!(path.hanging(), 0);
    }
}

#[test]
fn a_reply_past_its_time_is_unknown() {
    let lun = SimLun::new(WWID);
    let path = path(&lun, "host-a", 0);
    path.set_delay(Duration::from_millis(30));
    let command = PrIn {
        action: InAction::ReadKeys,
        allocation_length: 8,
    };
    let read = |timeout| {
        let cdb = command.cdb();
        path.execute(cdb.as_device_bytes(), Transfer::In(8), timeout)
    };
    let started = std::time::Instant::now();
    assert_eq!(read(LONG), Ok(Outcome::good(vec![0; 8])));
    assert!(started.elapsed() >= Duration::from_millis(30));
    assert!(matches!(
        read(Duration::from_millis(1)),
        Err(TransportError::Unknown(_))
    ));
    assert_eq!(path.executed(), 2);
}

#[test]
fn data_in_is_no_longer_than_asked_for() {
    let lun = SimLun::new(WWID);
    let path = path(&lun, "host-a", 0);
    let inquiry = [0x12, 0, 0, 0, 36, 0];
    for (transfer, length) in [
        (Transfer::None, 0),
        (Transfer::In(5), 5),
        (Transfer::In(99), 36),
    ] {
        let outcome = path.execute(&inquiry, transfer, LONG).unwrap();
        assert_eq!(outcome.data.len(), length);
    }
}

#[test]
fn a_relogin_keeps_the_registration() {
    let lun = SimLun::new(WWID);
    let path = path(&lun, "host-a", 0);
    assert_eq!(register(&path, "0", "1"), good());
    path.relogin();
    let outcome = register(&path, "1", "2").unwrap();
    assert_eq!(outcome.to_string(), "CHECK CONDITION 06/29/07");
    assert_eq!(lun.keys("host-a"), [Some(key("1")), None]);
}
