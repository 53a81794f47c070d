//! Paths that come back: each has the registration within two seconds of being
//! usable, whoever put it there and however it was away.
//!
//! The registration of the path in question is lost beforehand, without a fence:
//! it unregisters itself, with the daemon held still, and is away when the daemon
//! goes on. sg_persist on the other host is the witness.

use super::lab::*;
use super::multipathd::{WithoutMultipathd, await_armed};
use reservd::scsi::OutAction;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// From usable to registered.
const SOON: Duration = Duration::from_secs(2);
/// multipathd's checker has looked at all paths.
pub const CHECKED: Duration = Duration::from_millis(2500);

/// Which path of the map: the suffix of its names in lab.env.
const BOTH: [&str; 2] = ["A", "B"];

/// How a path is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Away {
    /// Its SCSI device is offline.
    State,
    /// Its cable is pulled.
    Transport,
    /// Its SCSI device is deleted.
    Deleted,
    /// It answers, but device-mapper does not use it.
    Failed,
}

impl Lab {
    pub fn disk(&self, path: &str) -> String {
        self.env(&format!("PATH_{path}")).to_owned()
    }

    /// Tells device-mapper about a path of the map.
    pub fn message(&self, verb: &str, path: &str) {
        let text = format!("{verb} {}", major_minor(&self.disk(path)));
        run("dmsetup", &["message", self.env("MAP"), "0", &text]);
    }

    fn transport(&self, path: &str, status: &str) {
        let tpg = self.env(&format!("TPG_{path}"));
        fs::write(format!("{tpg}/transport_status"), status).unwrap();
    }

    pub fn down(&self, path: &str, away: Away) {
        match away {
            Away::State => set_state(&self.disk(path), "offline"),
            Away::Transport => self.transport(path, "offline"),
            Away::Deleted => {
                let device = format!("/sys/bus/scsi/devices/{}", self.address(path));
                fs::write(format!("{device}/delete"), "1").unwrap();
            }
            Away::Failed => self.message("fail_path", path),
        }
    }

    /// Brings a path back; returns since when it can be used.
    pub fn up(&mut self, path: &str, away: Away) -> Instant {
        let now = Instant::now();
        match away {
            Away::State => set_state(&self.disk(path), "running"),
            Away::Transport => self.transport(path, "online"),
            Away::Deleted => {
                let address = self.address(path);
                let host = address.split(':').next().unwrap();
                fs::write(format!("/sys/class/scsi_host/host{host}/scan"), "- - -").unwrap();
                self.name_disks();
                return self.in_map(&self.disk(path));
            }
            Away::Failed => self.message("reinstate_path", path),
        }
        now
    }

    /// Waits until a disk is in the map's table; returns when it was first seen.
    fn in_map(&self, disk: &str) -> Instant {
        let map = fs::canonicalize(self.env("MAP")).unwrap();
        let map = map.file_name().unwrap().to_str().unwrap().to_owned();
        let name = disk.trim_start_matches("/dev/");
        let slave = format!("/sys/block/{map}/slaves/{name}");
        let end = Instant::now() + Duration::from_secs(30);
        while fs::metadata(&slave).is_err() {
            assert!(Instant::now() < end, "{disk} does not come into the map");
            std::thread::sleep(Duration::from_millis(5));
        }
        Instant::now()
    }

    /// Takes the registration off a path and the path away, before the daemon
    /// looks; device-mapper uses it no more when it loses it.
    pub fn lose(&self, path: &str, away: Away) {
        // Of a path that is deleted before the daemon hears that it failed,
        // nobody can say which it was.
        let still = away != Away::Deleted;
        if still {
            self.signal("STOP");
        }
        self.message("fail_path", path);
        if !still {
            std::thread::sleep(Duration::from_millis(300));
        }
        straight(&open(&self.disk(path), false), &register(K1, NONE));
        if away != Away::Failed {
            self.down(path, away);
        }
        assert_eq!(self.key_of(path), None, "nobody looks yet");
        self.signal("CONT");
    }

    /// The key of a path's nexus, as the other host sees it.
    pub fn key_of(&self, path: &str) -> Option<u64> {
        let initiator = self.initiator(&format!("NEXUS_{path}"));
        let rows = rows(self.env("HOST_B"));
        let row = rows.into_iter().find(|row| row.initiator == initiator);
        row.map(|row| row.key)
    }

    /// Waits until these paths have the registration.
    pub fn registered_soon(&self, what: &str, paths: &[&str], since: Instant) {
        loop {
            // Taken before the witness is asked, which takes its time here.
            let elapsed = since.elapsed();
            let lacking = paths.iter().filter(|path| self.key_of(path) != Some(K1.0));
            let lacking: Vec<_> = lacking.collect();
            if lacking.is_empty() {
                println!("{what}: registered within {elapsed:?}");
                return;
            }
            assert!(elapsed < SOON, "{what}: {lacking:?} after {elapsed:?}");
        }
    }

    /// device-mapper uses all paths of the map.
    pub fn all_used(&self) {
        await_some("all paths are used", || {
            let status = run("dmsetup", &["status", self.env("MAP")]);
            (!status.contains(" F ")).then_some(())
        });
    }
}

/// How many paths the daemon itself has brought in line with the registration.
pub fn repairs() -> usize {
    let (lines, _) = log_since(0, "path brought in line");
    lines.iter().filter(|line| line.contains("to=0xa1")).count()
}

