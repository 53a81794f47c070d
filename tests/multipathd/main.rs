//! What multipathd is told of registrations on a simulated map, and what
//! becomes of the registrations when it does not listen.

#![allow(clippy::unwrap_used, reason = "a test may end at once")]

mod doctor;
mod fake;

use fake::{Fake, Manner, Version};
use reservd::config::{Coordination, Unit};
use reservd::device::identity::{SysFs, Wwid};
use reservd::device::sim::{Fault, SimLun, SimPath};
use reservd::device::{Nexus, Transfer};
use reservd::lun::guard::Terms;
use reservd::lun::route::{Route, Source};
use reservd::lun::state::record::Record;
use reservd::lun::unit::{Lun, Means, Write};
use reservd::multipathd::{Multipathd, Patience};
use reservd::scsi::pr::RegisterFlags;
use reservd::scsi::{
    InAction, OutAction, Outcome, PrIn, PrOut, ReservationKey, ReservationType, SenseCode,
};
use reservd::simulation::path_id;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

const K1: ReservationKey = ReservationKey(0xa1);
const K2: ReservationKey = ReservationKey(0xa2);
const B: ReservationKey = ReservationKey(0xb1);
const NONE: ReservationKey = ReservationKey::ZERO;
const DEADLINE: Duration = Duration::from_secs(4);
/// multipathd is given this long, then this long a pause.
const ANSWER: Duration = Duration::from_millis(600);
const PAUSE: Duration = Duration::from_millis(150);

const ARMED: [&str; 4] = [
    "setprkey map mpatha key 0xa1",
    "getprkey map mpatha",
    "setprstatus map mpatha",
    "getprstatus map mpatha",
];
const DISARMED: [&str; 3] = [
    "unsetprkey map mpatha",
    "unsetprstatus map mpatha",
    "getprstatus map mpatha",
];

struct Lab {
    unit: Arc<SimLun>,
    nexuses: Vec<Arc<SimPath>>,
    other: Arc<SimPath>,
    lun: Lun,
    route: Route,
    fake: Fake,
    multipathd: Arc<Multipathd>,
    _folder: TempDir,
}

impl Lab {
    /// With a multipathd that runs.
    fn new() -> Self {
        let mut lab = Lab::with(Coordination::Coordinate);
        lab.fake.start();
        lab
    }

    fn with(coordination: Coordination) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("multipathd");
        let patience = Patience {
            answer: ANSWER,
            refused: PAUSE,
            silent: PAUSE,
        };
        let multipathd = Arc::new(Multipathd::new(Some(socket.clone()), patience));
        let terms = Terms {
            multipathd: Arc::clone(&multipathd),
            coordination,
            retry: Duration::from_millis(150),
            check: Duration::from_millis(400),
        };
        let settings = watch::channel(Unit::default()).1;
        let wwid = "3600140500000000000000000000000a1";
        let unit = SimLun::new(wwid);
        let nexuses = unit.paths("host-a");
        let paths: Vec<_> = nexuses
            .iter()
            .map(|nexus| (path_id(nexus), Arc::clone(nexus) as Arc<dyn Nexus>))
            .collect();
        let source = Source::Fixed {
            name: "host-a".into(),
            paths: paths.into(),
            map: Some("mpatha".into()),
        };
        let means = Means {
            engines: Arc::default(),
            terms: Some(terms),
            settings,
            keeper: None,
            source: None,
            sysfs: SysFs::default(),
            record: Record::default(),
            same_boot: true,
        };
        Lab {
            other: unit.path("host-b", 0).unwrap(),
            unit,
            nexuses,
            lun: Lun::start(Wwid::new(wwid), means),
            route: Route::Multipath(source, Arc::new(tempfile::tempfile().unwrap().into())),
            fake: Fake::new(&socket),
            multipathd,
            _folder: folder,
        }
    }

    async fn run(&self, command: &PrOut) -> Outcome {
        let (cdb, parameters) = command.encode();
        let write = Write {
            command: command.clone(),
            cdb,
            parameters,
        };
        let until = Instant::now() + DEADLINE;
        self.lun.write(self.route.clone(), write, until).await
    }

    async fn good(&self, command: &PrOut) {
        let outcome = self.run(command).await;
        assert!(outcome.is_good(), "{outcome}");
    }

    async fn read_keys(&self) -> Outcome {
        let command = PrIn {
            action: InAction::ReadKeys,
            allocation_length: 512,
        };
        let until = Instant::now() + DEADLINE;
        self.lun.read(&self.route, command, until).await
    }

    fn keys(&self) -> Vec<Option<ReservationKey>> {
        self.unit.keys("host-a")
    }

    fn armed(&self) -> bool {
        self.fake.memory().armed
    }

    /// Host B registers and removes our key.
    fn fence(&self, key: ReservationKey) {
        straight(&self.other, &register(NONE, B));
        let kind = ReservationType::WriteExclusiveRegistrantsOnly.into();
        let preempt = PrOut::basic(OutAction::Preempt, kind, B, key);
        straight(&self.other, &preempt);
    }
}

