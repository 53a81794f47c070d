//! The library behind the whole service: simulated maps, whose writes go
//! through the fake, and reads to the simulator.

use crate::rig::{Bounds, Rig, sense};
use crate::{engines, launch};
use reservd::config::{Config, Engine};
use reservd::device::sim::{Fault, Stuck};
use reservd::engine::mpathpersist::Engines;
use reservd::engine::policy::Version;
use reservd::scsi::pr::RegisterFlags;
use reservd::scsi::{OutAction, PrOut, ReservationKey, ScopeType, SenseCode};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_millis(800);
const SLACK: Duration = Duration::from_millis(1500);
const KEY: ReservationKey = ReservationKey(0xa1);

fn rig(engines: Arc<Engines>) -> Rig {
    rig_by(Engine::Mpathpersist, engines)
}

fn rig_by(engine: Engine, engines: Arc<Engines>) -> Rig {
    let mut config = Config::default();
    config.defaults.engine = engine;
    let bounds = Bounds {
        deadline: DEADLINE,
        ..Bounds::default()
    };
    Rig::start_with(bounds, engines, config)
}

fn register() -> PrOut {
    PrOut::register(ReservationKey::ZERO, KEY, RegisterFlags::default())
}

fn reserve() -> PrOut {
    let none = ReservationKey::ZERO;
    PrOut::basic(OutAction::Reserve, ScopeType(5), KEY, none)
}

#[test]
fn a_worker_that_hangs_or_dies_costs_one_command_of_one_unit() {
    let cases = [
        ("stop", SenseCode::TIMEOUT_DURING_PROCESSING),
        ("sleep", SenseCode::TIMEOUT_DURING_PROCESSING),
        ("kill", SenseCode::IO_PROCESS_TERMINATED),
        ("exit", SenseCode::IO_PROCESS_TERMINATED),
    ];
    for (word, expected) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        let mut launch = launch(word);
        let once = (
            "RESERVD_FAKE_ONCE".into(),
            folder.path().join("once").into(),
        );
        launch.environment.push(once);
        let rig = rig(engines(launch));
        let (bad, good) = (rig.device("lun0/host-a"), rig.device("lun1/host-a"));
        let (mut first, mut second) = (rig.client(), rig.client());

        let started = Instant::now();
        first.send_out(&register(), &bad);
        // Reads of the same unit, and the other unit, go on meanwhile.
        std::thread::sleep(Duration::from_millis(100));
        assert!(second.read_keys(&bad).expect("a reply").is_good());
        assert!(second.out(&register(), &good).expect("a reply").is_good());
        let reply = first.reply();
        assert_eq!(sense(&reply), Some(expected), "{word}");
        assert!(started.elapsed() < DEADLINE + SLACK, "{word}");
        // The next command may come before the dead worker is gone.
        std::thread::sleep(Duration::from_millis(300));
        assert!(
            first.out(&register(), &bad).expect("a reply").is_good(),
            "{word}"
        );
    }
}

#[test]
fn every_client_is_told_what_the_library_said() {
    let rig = rig(engines(launch("11 1 0")));
    let map = rig.device("lun0/host-a");
    let mut client = rig.client();
    assert!(
        client
            .out(&register(), &map)
            .expect("a reply")
            .is_conflict()
    );
    let refused = client.out(&register(), &map);
    assert_eq!(
        sense(&refused),
        Some(SenseCode::INVALID_FIELD_IN_PARAMETER_LIST)
    );
    assert!(client.out(&register(), &map).expect("a reply").is_good());
    // The fake did nothing, so nothing is there.
    assert_eq!(rig.lun(0).keys("host-a"), [None, None]);
}

#[test]
fn a_single_path_never_meets_the_library() {
    let rig = rig(engines(launch("abort")));
    let disk = rig.device("lun0/host-a.0");
    let mut client = rig.client();
    assert!(client.out(&register(), &disk).expect("a reply").is_good());
    assert_eq!(rig.lun(0).keys("host-a"), [Some(KEY), None]);
}