fn registered(lab: &mut Lab, map: &str) {
    lab.good(map, &ignore(K1));
    lab.good(map, &act(OutAction::Reserve, K1, NONE));
    assert_eq!(keys(lab.env("HOST_B")), [K1.0; 2]);
}

fn withdrawn(lab: &mut Lab, map: &str) {
    lab.good(map, &act(OutAction::Clear, K1, NONE));
    lab.all_used();
}

#[test]
fn paths_return_to_a_map_that_multipathd_guards_and_no_writer_notices() {
    let mut lab = lab();
    let map = lab.env("MAP").to_owned();
    for away in [Away::State, Away::Transport, Away::Deleted] {
        for path in BOTH {
            registered(&mut lab, &map);
            await_armed(true);
            let before = repairs();
            lab.lose(path, away);
            std::thread::sleep(CHECKED);
            let stop = Arc::new(AtomicBool::new(false));
            let writer = super::hazards::writer(&map, &stop);
            let since = lab.up(path, away);
            lab.registered_soon(&format!("{away:?} {path}"), &BOTH, since);
            lab.all_used();
            std::thread::sleep(Duration::from_millis(300));
            stop.store(true, Ordering::Relaxed);
            let (done, failed) = writer.join().unwrap();
            println!("{done} writes, repaired by us: {}", repairs() - before);
            assert!(done > 0);
            assert_eq!(failed, 0, "{away:?} {path}");
            withdrawn(&mut lab, &map);
        }
    }
}

#[test]
fn paths_return_to_a_map_without_multipathd() {
    let mut lab = lab();
    let map = lab.env("MAP").to_owned();
    let _stopped = WithoutMultipathd::new();
    for away in [Away::State, Away::Transport, Away::Failed] {
        for path in BOTH {
            registered(&mut lab, &map);
            let before = repairs();
            lab.lose(path, away);
            // What device-mapper alone has failed can be written to all along.
            let since = lab.up(path, away);
            if away != Away::Failed {
                lab.message("reinstate_path", path);
            }
            lab.registered_soon(&format!("{away:?} {path}"), &BOTH, since);
            assert_eq!(repairs(), before + 1, "by nobody else");
            withdrawn(&mut lab, &map);
        }
    }
}

/// A third HBA, for this test alone.
const THIRD: &str = "
set -euo pipefail
source /rig/lio.sh
case $1 in
    make)
        make_hba registrant60
        paths_on 11-third registrant60
        ;;
    show) show_lun map registrant60 >&2 ;;
    remove) remove_hba registrant60 && rm /run/udev/rules.d/11-third.rules ;;
esac
tpg_of registrant60
nexus_of registrant60
";

/// Another path for the map, until this is dropped.
struct Third {
    tpg: String,
    nexus: String,
}

fn third(step: &str) -> String {
    run("bash", &["-c", THIRD, "third", step])
}

impl Third {
    fn new() -> Self {
        let output = third("make");
        let (tpg, nexus) = output.trim().split_once('\n').unwrap();
        Third {
            tpg: tpg.to_owned(),
            nexus: nexus.to_owned(),
        }
    }
}

impl Drop for Third {
    fn drop(&mut self) {
        third("remove");
    }
}

#[test]
fn a_new_path_of_a_map_is_registered() {
    for guarded in [true, false] {
        let mut lab = lab();
        let map = lab.env("MAP").to_owned();
        if !guarded {
            lab.end("TERM");
            lab.start_with("multipathd = \"exclusive\"\n");
        }
        registered(&mut lab, &map);
        let added = Third::new();
        lab.add_hba("C", &added.tpg, &added.nexus);
        let before = repairs();
        third("show");
        lab.name_disk("PATH_C", "C");
        let since = lab.in_map(&lab.disk("C"));
        lab.registered_soon(
            &format!("third, guarded: {guarded}"),
            &["A", "B", "C"],
            since,
        );
        println!("repaired by us: {}", repairs() - before);
        lab.good(&map, &act(OutAction::Clear, K1, NONE));
        drop(added);
        lab.all_used();
    }
}

#[test]
fn paths_that_came_while_the_daemon_was_away_are_registered_when_it_starts() {
    let mut lab = lab();
    let map = lab.env("MAP").to_owned();
    let _stopped = WithoutMultipathd::new();
    for signal in ["TERM", "KILL"] {
        for path in BOTH {
            lab.down(path, Away::State);
            lab.good(&map, &ignore(K1));
            assert_eq!(lab.key_of(path), None);
            // What the client was told is on the disk by then, or soon.
            std::thread::sleep(Duration::from_millis(200));
            lab.end(signal);
            lab.up(path, Away::State);
            lab.message("reinstate_path", path);
            let since = Instant::now();
            lab.start_with("");
            lab.registered_soon(&format!("{path} after SIG{signal}"), &BOTH, since);
            withdrawn(&mut lab, &map);
        }
    }
}

#[test]
fn a_path_that_returns_while_multipathd_restarts_is_registered() {
    let mut lab = lab();
    let map = lab.env("MAP").to_owned();
    for path in BOTH {
        registered(&mut lab, &map);
        await_armed(true);
        lab.lose(path, Away::State);
        run("systemctl", &["restart", "multipathd.service"]);
        let since = lab.up(path, Away::State);
        lab.registered_soon(&format!("{path}, multipathd restarted"), &BOTH, since);
        await_armed(true);
        lab.all_used();
        withdrawn(&mut lab, &map);
    }
}
