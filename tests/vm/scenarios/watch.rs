//! Which events arrive, and how soon. The machine is emulated: what counts is
//! that they come, and that those of the kernel come at once.

use super::lab::*;
use reservd::device::identity::SysFs;
use reservd::watch::batch::Batch;
use reservd::watch::event::{Change, Hint, PathName, UnitName};
use reservd::watch::monitor::Monitor;
use reservd::watch::walk::{path_of, unit_of};
use std::fs;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Sent by the kernel while the command that causes it runs; the rest is emulation.
const AT_ONCE: Duration = Duration::from_secs(3);
/// multipathd's checker has to notice first, or udevd's rules to end.
const SOON: Duration = Duration::from_secs(20);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Batches as the monitor hands them over, with the time at which it did.
struct Watcher {
    batches: Receiver<(Instant, Batch)>,
    /// Arrived and not yet asked for.
    hints: Vec<(Instant, Hint)>,
}

impl Watcher {
    fn start() -> Self {
        let (sender, batches) = channel();
        let (ready, started) = channel();
        // Ends with the first batch that nobody waits for.
        std::thread::spawn(move || {
            runtime().block_on(async {
                let mut monitor = Monitor::start();
                ready.send(()).unwrap();
                loop {
                    let batch = monitor.next().await;
                    if sender.send((Instant::now(), batch)).is_err() {
                        return;
                    }
                }
            });
        });
        started.recv().unwrap();
        Watcher {
            batches,
            hints: Vec::new(),
        }
    }

    /// Waits for a hint that came after `since`; those before are forgotten.
    fn expect(
        &mut self,
        what: &str,
        since: Instant,
        within: Duration,
        fits: impl Fn(&Hint) -> bool,
    ) -> Hint {
        self.hints.retain(|(at, _)| *at >= since);
        loop {
            if let Some(found) = self.hints.iter().position(|(_, hint)| fits(hint)) {
                let (at, hint) = self.hints.remove(found);
                let took = at - since;
                println!("{what}: {took:?}");
                assert!(took <= within, "{what} took {took:?}");
                return hint;
            }
            let left = (since + within).saturating_duration_since(Instant::now());
            match self.batches.recv_timeout(left) {
                Ok((at, batch)) => {
                    assert!(!batch.overflow);
                    self.hints
                        .extend(batch.hints.into_iter().map(|hint| (at, hint)));
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{what}: not within {within:?}, only {:#?}", self.hints)
                }
                Err(RecvTimeoutError::Disconnected) => panic!("the watcher ended"),
            }
        }
    }
}

/// A path of the lab's map as device-mapper names it.
fn on_path(disk: &str, change: Change) -> impl Fn(&Hint) -> bool + use<> {
    let number = major_minor(disk);
    move |hint| {
        let named = matches!(&hint.path, Some(PathName::Number(n)) if n.to_string() == number);
        named && hint.change == change
    }
}

/// The SCSI device at an address.
fn on_device(hctl: &str, change: Change) -> impl Fn(&Hint) -> bool + use<> {
    let hctl = hctl.to_owned();
    move |hint| {
        let named = matches!(&hint.unit, UnitName::Scsi(h) if h.to_string() == hctl);
        named && hint.change == change
    }
}

fn address(disk: &str) -> String {
    let name = disk.trim_start_matches("/dev/");
    let device = fs::canonicalize(format!("/sys/block/{name}/device")).unwrap();
    device.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_path_that_device_mapper_fails_and_reinstates_is_announced_at_once() {
    let lab = lab();
    let sysfs = SysFs::default();
    let maps = sysfs.maps().unwrap();
    assert!(maps.iter().any(|map| map.name == "mpatha"), "{maps:?}");
    let mut watcher = Watcher::start();
    for path in lab.paths() {
        let message = |verb: &str| {
            let text = format!("{verb} {}", major_minor(&path));
            let started = Instant::now();
            run("dmsetup", &["message", "mpatha", "0", &text]);
            started
        };
        for (verb, change) in [
            ("fail_path", Change::PathFailed),
            ("reinstate_path", Change::PathReinstated),
        ] {
            let started = message(verb);
            let hint = watcher.expect(verb, started, AT_ONCE, on_path(&path, change));
            let unit = unit_of(&sysfs, &hint).unwrap();
            let map = unit.map.expect("the map is there");
            assert_eq!((map.name.as_str(), &map.wwid), ("mpatha", &unit.wwid));
            let found = path_of(&sysfs, &hint).unwrap();
            assert_eq!(format!("/dev/{}", found.name), path);
        }
    }
}

#[test]
fn what_multipathd_finds_out_is_announced() {
    let lab = lab();
    let mut watcher = Watcher::start();
    let path = lab.env("PATH_A").to_owned();
    // There is no event of the device itself: multipathd's checker notices.
    for (state, change) in [
        ("offline", Change::PathFailed),
        ("running", Change::PathReinstated),
    ] {
        let started = Instant::now();
        set_state(&path, state);
        watcher.expect(state, started, SOON, on_path(&path, change));
    }
}

#[test]
fn a_link_that_was_lost_is_announced_with_a_reset() {
    let lab = lab();
    let mut watcher = Watcher::start();
    let path = lab.env("PATH_A").to_owned();
    let status = format!("{}/transport_status", lab.env("TPG_A"));
    let started = Instant::now();
    fs::write(&status, "offline").unwrap();
    let lost = on_path(&path, Change::PathFailed);
    watcher.expect("link lost", started, SOON, lost);
    let started = Instant::now();
    fs::write(&status, "online").unwrap();
    let reset = on_device(&address(&path), Change::PowerOnReset);
    let hint = watcher.expect("reset", started, SOON, reset);
    let unit = unit_of(&SysFs::default(), &hint).unwrap();
    assert_eq!(unit.map.expect("a path of the map").name, "mpatha");
    let back = on_path(&path, Change::PathReinstated);
    watcher.expect("link back", started, SOON, back);
}

/// Its own LUN on its own HBA, so that what is deleted is nobody else's.
const OWN: &str = "
set -euo pipefail
source /rig/lio.sh
case $1 in
    make)
        make_lun watch 1ab00009
        make_hba registrant50
        paths_on 11-watch registrant50
        ;;
    show) show_lun watch registrant50 >&2 ;;
    remove) remove_hba registrant50 && rm /run/udev/rules.d/11-watch.rules ;;
