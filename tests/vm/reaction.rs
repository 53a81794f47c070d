//! From the kernel's event to the registered path, where multipathd does not
//! register it: as another host sees it.

use super::{Client, KEY, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reservd::scsi::pr::{FullStatus, RegisterFlags};
use reservd::scsi::{Cdb, InAction, OutAction, PrOut, ReservationKey, ScopeType};
use reservd::sys::sg::{self, Data};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const ROUNDS: usize = 100;

/// What is measured with.
pub struct Setting<'a> {
    /// The daemon's process.
    pub daemon: u32,
    /// A client of it.
    pub client: &'a mut Client,
    pub map: &'a str,
    pub paths: [&'a str; 2],
    /// The other host's disk.
    pub other: &'a str,
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

/// Sends a command straight to a disk, again after unit attentions.
fn straight(disk: &File, cdb: &Cdb, mut data: Data<'_>) {
    loop {
        let data = match &mut data {
            Data::None => Data::None,
            Data::In(buffer) => Data::In(buffer),
            Data::Out(list) => Data::Out(list),
        };
        let limit = Duration::from_secs(10);
        let report = sg::execute(disk.as_fd(), cdb.as_device_bytes(), data, limit).unwrap();
        if (report.host_status, report.status) == (0, 0) {
            return;
        }
    }
}

/// How many nexuses have our key.
fn registered(other: &File) -> usize {
    let mut buffer = vec![0; 8192];
    let cdb = Cdb::pr_in(InAction::ReadFullStatus, 8192);
    straight(other, &cdb, Data::In(&mut buffer));
    let status = FullStatus::parse(&buffer).unwrap();
    let rows = status.descriptors.iter();
    rows.filter(|row| row.key == KEY).count()
}

/// When the kernel's messages arrive that say that a path is used again.
fn reinstatements() -> Receiver<Instant> {
    let (sender, times) = channel();
    let (ready, started) = channel();
    std::thread::spawn(move || {
        let monitor = udev::MonitorBuilder::new_kernel().unwrap();
        let monitor = monitor.match_subsystem_devtype("block", "disk").unwrap();
        let socket = monitor.listen().unwrap();
        ready.send(()).unwrap();
        loop {
            let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
            poll(&mut ready, PollTimeout::NONE).unwrap();
            let now = Instant::now();
            for event in socket.iter() {
                let action = event.property_value("DM_ACTION");
                if action.is_some_and(|action| action == "PATH_REINSTATED")
                    && sender.send(now).is_err()
                {
                    return;
                }
            }
        }
    });
    started.recv().unwrap();
    times
}

/// Prints how long it takes: with udevd at work on the same messages, which under
/// emulation takes both processors, and with udevd holding them back.
pub fn measure(mut setting: Setting<'_>) {
    run(
        "systemctl",
        &["stop", "multipathd.service", "multipathd.socket"],
    );
    println!("\nFrom the kernel's message to the registered path:\n");
    println!("| udevd | rounds | registered before the message | p50 µs | p99 µs | longest µs |");
    println!("|---|---:|---:|---:|---:|---:|");
    let events = reinstatements();
    for (name, option) in [
        ("works", "--start-exec-queue"),
        ("waits", "--stop-exec-queue"),
    ] {
        run("udevadm", &["control", option]);
        let mut times = setting.rounds(&events);
        times.sort();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_micros();
        println!(
            "| {name} | {ROUNDS} | {} | {} | {} | {} |",
            ROUNDS - times.len(),
            at(50),
            at(99),
            at(100)
        );
    }
    run("udevadm", &["control", "--start-exec-queue"]);
    run("systemctl", &["start", "multipathd.service"]);
}

impl Setting<'_> {
    /// The times of all rounds but those in which the path was found by the look
    /// that there is every second as long as one lacks the registration.
    fn rounds(&mut self, events: &Receiver<Instant>) -> Vec<Duration> {
        let other = open(self.other);
        let device = open(self.map);
        let kind = OutAction::RegisterAndIgnore;
        let none = ReservationKey::ZERO;
        let (cdb, list) = PrOut::basic(kind, ScopeType(0), none, KEY).encode();
        let mut register = || self.client.run(device.as_fd(), &cdb, &list).unwrap();
        while !register().is_good() {}
        assert_eq!(registered(&other), 2);
        let round = |round| self.round(self.paths[round % 2], &other, events);
        (0..ROUNDS).filter_map(round).collect()
    }

    fn round(&self, path: &str, other: &File, events: &Receiver<Instant>) -> Option<Duration> {
        let name = path.trim_start_matches("/dev/");
        let number = fs::read_to_string(format!("/sys/block/{name}/dev")).unwrap();
        let state = format!("/sys/block/{name}/device/state");
        let message = |verb: &str| {
            let text = format!("{verb} {}", number.trim());
            run("dmsetup", &["message", self.map, "0", &text]);
        };
        let signal = |signal| kill(Pid::from_raw(self.daemon as i32), Some(signal)).unwrap();
        // Away, and without its registration, before the daemon looks.
        signal(Signal::SIGSTOP);
        message("fail_path");
        let disk = File::open(path).unwrap();
        let (leave, list) =
            PrOut::register(KEY, ReservationKey::ZERO, RegisterFlags::default()).encode();
        straight(&disk, &leave, Data::Out(&list));
        fs::write(&state, "offline\n").unwrap();
        signal(Signal::SIGCONT);
        std::thread::sleep(Duration::from_millis(250));
        assert_eq!(registered(other), 1);
        while events.try_recv().is_ok() {}

        fs::write(&state, "running\n").unwrap();
        let there = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                while registered(other) < 2 {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Instant::now()
            });
            message("reinstate_path");
            waiting.join().unwrap()
        });
        there.checked_duration_since(events.recv().unwrap())
    }
}
