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

/// Prints how long it takes.
pub fn measure(setting: Setting<'_>) {
    let Setting {
        daemon,
        client,
        map,
        paths,
        other,
    } = setting;
    run(
        "systemctl",
        &["stop", "multipathd.service", "multipathd.socket"],
    );
    let signal = |signal| kill(Pid::from_raw(daemon as i32), Some(signal)).unwrap();
    let other = open(other);
    let device = open(map);
    let ignore = PrOut::basic(
        OutAction::RegisterAndIgnore,
        ScopeType(0),
        ReservationKey::ZERO,
        KEY,
    );
    let (cdb, list) = ignore.encode();
    while !client.run(device.as_fd(), &cdb, &list).unwrap().is_good() {}
    assert_eq!(registered(&other), 2);

    let leave = PrOut::register(KEY, ReservationKey::ZERO, RegisterFlags::default());
    let (leave, list) = leave.encode();
    let events = reinstatements();
    let mut times = Vec::new();
    let mut earlier = 0;
    for round in 0..ROUNDS {
        let path = paths[round % 2];
        let name = path.trim_start_matches("/dev/");
        let number = fs::read_to_string(format!("/sys/block/{name}/dev")).unwrap();
        let state = format!("/sys/block/{name}/device/state");
        let message = |verb: &str| {
            let text = format!("{verb} {}", number.trim());
            run("dmsetup", &["message", map, "0", &text]);
        };
        // Away, and without its registration, before the daemon looks.
        signal(Signal::SIGSTOP);
        message("fail_path");
        let disk = File::open(path).unwrap();
        straight(&disk, &leave, Data::Out(&list));
        fs::write(&state, "offline\n").unwrap();
        signal(Signal::SIGCONT);
        std::thread::sleep(Duration::from_millis(250));
        assert_eq!(registered(&other), 1);
        while events.try_recv().is_ok() {}

        fs::write(&state, "running\n").unwrap();
        let there = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                while registered(&other) < 2 {
                    std::thread::sleep(Duration::from_micros(500));
                }
                Instant::now()
            });
            message("reinstate_path");
            waiting.join().unwrap()
        });
        let event = events.recv().unwrap();
        match there.checked_duration_since(event) {
            Some(time) => times.push(time),
            // Found by the look that it has every second as long as a path lacks
            // the registration.
            None => earlier += 1,
        }
    }
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_micros();
    println!("\nFrom the kernel's message to the registered path:\n");
    println!("| rounds | registered before the message | p50 µs | p99 µs | longest µs |");
    println!("|---:|---:|---:|---:|---:|");
    println!(
        "| {ROUNDS} | {earlier} | {} | {} | {} |",
        at(50),
        at(99),
        at(100)
    );
    run("systemctl", &["start", "multipathd.service"]);
}
