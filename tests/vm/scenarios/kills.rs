//! A daemon that is killed at any moment: what it has written down explains every
//! key of ours on the target, and no fence is undone by the one after it.

use super::journal::record_of;
use super::lab::*;
use super::multipathd::WithoutMultipathd;
use super::paths::Away;
use reservd::client::Client;
use reservd::lun::state::record::Record;
use reservd::scsi::{OutAction, ReservationKey};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

const KILLS: usize = 200;
const FENCES: usize = 60;
/// No library to look for at each start.
const DEFAULTS: &str = "engine = \"direct\"\npoll-interval-ms = 200\n";

/// Numbers at random (Steele and others, SplitMix64), the same in every run.
struct Dice(u64);

impl Dice {
    /// A time up to this.
    fn within(&mut self, limit: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        limit.mul_f64(mixed as f64 / u64::MAX as f64)
    }
}

const fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// The map, its paths, and the other host's disk.
struct Stage<'a> {
    lab: &'a mut Lab,
    map: String,
    other: File,
}

impl<'a> Stage<'a> {
    fn new(lab: &'a mut Lab) -> Self {
        lab.end("TERM");
        lab.start_with(DEFAULTS);
        Stage {
            map: lab.env("MAP").to_owned(),
            other: open(lab.env("HOST_B"), true),
            lab,
        }
    }

    /// Keys on our two nexuses.
    fn ours(&self) -> Vec<u64> {
        let names = ["A", "B"].map(|path| self.lab.initiator(&format!("NEXUS_{path}")));
        let status = registrations(&self.other);
        let own = status.descriptors.iter().filter(|row| {
            let name = row.nexus.transport_id.to_string();
            names.contains(&name.replace("sas:", "0x"))
        });
        own.map(|row| row.key.0).collect()
    }

    /// Only the other path is registered; this one was away, and is usable now.
    fn lacking(&mut self, path: &str) {
        self.lab.good(&self.map, &ignore(K1));
        self.lab.good(&self.map, &act(OutAction::Clear, K1, NONE));
        self.lab.down(path, Away::State);
        self.lab.good(&self.map, &ignore(K1));
        assert_eq!(self.ours(), [K1.0]);
    }

    /// The kernel tells that something about the map has changed, which makes the
    /// daemon look.
    fn nudge(&self) {
        let map = fs::canonicalize(&self.map).unwrap();
        let name = map.file_name().unwrap().to_str().unwrap();
        fs::write(format!("/sys/block/{name}/uevent"), "change").unwrap();
    }

    fn record(&self) -> Record {
        record_of(&self.map)
    }

    /// What is on the target is in the record.
    fn explained(&self, what: &str) {
        let record = self.record();
        let keys = explained(&record);
        for key in self.ours() {
            assert!(
                keys.contains(&ReservationKey(key)),
                "{what}: nothing explains {key:#x}: {record:#?}"
            );
        }
    }
}

fn explained(record: &Record) -> BTreeSet<ReservationKey> {
    let made = record.registration.iter().chain(&record.former);
    let mut keys: BTreeSet<_> = made.map(|made| made.key).collect();
    keys.extend(record.pending.iter().flat_map(|cut| [cut.from, cut.to]));
    keys.extend(record.used.iter().chain(&record.earlier));
    keys.extend(record.paths.iter().flat_map(|path| &path.owes));
    keys
}

/// A client that sends one REGISTER AND IGNORE EXISTING KEY, and is told how it
/// ended or loses its daemon.
fn client(map: &str, key: ReservationKey) -> std::thread::JoinHandle<bool> {
    let mut client = Client::connect(Path::new(SOCKET)).unwrap();
    let device = open(map, true);
    std::thread::spawn(move || {
        let (cdb, list) = ignore(key).encode();
        let outcome = client.run(device.as_fd(), &cdb, &list);
        outcome.is_ok_and(|outcome| outcome.is_good())
    })
}

