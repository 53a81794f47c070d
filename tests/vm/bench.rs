//! What a command costs on a multipath map: through reservd's socket, beside the
//! bare SG_IO that it contains, and beside the old helper, sg_persist and
//! mpathpersist.
//!
//! Runs inside the virtual machine of `tests/vm`, after `lab.sh`, on LUNs the lab
//! made; `benches/vm.sh` builds it and boots the machine. Prints a Markdown table
//! of medians in microseconds, once with one map on the host and once with many,
//! and how long a path that comes back waits for its registration ([`reaction`]).
//! Under emulation only ratios mean something.

#![allow(clippy::unwrap_used, reason = "a measurement may end at once")]

mod reaction;

use reservd::client::Client;
use reservd::scsi::cdb::Direction;
use reservd::scsi::pr::RegisterFlags;
use reservd::scsi::{Cdb, InAction, OutAction, PrOut, ReservationKey, ReservationType, ScopeType};
use reservd::sys::sg::{self, Data};
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SOCKET: &str = "/run/reservd/pr-helper.sock";
const KEY: ReservationKey = ReservationKey(0xa1);
/// Rounds for what takes microseconds, and for programs that are started.
const ROUNDS: usize = 300;
const PROGRAM_ROUNDS: usize = 9;
const MANY: &str = "40";

/// One line of the table.
struct Case {
    name: &'static str,
    cdb: Cdb,
    list: Vec<u8>,
    /// Arguments of sg_persist and mpathpersist that do the same.
    arguments: &'static str,
}

fn reading(name: &'static str, action: InAction, arguments: &'static str) -> Case {
    Case {
        name,
        cdb: Cdb::pr_in(action, 8192),
        list: Vec::new(),
        arguments,
    }
}

fn writing(name: &'static str, command: &PrOut, arguments: &'static str) -> Case {
    let (cdb, list) = command.encode();
    Case {
        name,
        cdb,
        list,
        arguments,
    }
}

fn cases() -> Vec<Case> {
    let wero = ScopeType::from(ReservationType::WriteExclusiveRegistrantsOnly);
    let act = |action| PrOut::basic(action, wero, KEY, ReservationKey::ZERO);
    vec![
        reading("READ KEYS", InAction::ReadKeys, "--in --read-keys"),
        reading(
            "READ RESERVATION",
            InAction::ReadReservation,
            "--in --read-reservation",
        ),
        reading(
            "READ FULL STATUS",
            InAction::ReadFullStatus,
            "--in --read-full-status",
        ),
        writing(
            "REGISTER",
            &PrOut::register(KEY, KEY, RegisterFlags::default()),
            "--out --register --param-rk=0xa1 --param-sark=0xa1",
        ),
        writing(
            "RESERVE",
            &act(OutAction::Reserve),
            "--out --reserve --param-rk=0xa1 --prout-type=5",
        ),
        writing(
            "RELEASE",
            &act(OutAction::Release),
            "--out --release --param-rk=0xa1 --prout-type=5",
        ),
    ]
}

fn median(rounds: usize, mut once: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..rounds)
        .map(|_| {
            let started = Instant::now();
            once();
            started.elapsed()
        })
        .collect();
    times.sort();
    times[rounds / 2]
}

fn program(name: &str, arguments: &str, device: &str) -> Option<Duration> {
    let run = || {
        Command::new(name)
            .args(arguments.split(' '))
            .arg(device)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    };
    run().then(|| {
        median(PROGRAM_ROUNDS, || {
            run();
        })
    })
}

fn open(device: &str) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(device)
        .unwrap()
}

struct Bench {
    map: String,
    path: String,
    reservd: Client,
    old: Client,
}

/// Starts a helper and waits until it greets.
fn start(program: &str, arguments: &[&str], socket: &str) -> (Child, Client) {
    let child = Command::new(program)
        .args(arguments)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    loop {
        match Client::connect(Path::new(socket)) {
            Ok(client) => return (child, client),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Median round trip of a command over a helper's socket.
fn round_trip(client: &mut Client, device: &str, case: &Case) -> Duration {
    let device = open(device);
    median(ROUNDS, || {
        let outcome = client.run(device.as_fd(), &case.cdb, &case.list).unwrap();
        assert!(outcome.is_good(), "{}: {outcome}", case.name);
    })
}

impl Bench {
    fn sg_io(&self, case: &Case) -> Duration {
        let device = open(&self.path);
        let mut buffer = vec![0; 8192];
        let limit = Duration::from_secs(10);
        median(ROUNDS, || {
            let data = match case.cdb.direction() {
                Direction::In => Data::In(&mut buffer),
                Direction::Out => Data::Out(&case.list),
            };
            let report = sg::execute(device.as_fd(), case.cdb.as_device_bytes(), data, limit);
            assert_eq!(report.unwrap().host_status, 0);
        })
    }

    fn table(&mut self, maps: &str) {
        let settled = Command::new("udevadm").arg("settle").status().unwrap();
        assert!(settled.success());
        println!("\n{maps}\n");
        println!(
            "| command | SG_IO on a path | qemu-pr-helper on a path | reservd on a path | reservd on the map \
             | sg_persist on a path | mpathpersist on the map |"
        );
        println!("|---|---:|---:|---:|---:|---:|---:|");
        for case in cases() {
            let bare = self.sg_io(&case);
            let old = round_trip(&mut self.old, &self.path, &case);
            let path = round_trip(&mut self.reservd, &self.path, &case);
            let map = round_trip(&mut self.reservd, &self.map, &case);
            let tool = program("sg_persist", case.arguments, &self.path);
            let library = program("mpathpersist", case.arguments, &self.map);
            let micros = |time: Option<Duration>| {
                time.map_or("fails".into(), |time| time.as_micros().to_string())
            };
            println!(
                "| {} | {} | {} | {} | {} | {} | {} |",
                case.name,
                bare.as_micros(),
                old.as_micros(),
                path.as_micros(),
                map.as_micros(),
                micros(tool),
                micros(library),
            );
        }
    }

    fn tables(&mut self) {
        // Through multipathd's library first, so that its own records agree.
        let register = "--out --register-ignore --param-sark=0xa1";
        assert!(program("mpathpersist", register, &self.map).is_some());
        self.table("One multipath map on the host:");
        let many = |argument: &str| {
            Command::new("/rig/many-maps.sh")
                .arg(argument)
                .status()
                .unwrap()
        };
        assert!(many(MANY).success());
        self.table("With 40 more maps:");
        many("undo");
    }
}

fn main() {
    let lab = fs::read_to_string("/run/lab.env").expect("lab.sh has run in this machine");
    let value = |name: &str| {
        let line = lab
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.unwrap().to_owned()
    };
    fs::write("/run/reservd-bench.toml", "").unwrap();
    let config = ["--config", "/run/reservd-bench.toml"];
    let (mut daemon, reservd) = start("/payload/reservd", &config, SOCKET);
    let old_socket = "/run/old.sock";
    let (mut helper, old) = start("/usr/bin/qemu-pr-helper", &["-k", old_socket], old_socket);
    let mut bench = Bench {
        map: value("MAP"),
        path: value("PATH_A"),
        reservd,
        old,
    };
    // Any argument: nothing but how long paths wait.
    if std::env::args().len() == 1 {
        bench.tables();
    }
    reaction::measure(reaction::Setting {
        daemon: daemon.id(),
        client: &mut bench.reservd,
        map: &bench.map,
        paths: [&bench.path, &value("PATH_B")],
        other: &value("HOST_B"),
    });
    for child in [&mut daemon, &mut helper] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
