//! Many units whose paths come back all at once, as after the loss of a fabric.

#![allow(clippy::unwrap_used, reason = "a test may end at once")]

use reservd::config::Unit;
use reservd::device::Nexus;
use reservd::device::identity::{SysFs, Wwid};
use reservd::device::sim::{Config, Fault, SimLun, SimPath};
use reservd::lun::notice::Notice;
use reservd::lun::route::{Route, Source};
use reservd::lun::state::record::Record;
use reservd::lun::unit::{Lun, Means, Write};
use reservd::scsi::pr::RegisterFlags;
use reservd::scsi::{PrOut, ReservationKey};
use reservd::simulation::path_id;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const UNITS: usize = 1000;
const PATHS: usize = 4;
const KEY: ReservationKey = ReservationKey(0xa1);
/// All of them are registered within this, on two cores and without
/// optimization.
const SOON: Duration = Duration::from_secs(5);

struct Map {
    unit: Arc<SimLun>,
    nexuses: Vec<Arc<SimPath>>,
    lun: Lun,
    source: Source,
}

impl Map {
    fn new(number: usize) -> Self {
        let wwid = format!("36001405{number:025x}");
        let unit = SimLun::with_config(Config::new(&wwid));
        let nexuses = unit.add_host("host-a", PATHS);
        let paths: Vec<_> = nexuses
            .iter()
            .map(|nexus| (path_id(nexus), Arc::clone(nexus) as Arc<dyn Nexus>))
            .collect();
        let means = Means {
            engines: Arc::default(),
            terms: None,
            settings: watch::channel(Unit::default()).1,
            keeper: None,
            source: None,
            sysfs: SysFs::default(),
            record: Record::default(),
            same_boot: true,
        };
        Map {
            unit,
            nexuses,
            lun: Lun::start(Wwid::new(wwid), means),
            source: Source::Fixed {
                name: "host-a".into(),
                paths: paths.into(),
                map: None,
            },
        }
    }

    /// The half of a fabric that was lost.
    fn lost(&self) -> &[Arc<SimPath>] {
        &self.nexuses[PATHS / 2..]
    }

    async fn register(&self, device: Arc<OwnedFd>) {
        let command = PrOut::register(ReservationKey::ZERO, KEY, RegisterFlags::default());
        let (cdb, parameters) = command.encode();
        let write = Write {
            command,
            cdb,
            parameters,
        };
        let route = Route::Multipath(self.source.clone(), device);
        let until = Instant::now() + Duration::from_secs(60);
        let outcome = self.lun.write(route, write, until).await;
        assert!(outcome.is_good(), "{outcome}");
    }

    fn registered(&self) -> usize {
        let keys = self.unit.keys("host-a");
        keys.into_iter().filter(|key| *key == Some(KEY)).count()
    }
}

#[tokio::test]
async fn a_fabric_with_a_thousand_units_comes_back() {
    let device: Arc<OwnedFd> = Arc::new(tempfile::tempfile().unwrap().into());
    let maps: Vec<_> = (0..UNITS)
        .map(|number| Arc::new(Map::new(number)))
        .collect();
    let mut clients = JoinSet::new();
    for map in &maps {
        for nexus in map.lost() {
            nexus.set_fault(Fault::Down);
        }
        let (map, device) = (Arc::clone(map), Arc::clone(&device));
        clients.spawn(async move { map.register(device).await });
    }
    clients.join_all().await;
    assert!(maps.iter().all(|map| map.registered() == PATHS / 2));

    let started = Instant::now();
    for map in &maps {
        for nexus in map.lost() {
            nexus.set_fault(Fault::Up);
            let notice = Notice::Path {
                path: path_id(nexus),
                renewed: false,
                reinstated: true,
            };
            map.lun.notice(&notice, None);
        }
    }
    while maps.iter().any(|map| map.registered() < PATHS) {
        let missing = maps.iter().filter(|map| map.registered() < PATHS).count();
        assert!(started.elapsed() < SOON, "{missing} units after {SOON:?}");
        sleep(Duration::from_millis(20)).await;
    }
    println!(
        "{} paths registered in {:?}",
        UNITS * PATHS / 2,
        started.elapsed()
    );
}