#[test]
fn whenever_it_is_killed_the_journal_explains_the_target() {
    let mut lab = lab();
    let _stopped = WithoutMultipathd::new();
    let started = Instant::now();
    let mut dice = Dice(1);
    let mut stage = Stage::new(&mut lab);
    let (mut answered, mut in_doubt, mut cut_off, mut repaired) = (0, 0, 0, 0);
    let mut starts = Vec::new();
    for kill in 0..KILLS {
        let path = ["A", "B"][kill / 4 % 2];
        let what = match kill % 4 {
            // While a client registers: a new key, on paths with another one.
            0 | 1 => {
                let key = ReservationKey(0xa0 + kill as u64 % 7);
                let client = client(&stage.map, key);
                std::thread::sleep(dice.within(ms(180)));
                stage.lab.end("KILL");
                let cut = usize::from(stage.record().pending.is_some());
                match client.join().unwrap() {
                    true => (answered, in_doubt) = (answered + 1, in_doubt + cut),
                    false => cut_off += cut,
                }
                "while registering"
            }
            // While a path that came back is registered.
            2 => {
                stage.lacking(path);
                stage.lab.up(path, Away::State);
                stage.nudge();
                std::thread::sleep(dice.within(ms(90)));
                stage.lab.end("KILL");
                repaired += usize::from(stage.ours().len() == 2);
                "while repairing"
            }
            // While it starts, with such a path.
            _ => {
                stage.lacking(path);
                stage.lab.end("KILL");
                stage.lab.up(path, Away::State);
                stage.lab.spawn_with(DEFAULTS);
                std::thread::sleep(dice.within(ms(200)));
                stage.lab.end("KILL");
                repaired += usize::from(stage.ours().len() == 2);
                "while starting"
            }
        };
        stage.explained(&format!("kill {kill}, {what}"));
        let start = Instant::now();
        stage.lab.start_with(DEFAULTS);
        starts.push(start.elapsed());
    }
    stage.lab.good(&stage.map, &ignore(K1));
    assert_eq!(keys(stage.lab.env("HOST_B")), [K1.0, K1.0]);
    starts.sort();
    println!(
        "{KILLS} kills in {:?}; a start takes {:?}; {cut_off} registrations were cut off, \
         {answered} had been answered, {in_doubt} of them before the journal knew; \
         {repaired} of {} repairs were through",
        started.elapsed(),
        starts[KILLS / 2],
        KILLS / 2,
    );
}

/// A path is being registered; meanwhile the other host fences us, and the daemon
/// is killed. Whatever it had done by then, the next one takes it off.
#[test]
fn no_fence_is_undone_by_a_daemon_that_dies_while_it_repairs() {
    let mut lab = lab();
    let _stopped = WithoutMultipathd::new();
    let mut dice = Dice(2);
    let mut stage = Stage::new(&mut lab);
    let (mut repaired, mut left) = (0, 0);
    for round in 0..FENCES {
        let path = ["A", "B"][round / 2 % 2];
        stage.lacking(path);
        straight(&stage.other, &ignore(B));
        let preempt = act(OutAction::Preempt, B, K1);
        stage.lab.up(path, Away::State);
        let position = log_since(0, "").1;
        stage.nudge();
        let (first, second) = (ms(4) + dice.within(ms(25)), dice.within(ms(10)));
        std::thread::sleep(first);
        match round % 2 {
            0 => {
                straight(&stage.other, &preempt);
                std::thread::sleep(second);
            }
            // Exactly between two of its steps, and then one more.
            _ => {
                stage.lab.signal("STOP");
                straight(&stage.other, &preempt);
                stage.lab.signal("CONT");
                std::thread::sleep(second / 4);
            }
        }
        stage.lab.end("KILL");
        let (lines, position) = log_since(position, "to=0xa1");
        repaired += lines.len();
        left += stage.ours().len();
        stage.lab.start_with(DEFAULTS);
        let end = Instant::now() + ms(1500);
        while !stage.ours().is_empty() {
            assert!(Instant::now() < end, "round {round}: {:?}", stage.record());
            std::thread::sleep(ms(2));
        }
        std::thread::sleep(ms(250));
        assert_eq!(stage.ours(), [0; 0], "round {round}");
        let (again, _) = log_since(position, "to=0xa1");
        assert!(again.is_empty(), "round {round}: {again:#?}");
    }
    println!(
        "{FENCES} fences; {repaired} paths had been registered by then, \
         {left} keys were left by the daemon that was killed"
    );
}
