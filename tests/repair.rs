//! The actor of a unit on the simulator: it looks for itself, remembers, and
//! takes a configured key in hand.

#![allow(clippy::unwrap_used, reason = "a test may end at once")]

use reservd::config::{Config, Unit};
use reservd::device::identity::{SysFs, Wwid};
use reservd::device::sim::{Fault, SimLun, SimPath};
use reservd::device::{Nexus, Transfer};
use reservd::journal::{Boot, Journal, Keeper, Loaded};
use reservd::lun::notice::Notice;
use reservd::lun::route::{Route, Source};
use reservd::lun::snapshot::Snapshot;
use reservd::lun::state::record::Record;
use reservd::lun::unit::{Lun, Means, Write};
use reservd::scsi::pr::RegisterFlags;
use reservd::scsi::{OutAction, PrOut, ReservationKey, ReservationType, SenseCode};
use reservd::simulation::path_id;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

const WWID: &str = "3600140500000000000000000000000a1";
const K1: ReservationKey = ReservationKey(0xa1);
const B: ReservationKey = ReservationKey(0xb1);
const NONE: ReservationKey = ReservationKey::ZERO;

/// Host A's map of two paths, served by an actor that can be started anew.
struct Lab {
    unit: Arc<SimLun>,
    nexuses: Vec<Arc<SimPath>>,
    settings: Unit,
    lun: Option<Lun>,
}

impl Lab {
    /// With these lines in `[defaults]`, and a quick poll.
    fn new(settings: &str) -> Self {
        let text = format!("[defaults]\npoll-interval-ms = 200\n{settings}");
        let unit = SimLun::new(WWID);
        Lab {
            nexuses: unit.paths("host-a"),
            unit,
            settings: Config::parse(&text).unwrap().unit(WWID, None),
            lun: None,
        }
    }

    /// Starts the actor, with what the journal in this folder has.
    async fn start(&mut self, folder: Option<&Path>) {
        self.lun = None;
        // The one before ends with its last task.
        sleep(Duration::from_millis(50)).await;
        let mut means = Means {
            engines: Arc::default(),
            terms: None,
            settings: watch::channel(self.settings.clone()).1,
            keeper: None,
            source: None,
            sysfs: SysFs::default(),
            record: Record::default(),
            same_boot: true,
        };
        if let Some(folder) = folder {
            let mut journal = Journal::open(folder).unwrap();
            let (records, damaged) = journal.load_all().unwrap();
            assert!(damaged.is_empty(), "{damaged:?}");
            for Loaded { record, boot, .. } in records {
                (means.record, means.same_boot) = (record, boot == Boot::Same);
            }
            means.keeper = Some(Arc::new(Keeper::start(journal).unwrap()));
        }
        let lun = Lun::start(Wwid::new(WWID), means);
        lun.notice(&Notice::Anything, Some(self.source()));
        self.lun = Some(lun);
    }

    fn source(&self) -> Source {
        let paths = self.nexuses.iter();
        Source::Fixed {
            name: "host-a".into(),
            paths: paths
                .map(|nexus| (path_id(nexus), Arc::clone(nexus) as Arc<dyn Nexus>))
                .collect(),
            map: None,
        }
    }

    async fn good(&self, command: &PrOut) {
        let (cdb, parameters) = command.encode();
        let write = Write {
            command: command.clone(),
            cdb,
            parameters,
        };
        let device = Arc::new(tempfile::tempfile().unwrap().into());
        let route = Route::Multipath(self.source(), device);
        let until = Instant::now() + Duration::from_secs(5);
        let outcome = self.lun.as_ref().unwrap().write(route, write, until).await;
        assert!(outcome.is_good(), "{outcome}");
    }

    fn keys(&self) -> Vec<Option<ReservationKey>> {
        self.unit.keys("host-a")
    }

    fn returns(&self, index: usize) {
        self.nexuses[index].set_fault(Fault::Up);
        let notice = Notice::Path {
            path: path_id(&self.nexuses[index]),
            renewed: true,
            reinstated: false,
        };
        self.lun.as_ref().unwrap().notice(&notice, None);
    }

    /// Host B registers and removes our key.
    fn fence(&self) {
        let other = self.unit.path("host-b", 0).unwrap();
        straight(&other, &register(NONE, B));
        let kind = ReservationType::WriteExclusiveRegistrantsOnly.into();
        straight(&other, &PrOut::basic(OutAction::Preempt, kind, B, K1));
    }
}

