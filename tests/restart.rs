//! A daemon that takes up what the one before it has left.

#![allow(clippy::unwrap_used, reason = "a test may end at once")]

use reservd::config::Unit;
use reservd::device::Nexus;
use reservd::device::identity::Wwid;
use reservd::device::sim::{Fault, SimLun, SimPath};
use reservd::device::{Transfer, TransportError};
use reservd::lun::notice::Notice;
use reservd::lun::route::Source;
use reservd::lun::state::record::{KnownPath, Made, Record, Seen};
use reservd::lun::unit::{Lun, Means};
use reservd::scsi::pr::RegisterFlags;
use reservd::scsi::{OutAction, Outcome, PrOut, ReservationKey, ReservationType};
use reservd::simulation::path_id;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

const K1: ReservationKey = ReservationKey(0xa1);
const B: ReservationKey = ReservationKey(0xb1);
const NONE: ReservationKey = ReservationKey::ZERO;

fn send(nexus: &SimPath, command: &PrOut) -> Result<Outcome, TransportError> {
    let (cdb, list) = command.encode();
    let data = Transfer::Out(&list);
    nexus.execute(cdb.as_device_bytes(), data, Duration::from_secs(1))
}

fn register(nexus: &SimPath, key: ReservationKey) {
    let command = PrOut::register(NONE, key, RegisterFlags::default());
    assert!(send(nexus, &command).unwrap().is_good());
}

/// The daemon before registered the second path just after another host had
/// fenced us, and was killed before it knew. That path says nothing for a moment,
/// which is no event, and no reason to forget it.
#[tokio::test]
async fn a_path_that_is_slow_to_answer_keeps_no_key_either() {
    let wwid = "3600140500000000000000000000000a1";
    let unit = SimLun::new(wwid);
    let nexuses = unit.paths("host-a");
    let other = unit.path("host-b", 0).unwrap();
    register(&nexuses[0], K1);
    let known = |nexus: &Arc<SimPath>, carries| KnownPath {
        path: path_id(nexus).0,
        nexus: Some(nexus.nexus().into()),
        carries,
        owes: Vec::new(),
    };
    let record = Record {
        registration: Some(Made {
            key: K1,
            all_tg_pt: false,
            aptpl: false,
        }),
        paths: vec![known(&nexuses[0], Some(K1)), known(&nexuses[1], None)],
        seen: vec![Seen {
            nexus: nexuses[0].nexus().into(),
            key: K1,
        }],
        generation: Some(unit.generation()),
        ..Record::default()
    };
    register(&other, B);
    let kind = ReservationType::WriteExclusiveRegistrantsOnly.into();
    let preempt = PrOut::basic(OutAction::Preempt, kind, B, K1);
    assert!(send(&other, &preempt).unwrap().is_good());
    register(&nexuses[1], K1);

    nexuses[1].script([Fault::Down]);
    let means = Means {
        engines: Arc::default(),
        terms: None,
        settings: watch::channel(Unit::default()).1,
        keeper: None,
        source: None,
        record,
        same_boot: true,
    };
    let lun = Lun::start(Wwid::new(wwid), means);
    let paths: Vec<_> = nexuses
        .iter()
        .map(|nexus| (path_id(nexus), Arc::clone(nexus) as Arc<dyn Nexus>))
        .collect();
    let source = Source::Fixed {
        name: "host-a".into(),
        paths: paths.into(),
        map: None,
    };
    lun.notice(&Notice::Anything, Some(source));
    let end = Instant::now() + Duration::from_secs(5);
    while unit.keys("host-a") != [None, None] {
        assert!(Instant::now() < end, "{:?}", unit.keys("host-a"));
        sleep(Duration::from_millis(20)).await;
    }
}