#[test]
fn auto_goes_direct_where_the_library_is_old_or_gone() {
    let old = Engines::new(launch("abort"), Some(Version(0, 12, 2)));
    let gone = Engines::new(launch("abort"), None);
    for engines in [old, gone] {
        let rig = rig_by(Engine::Auto, Arc::new(engines));
        let map = rig.device("lun0/host-a");
        let mut client = rig.client();
        assert!(client.out(&register(), &map).expect("a reply").is_good());
        assert_eq!(rig.lun(0).keys("host-a"), [Some(KEY), Some(KEY)]);
    }
}

#[test]
fn a_demanded_library_that_is_gone_refuses_changes_but_not_reads() {
    let engines = Engines::new(launch("0"), None);
    let rig = rig(Arc::new(engines));
    let map = rig.device("lun0/host-a");
    let mut client = rig.client();
    let refused = client.out(&register(), &map);
    assert_eq!(sense(&refused), Some(SenseCode::COMMUNICATION_FAILURE));
    assert!(client.read_keys(&map).expect("a reply").is_good());
}

#[test]
fn an_old_library_registers_but_does_not_release() {
    let old = Some(Version(0, 9, 4));
    let engines = Engines::new(launch("0 0 abort"), old);
    let rig = rig(Arc::new(engines));
    let map = rig.device("lun0/host-a");
    let mut client = rig.client();
    for command in [register(), reserve()] {
        assert!(client.out(&command, &map).expect("a reply").is_good());
    }
    // Straight to the simulator, which knows of no registration.
    let release = PrOut::basic(OutAction::Release, ScopeType(5), KEY, ReservationKey::ZERO);
    assert!(client.out(&release, &map).expect("a reply").is_conflict());
}

#[test]
fn the_library_sends_nothing_while_a_direct_command_hangs_on_a_path() {
    let old = Some(Version(0, 9, 4));
    let engines = Engines::new(launch("0 abort"), old);
    let engines = Arc::new(engines);
    let rig = rig(Arc::clone(&engines));
    let map = rig.device("lun0/host-a");
    let mut client = rig.client();
    assert!(client.out(&register(), &map).expect("a reply").is_good());
    // RELEASE is not this library's, and never returns on one path.
    rig.path(0, 1).set_fault(Fault::Hang(Stuck::Never));
    let release = PrOut::basic(OutAction::Release, ScopeType(5), KEY, ReservationKey::ZERO);
    assert!(!client.out(&release, &map).expect("a reply").is_good());
    // So this is not either, whatever the simulator says to it.
    assert!(!client.out(&reserve(), &map).expect("a reply").is_good());
    assert_eq!(engines.counters.died.load(Ordering::Relaxed), 0);
}

#[test]
fn a_key_that_multipathd_does_not_know_is_the_units_to_judge() {
    let rig = rig(engines(launch("1")));
    let map = rig.device("lun0/host-a");
    let mut client = rig.client();
    // A new registration would stay unknown to multipathd.
    let refused = client.out(&register(), &map);
    assert_eq!(
        sense(&refused),
        Some(SenseCode::INVALID_FIELD_IN_PARAMETER_LIST)
    );
    let change = PrOut::register(KEY, ReservationKey(0xa2), RegisterFlags::default());
    for command in [reserve(), change] {
        assert!(client.out(&command, &map).expect("a reply").is_conflict());
    }
}

#[test]
fn a_path_that_conflicts_does_not_speak_for_the_others() {
    let rig = rig(engines(launch("11")));
    let (map, second) = (rig.device("lun0/host-a"), rig.device("lun0/host-a.1"));
    let mut client = rig.client();
    // The first path is back and not registered yet, and the library asks it.
    assert!(client.out(&register(), &second).expect("a reply").is_good());
    assert!(client.out(&reserve(), &map).expect("a reply").is_good());
    let clear = PrOut::basic(OutAction::Clear, ScopeType(0), KEY, ReservationKey::ZERO);
    assert!(client.out(&clear, &map).expect("a reply").is_good());
    assert_eq!(rig.lun(0).keys("host-a"), [None, None]);
    // The unit has the last word.
    assert!(client.out(&clear, &map).expect("a reply").is_conflict());
}