fn straight(nexus: &SimPath, command: &PrOut) {
    let (cdb, list) = command.encode();
    for _ in 0..8 {
        let outcome = nexus
            .execute(
                cdb.as_device_bytes(),
                Transfer::Out(&list),
                Duration::from_secs(1),
            )
            .unwrap();
        let attention = outcome.sense_code();
        if !attention.is_some_and(SenseCode::is_unit_attention) {
            assert!(outcome.is_good(), "{outcome}");
            return;
        }
    }
    panic!("unit attentions without end");
}

fn register(from: ReservationKey, to: ReservationKey) -> PrOut {
    PrOut::register(from, to, RegisterFlags::default())
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < until, "in vain: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Long enough for several polls.
async fn a_while() {
    sleep(Duration::from_millis(900)).await;
}

#[tokio::test]
async fn a_path_that_returns_is_registered_at_once() {
    let mut lab = Lab::new("");
    lab.start(None).await;
    lab.nexuses[1].set_fault(Fault::Down);
    lab.good(&register(NONE, K1)).await;
    let started = Instant::now();
    lab.returns(1);
    eventually("registered", || lab.keys() == [Some(K1); 2]).await;
    assert!(started.elapsed() < Duration::from_millis(500));
}

#[tokio::test]
async fn what_is_only_to_be_observed_is_left_as_it_is() {
    let mut lab = Lab::new("path_repair = \"observe\"");
    lab.start(None).await;
    lab.nexuses[1].set_fault(Fault::Down);
    lab.good(&register(NONE, K1)).await;
    lab.returns(1);
    a_while().await;
    assert_eq!(lab.keys(), [Some(K1), None]);
}

/// A registration without APTPL would switch it off for every host.
#[tokio::test]
async fn it_is_registered_as_the_client_did() {
    let mut lab = Lab::new("");
    lab.start(None).await;
    lab.nexuses[1].set_fault(Fault::Down);
    let mut command = register(NONE, K1);
    command.parameters.flags.aptpl = true;
    command.parameters.flags.all_tg_pt = true;
    lab.good(&command).await;
    lab.returns(1);
    eventually("registered", || lab.keys() == [Some(K1); 2]).await;
    let log = lab.nexuses[1].log();
    let sent = log.iter().rfind(|line| line.cdb[0] == 0x5f).unwrap();
    assert_eq!(sent.data[20], 0x05, "ALL_TG_PT and APTPL");
    assert!(lab.unit.aptpl());
}

#[tokio::test]
async fn a_foreign_key_on_a_path_that_returns_stays() {
    const FOREIGN: ReservationKey = ReservationKey(0xf0);
    let mut lab = Lab::new("");
    lab.start(None).await;
    lab.good(&register(NONE, K1)).await;
    straight(&lab.nexuses[1], &register(K1, FOREIGN));
    lab.returns(1);
    a_while().await;
    assert_eq!(lab.keys(), [Some(K1), Some(FOREIGN)]);
}

/// A key that was ours on the map is another client's on one of its paths.
#[tokio::test]
async fn what_a_client_registers_on_one_path_is_its_own() {
    let mut lab = Lab::new("");
    lab.start(None).await;
    lab.good(&register(NONE, K1)).await;
    lab.good(&register(K1, NONE)).await;
    let nexus = Arc::clone(&lab.nexuses[0]);
    let command = register(NONE, K1);
    let (cdb, parameters) = command.encode();
    let write = Write {
        command,
        cdb,
        parameters,
    };
    let route = Route::Single(path_id(&nexus), nexus);
    let until = Instant::now() + Duration::from_secs(5);
    let outcome = lab.lun.as_ref().unwrap().write(route, write, until).await;
    assert!(outcome.is_good(), "{outcome}");
    lab.returns(0);
    a_while().await;
    assert_eq!(lab.keys(), [Some(K1), None]);
}

/// No client asks for anything, and no path changes.
#[tokio::test]
async fn a_fence_is_noticed_by_the_poll() {
    let mut lab = Lab::new("");
    lab.start(None).await;
    lab.good(&register(NONE, K1)).await;
    lab.fence();
    a_while().await;
    lab.nexuses[1].set_fault(Fault::Down);
    lab.returns(1);
    a_while().await;
    assert_eq!(lab.keys(), [None, None], "fenced stays fenced");
    // What multipathd puts back with an outdated list of keys goes again.
    straight(&lab.nexuses[1], &register(NONE, K1));
    lab.returns(1);
    eventually("taken off", || lab.keys() == [None, None]).await;
}

#[tokio::test]
async fn polling_writes_nothing() {
    let mut lab = Lab::new("");
    lab.start(None).await;
    lab.good(&register(NONE, K1)).await;
    a_while().await;
    let generation = lab.unit.generation();
    lab.returns(0);
    lab.returns(1);
    a_while().await;
    assert_eq!(lab.unit.generation(), generation);
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut lab = Lab::new("");
    lab.start(Some(folder.path())).await;
    lab.nexuses[1].set_fault(Fault::Down);
    lab.good(&register(NONE, K1)).await;
    lab.start(Some(folder.path())).await;
    lab.nexuses[1].set_fault(Fault::Up);
    eventually("registered", || lab.keys() == [Some(K1); 2]).await;
    a_while().await;

    // Fenced while nobody looked.
    lab.lun = None;
    lab.nexuses[1].set_fault(Fault::Down);
    lab.fence();
    lab.start(Some(folder.path())).await;
    lab.returns(1);
    a_while().await;
    assert_eq!(lab.keys(), [None, None]);
}

/// The daemon before registered the second path just after another host had
/// fenced us, and was killed before it knew. That path says nothing for a moment,
/// which is no event, and no reason to forget it.
#[tokio::test]
async fn a_path_that_is_slow_to_answer_keeps_no_key_either() {
    let folder = tempfile::tempdir().unwrap();
    let mut lab = Lab::new("");
    lab.nexuses[1].set_fault(Fault::Down);
    lab.start(Some(folder.path())).await;
    lab.good(&register(NONE, K1)).await;
    a_while().await;
    lab.lun = None;
    a_while().await;
    lab.nexuses[1].set_fault(Fault::Up);
    lab.fence();
    straight(&lab.nexuses[1], &register(NONE, K1));
    lab.nexuses[1].script([Fault::Down]);
    lab.start(Some(folder.path())).await;
    eventually("taken off", || lab.keys() == [None, None]).await;
}

#[tokio::test]
async fn a_configured_key_is_looked_after_where_our_paths_have_it() {
    let mut lab = Lab::new("reservation_key = \"0xa1\"");
    straight(&lab.nexuses[0], &register(NONE, K1));
    lab.start(None).await;
    eventually("the other path too", || lab.keys() == [Some(K1); 2]).await;
    lab.fence();
    a_while().await;
    lab.returns(1);
    a_while().await;
    assert_eq!(lab.keys(), [None, None], "fenced stays fenced");
}

#[tokio::test]
async fn a_configured_key_is_put_nowhere_by_itself() {
    let mut lab = Lab::new("reservation_key = \"0xa1\"");
    lab.start(None).await;
    a_while().await;
    assert_eq!(lab.keys(), [None, None]);
    // Another host with the same key is no reason either.
    let other = lab.unit.path("host-b", 0).unwrap();
    straight(&other, &register(NONE, K1));
    let generation = lab.unit.generation();
    a_while().await;
    assert_eq!(lab.keys(), [None, None]);
    assert_eq!(lab.unit.generation(), generation);
    // But that it comes later is.
    straight(&lab.nexuses[1], &register(NONE, K1));
    straight(&other, &register(K1, NONE));
    eventually("the other path too", || lab.keys() == [Some(K1); 2]).await;
}

/// What a unit shows changes with it, and not for the time alone.
#[tokio::test]
async fn a_snapshot_follows_the_unit() {
    let mut lab = Lab::new("");
    lab.start(None).await;
    let mut shown = lab.lun.as_ref().unwrap().snapshot();
    lab.nexuses[1].set_fault(Fault::Down);
    lab.good(&register(NONE, K1)).await;
    let state = |shown: &watch::Receiver<_>| -> (String, Vec<String>) {
        let shown: &Snapshot = &shown.borrow();
        let paths = shown.paths.iter();
        let registered = paths.map(|path| path.registered.to_string()).collect();
        (shown.state.to_string(), registered)
    };
    let is = |expected: &str, paths: [&str; 2]| {
        let (state, registered) = state(&shown);
        state == expected && registered == paths
    };
    // The path that is away is not to have it.
    eventually("ok", || is("ok", ["yes", "unknown"])).await;
    lab.returns(1);
    eventually("both", || is("ok", ["yes", "yes"])).await;
    let kind = ReservationType::WriteExclusiveRegistrantsOnly;
    lab.good(&PrOut::basic(OutAction::Reserve, kind.into(), K1, NONE))
        .await;
    let held = || shown.borrow().reservation;
    eventually("held", || held().is_some_and(|held| held.key == K1)).await;
    assert_eq!(shown.borrow().key, Some(K1));
    shown.mark_unchanged();
    a_while().await;
    assert!(!shown.has_changed().unwrap(), "{:?}", shown.borrow());
    lab.fence();
    eventually("fenced", || {
        let (state, _) = state(&shown);
        state == "fenced"
    })
    .await;
    let shown = shown.borrow();
    assert_eq!(shown.key, Some(K1), "which key it was");
    assert_eq!(shown.reservation.unwrap().key, B);
}