esac
scsi_address registrant50 || true
";

fn own(step: &str) -> String {
    run("bash", &["-c", OWN, "own", step]).trim().to_owned()
}

#[test]
fn a_disk_and_its_map_come_and_go() {
    let _lab = lab();
    let sysfs = SysFs::default();
    let hctl = own("make");
    let mut watcher = Watcher::start();
    let device = format!("/sys/bus/scsi/devices/{hctl}");
    let host = hctl.split(':').next().unwrap();
    let is_map = |hint: &Hint| {
        let known = matches!(&hint.unit, UnitName::Map { wwid: Some(_), .. });
        let named = unit_of(&SysFs::default(), hint)
            .is_some_and(|unit| unit.map.is_some() && unit.wwid.to_string().contains("1ab00009"));
        known && named && hint.change == Change::MapChanged
    };
    for round in ["shown", "scanned"] {
        let started = Instant::now();
        match round {
            "shown" => drop(own("show")),
            _ => fs::write(format!("/sys/class/scsi_host/host{host}/scan"), "- - -").unwrap(),
        }
        let added = || on_device(&hctl, Change::PathAdded);
        let hint = watcher.expect("disk there", started, SOON, added());
        assert_eq!(path_of(&sysfs, &hint).unwrap().hctl, hctl);
        watcher.expect("disk known to udev", started, SOON, added());
        let hint = watcher.expect("map there", started, SOON, is_map);
        let unit = unit_of(&sysfs, &hint).unwrap();
        let map = unit.map.expect("the map is there");
        assert!(sysfs.maps().unwrap().contains(&map));
        await_some("the disk is in the map", || {
            let paths = sysfs.paths_of(map.number).ok()?;
            paths.iter().any(|path| path.hctl == hctl).then_some(())
        });

        let started = Instant::now();
        fs::write(format!("{device}/delete"), "1").unwrap();
        let gone = on_device(&hctl, Change::PathRemoved);
        let hint = watcher.expect("disk gone", started, Duration::from_secs(5), gone);
        assert_eq!(unit_of(&sysfs, &hint), None);
        // The last path takes the map with it.
        let number = map.number;
        for (what, by_name) in [("map gone", false), ("map gone to udev", true)] {
            watcher.expect(what, started, SOON, |hint| {
                let named = matches!(&hint.unit, UnitName::Map { number: n, wwid }
                    if *n == number && wwid.is_some() == by_name);
                named && hint.change == Change::MapChanged && sysfs.map(number).is_none()
            });
        }
    }
    own("remove");
}

#[test]
fn lost_messages_are_known_to_be_lost() {
    let _lab = lab();
    runtime().block_on(async {
        let mut monitor = Monitor::with_buffer(4096);
        for _ in 0..200 {
            fs::write("/sys/class/mem/null/uevent", "change").unwrap();
        }
        let batch = tokio::time::timeout(AT_ONCE, monitor.next()).await;
        assert!(batch.expect("known at once").overflow);
    });
}