fn straight(nexus: &SimPath, command: &PrOut) {
    let (cdb, list) = command.encode();
    let data = Transfer::Out(&list);
    let mut outcome;
    loop {
        outcome = nexus
            .execute(cdb.as_device_bytes(), data, Duration::from_secs(1))
            .unwrap();
        if !outcome
            .sense_code()
            .is_some_and(SenseCode::is_unit_attention)
        {
            break;
        }
    }
    assert!(outcome.is_good(), "{outcome}");
}

fn register(from: ReservationKey, to: ReservationKey) -> PrOut {
    PrOut::register(from, to, RegisterFlags::default())
}

fn act(action: OutAction) -> PrOut {
    let kind = ReservationType::WriteExclusiveRegistrantsOnly.into();
    PrOut::basic(action, kind, K1, NONE)
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < until, "in vain: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Long enough for several retries and a check.
async fn a_while() {
    sleep(Duration::from_millis(1200)).await;
}

#[tokio::test]
async fn a_registration_arms_and_reads_back_before_the_client_hears_of_it() {
    let lab = Lab::new();
    lab.good(&register(NONE, K1)).await;
    assert_eq!(lab.fake.commands(), ARMED);
    assert!(lab.lun.is_guarded());
    let mut change = register(K1, K2);
    change.parameters.flags.aptpl = true;
    lab.good(&change).await;
    assert_eq!(lab.fake.memory().key.as_deref(), Some("0xa2:aptpl"));
    assert!(lab.lun.is_guarded());
}

#[tokio::test]
async fn unregistering_and_clearing_disarm() {
    let lab = Lab::new();
    for end in [register(K1, NONE), act(OutAction::Clear)] {
        lab.good(&register(NONE, K1)).await;
        lab.fake.commands();
        lab.good(&end).await;
        assert_eq!(lab.fake.commands(), DISARMED);
        assert!(!lab.lun.is_guarded());
    }
}

#[tokio::test]
async fn nothing_is_asked_before_a_registration_calls_for_it() {
    let lab = Lab::new();
    lab.read_keys().await;
    lab.run(&act(OutAction::Reserve)).await;
    assert!(!lab.run(&register(K1, K2)).await.is_good());
    assert_eq!(lab.fake.commands(), [""; 0]);
    let lab = Lab::with(Coordination::Observe);
    lab.good(&register(NONE, K1)).await;
    assert!(!lab.lun.is_guarded());
}

#[tokio::test]
async fn an_observer_only_asks() {
    let mut lab = Lab::with(Coordination::Observe);
    lab.fake.start();
    lab.good(&register(NONE, K1)).await;
    assert_eq!(lab.fake.commands(), [ARMED[1]], "the key is not there");
    assert!(!lab.lun.is_guarded());
    lab.good(&register(K1, NONE)).await;
    assert_eq!(lab.fake.commands(), [""; 0]);
}

#[tokio::test]
async fn a_setprstatus_that_fails_is_noticed_and_repeated() {
    let lab = Lab::new();
    lab.fake.memory().manner = Manner::NoStatus;
    lab.good(&register(NONE, K1)).await;
    assert!(!lab.lun.is_guarded());
    lab.fake.memory().manner = Manner::Obedient;
    eventually("armed", || lab.armed() && lab.lun.is_guarded()).await;
}

#[tokio::test]
async fn newer_versions_hear_of_the_holder_too() {
    let lab = Lab::new();
    lab.fake.memory().version = Version::New;
    lab.good(&register(NONE, K1)).await;
    assert!(lab.armed() && lab.lun.is_guarded());
    lab.good(&act(OutAction::Reserve)).await;
    eventually("held", || lab.fake.memory().holds).await;
    lab.good(&act(OutAction::Release)).await;
    eventually("released", || !lab.fake.memory().holds).await;
    // An old one is asked once.
    let lab = Lab::new();
    lab.good(&register(NONE, K1)).await;
    lab.fake.commands();
    for _ in 0..3 {
        lab.good(&act(OutAction::Reserve)).await;
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(lab.fake.commands(), ["getprhold map mpatha"]);
}

#[tokio::test]
async fn a_fence_disarms_whoever_notices_it() {
    for by_read in [true, false] {
        for attention_taken in [true, false] {
            let lab = Lab::new();
            lab.good(&register(NONE, K1)).await;
            lab.fence(K1);
            if attention_taken {
                // multipathd's checker meets it first, as often as not.
                for nexus in &lab.nexuses {
                    let _ = nexus.execute(&[0; 6], Transfer::None, Duration::from_secs(1));
                }
            }
            match by_read {
                true => lab.read_keys().await,
                false => lab.run(&act(OutAction::Reserve)).await,
            };
            eventually("disarmed", || !lab.armed()).await;
            assert_eq!(lab.fake.memory().key, None);
            a_while().await;
            assert!(!lab.armed(), "fenced stays fenced");
            lab.good(&PrOut::basic(
                OutAction::RegisterAndIgnore,
                reservd::scsi::ScopeType(0),
                NONE,
                K2,
            ))
            .await;
            assert!(lab.armed(), "until the client registers again");
        }
    }
}

#[tokio::test]
async fn a_conflict_alone_disarms_nothing() {
    let lab = Lab::new();
    lab.good(&register(NONE, K1)).await;
    assert!(lab.run(&register(NONE, K2)).await.is_conflict());
    a_while().await;
    assert!(lab.armed() && lab.lun.is_guarded());
}

#[tokio::test]
async fn without_multipathd_commands_work_at_once() {
    let mut lab = Lab::with(Coordination::Coordinate);
    let started = Instant::now();
    lab.good(&register(NONE, K1)).await;
    lab.good(&act(OutAction::Reserve)).await;
    lab.good(&act(OutAction::Release)).await;
    assert!(started.elapsed() < ANSWER, "{:?}", started.elapsed());
    assert!(!lab.lun.is_guarded());
    // And when it comes, it is told.
    lab.fake.start();
    eventually("armed", || lab.armed() && lab.lun.is_guarded()).await;
    // Gone again: nothing to disarm, and nothing is tried for ever.
    lab.fake.stop();
    lab.good(&register(K1, NONE)).await;
    sleep(PAUSE).await;
    let tries = || lab.multipathd.counters.unreachable.load(Ordering::Relaxed);
    let before = tries();
    a_while().await;
    assert_eq!(tries(), before);
}

#[tokio::test]
async fn a_multipathd_that_hangs_or_drops_holds_nobody_up() {
    for manner in [Manner::Hanging, Manner::Dropping] {
        let lab = Lab::new();
        lab.fake.memory().manner = manner;
        let started = Instant::now();
        lab.good(&register(NONE, K1)).await;
        let first = started.elapsed();
        assert!(first < ANSWER * 2, "{manner:?}: {first:?}");
        // The next one does not wait at all: nothing is asked for a while.
        let started = Instant::now();
        lab.good(&register(K1, K2)).await;
        assert!(started.elapsed() < ANSWER / 2, "{:?}", started.elapsed());
        assert!(!lab.lun.is_guarded());
        lab.fake.memory().manner = Manner::Obedient;
        eventually("armed", || lab.armed() && lab.lun.is_guarded()).await;
        assert_eq!(lab.fake.memory().key.as_deref(), Some("0xa2"));
    }
}

#[tokio::test]
async fn a_restarted_multipathd_is_told_again_while_the_registration_stands() {
    let mut lab = Lab::new();
    lab.good(&register(NONE, K1)).await;
    lab.fake.stop();
    eventually("missed", || !lab.lun.is_guarded()).await;
    lab.fake.start();
    eventually("armed", || lab.armed() && lab.lun.is_guarded()).await;
    // One that forgot without anybody noticing.
    lab.fake.memory().armed = false;
    eventually("armed", || lab.armed()).await;

    lab.fake.stop();
    lab.fence(K1);
    eventually("missed", || !lab.lun.is_guarded()).await;
    lab.fake.start();
    a_while().await;
    assert!(!lab.armed(), "fenced stays fenced");
    assert!(
        !lab.fake
            .commands()
            .iter()
            .any(|command| command.starts_with("set")),
    );
}

#[tokio::test]
async fn nothing_is_armed_while_the_unit_cannot_be_asked() {
    let mut lab = Lab::with(Coordination::Coordinate);
    lab.good(&register(NONE, K1)).await;
    for nexus in &lab.nexuses {
        nexus.set_fault(Fault::Down);
    }
    lab.fake.start();
    a_while().await;
    assert_eq!(lab.fake.commands(), [""; 0]);
    for nexus in &lab.nexuses {
        nexus.set_fault(Fault::Up);
    }
    eventually("armed", || lab.armed()).await;
}

#[tokio::test]
async fn a_path_that_came_before_multipathd_was_told_is_registered() {
    let mut lab = Lab::with(Coordination::Coordinate);
    lab.nexuses[1].set_fault(Fault::Down);
    lab.good(&register(NONE, K1)).await;
    lab.nexuses[1].set_fault(Fault::Up);
    assert_eq!(lab.keys(), [Some(K1), None]);
    lab.fake.start();
    eventually("registered", || lab.keys() == [Some(K1), Some(K1)]).await;
    eventually("armed", || lab.armed()).await;
}

/// multipathd's checker looks every few seconds.
#[tokio::test]
async fn a_path_whose_absence_multipathd_missed_is_registered() {
    let lab = Lab::new();
    lab.nexuses[1].set_fault(Fault::Down);
    lab.good(&register(NONE, K1)).await;
    assert_eq!(lab.keys(), [Some(K1), None]);
    lab.nexuses[1].set_fault(Fault::Up);
    eventually("registered", || lab.keys() == [Some(K1), Some(K1)]).await;

    // Not after a fence, and not over another key.
    let lab = Lab::new();
    lab.nexuses[1].set_fault(Fault::Down);
    lab.good(&register(NONE, K1)).await;
    lab.fence(K1);
    lab.nexuses[1].set_fault(Fault::Up);
    a_while().await;
    assert_eq!(lab.keys(), [None, None]);

    let lab = Lab::new();
    lab.nexuses[1].set_fault(Fault::Down);
    lab.good(&register(NONE, K1)).await;
    lab.nexuses[1].set_fault(Fault::Up);
    straight(&lab.nexuses[1], &register(NONE, ReservationKey(0xf0)));
    a_while().await;
    assert_eq!(lab.keys(), [Some(K1), Some(ReservationKey(0xf0))]);
}
