//! Whether a unit's actor is seen to hang.

#![allow(clippy::unwrap_used, reason = "a test may end at once")]

use reservd::config::Unit;
use reservd::device::Nexus;
use reservd::device::identity::{SysFs, Wwid};
use reservd::device::sim::{Config, Fault, SimLun, Stuck};
use reservd::lun::route::Route;
use reservd::lun::state::record::Record;
use reservd::lun::unit::{Lun, Means, Write};
use reservd::scsi::pr::RegisterFlags;
use reservd::scsi::{PrOut, ReservationKey};
use reservd::simulation::path_id;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

const TURN: Duration = Duration::from_millis(50);

#[tokio::test]
async fn an_actor_owes_a_sign_of_life_while_it_works_and_gives_it_afterwards() {
    let wwid = "3600140500000000000000000000000a0";
    let unit = SimLun::with_config(Config::new(wwid));
    let path = unit.add_host("host-a", 1).remove(0);
    let means = Means {
        engines: Arc::default(),
        sysfs: SysFs::default(),
        terms: None,
        settings: watch::channel(Unit::default()).1,
        keeper: None,
        source: None,
        record: Record::default(),
        same_boot: true,
    };
    let lun = Lun::start(Wwid::new(wwid), means);
    for _ in 0..3 {
        assert!(lun.pulse(Instant::now()) < TURN, "it has nothing to do");
        sleep(TURN).await;
    }

    path.set_fault(Fault::Hang(Stuck::Before));
    let command = PrOut::register(
        ReservationKey::ZERO,
        ReservationKey(0xa1),
        RegisterFlags::default(),
    );
    let (cdb, parameters) = command.encode();
    let write = Write {
        command,
        cdb,
        parameters,
    };
    let route = Route::Single(path_id(&path), Arc::clone(&path) as Arc<dyn Nexus>);
    let until = Instant::now() + 6 * TURN;
    let asking = async {
        sleep(TURN).await;
        let first = lun.pulse(Instant::now());
        sleep(2 * TURN).await;
        (first, lun.pulse(Instant::now()))
    };
    let (outcome, (first, second)) = tokio::join!(lun.write(route, write, until), asking);
    assert!(!outcome.is_good());
    assert_eq!(first, Duration::ZERO);
    assert!(second >= 2 * TURN, "{second:?}");
    // Past its deadline it turns again, whatever still hangs.
    sleep(2 * TURN).await;
    assert!(lun.pulse(Instant::now()) < TURN);
    path.set_fault(Fault::Up);
}
