//! The package for Debian: installed on a clean image (by tests/vm/test.sh, before
//! all scenarios), configured with the two lines of README.md, upgraded under load,
//! removed and purged.

use super::lab::*;
use super::sandbox::{UNIT, UNITS, keep_out, status};
use nix::unistd::Pid;
use reservd::client::Client;
use reservd::scsi::{InAction, Outcome, PrIn, PrOut};
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What is installed is the same program in a package with a lower version.
pub const PRESENT: &str = "/payload/reservd.deb";
const MULTIPATH_CONF: &str = "/etc/multipath.conf";
/// Who runs QEMU here; the name is README.md's.
pub const USER: &str = "libvirt-qemu";

/// The host's own daemon, instead of the scenarios'.
pub struct Installed;

impl Installed {
    pub fn new(lab: &mut Lab) -> Self {
        lab.end("TERM");
        // It has the directories of the package in its sandbox.
        run("systemctl", &["stop", UNIT]);
        run(
            "systemctl",
            &[&["unmask", "--runtime"], &UNITS[..]].concat(),
        );
        run("systemctl", &[&["start"], &UNITS[..]].concat());
        Installed
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        keep_out();
        run("systemctl", &["start", UNIT]);
    }
}

/// Runs a program, whatever becomes of it.
fn attempt(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap()
}

pub fn dpkg(arguments: &[&str]) {
    let start = Instant::now();
    print!("{}", run("dpkg", arguments));
    println!("dpkg {arguments:?}: {:?}", start.elapsed());
}

/// Of the package's files, those that are on the disk.
fn present(files: &str) -> Vec<&str> {
    let exists = |file: &&str| fs::symlink_metadata(file).is_ok_and(|data| !data.is_dir());
    files.lines().filter(exists).collect()
}

/// The main process of reservd.service.
pub fn main_process() -> Pid {
    let pid = run(
        "systemctl",
        &["show", "--property=MainPID", "--value", "reservd.service"],
    );
    Pid::from_raw(pid.trim().parse().unwrap())
}

fn is(what: &str, unit: &str) -> bool {
    attempt("systemctl", &[what, "--quiet", unit])
        .status
        .success()
}

/// reservctl, as somebody who may use the disks, and belongs to the groups that
/// the user has.
fn as_user(arguments: &[&str]) -> Output {
    let id = |flag| run("id", &[flag, USER]).trim().to_owned();
    let groups = run("id", &["-G", USER]).trim().replace(' ', ",");
    let (user, group) = (id("-u"), id("-g"));
    let who = [
        "--reuid",
        &user,
        "--regid",
        &group,
        "--groups",
        &groups,
        "reservctl",
    ];
    attempt("setpriv", &[&who[..], arguments].concat())
}

/// A line of README.md that starts so; of an indented block.
fn line_of_readme(start: &str) -> String {
    let page = fs::read_to_string("/payload/README.md").unwrap();
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix("    ")?.strip_prefix(start));
    format!(
        "{start}{}",
        line.unwrap_or_else(|| panic!("no line {start} in README.md"))
    )
}

/// A client over one connection, until it is told to stop: how many commands
/// were GOOD, and how often it had to connect.
fn client(map: &str, stop: &AtomicBool) -> (usize, usize) {
    let device = open(map, true);
    let (mut good, mut connects) = (0, 0);
    let mut client = None;
    let mut run = |command: Result<&PrIn, &PrOut>| -> Outcome {
        loop {
            let connected = client.get_or_insert_with(|| {
                connects += 1;
                Client::connect(Path::new(SOCKET)).expect("the socket never refuses")
            });
            let outcome = match command {
                Ok(read) => connected.run(device.as_fd(), &read.cdb(), &[]),
                Err(write) => {
                    let (cdb, list) = write.encode();
                    connected.run(device.as_fd(), &cdb, &list)
                }
            };
            match outcome {
                Ok(outcome) => return outcome,
                Err(_lost) => client = None,
            }
        }
    };
    let keys = PrIn {
        action: InAction::ReadKeys,
        allocation_length: 8192,
    };
    while !stop.load(Ordering::Relaxed) {
        for command in [Ok(&keys), Err(&ignore(K2)), Err(&ignore(K1))] {
            let outcome = run(command);
            assert!(outcome.is_good(), "{command:?}: {outcome}");
            good += 1;
        }
    }
    (good, connects)
}

#[test]
fn the_package_serves_upgrades_and_leaves_nothing() {
    let mut lab = lab();
    let map = lab.env("MAP").to_owned();
    let other = lab.env("HOST_B").to_owned();
    let _installed = Installed::new(&mut lab);

    let files = run("dpkg", &["--listfiles", "reservd"]);
    assert!(present(&files).len() > 10, "{files}");

    // Installed, it serves. The group has nobody in it.
    for unit in UNITS {
        assert!(is("is-active", unit) && is("is-enabled", unit), "{unit}");
    }
    assert!(!is("is-enabled", "reservd-compat.socket"));
    run("usermod", &["--append", "--groups", "disk", USER]);
    let refused = as_user(&["pr", "keys", &map]);
    assert!(!refused.status.success(), "{refused:?}");
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("Permission denied"), "{text}");

    // The two lines, on a host whose multipath.conf says nothing of keys.
    let conf = fs::read_to_string(MULTIPATH_CONF).unwrap();
    fs::write(
        MULTIPATH_CONF,
        conf.replace("    reservation_key file\n", ""),
    )
    .unwrap();
    for start in ["usermod ", "printf "] {
        let line = line_of_readme(start);
        println!("# {line}");
        run("sh", &["-euc", &line]);
    }
    run("multipathd", &["reconfigure"]);
    for command in [
        &["pr", "register", &map, "0xa1"][..],
        &["pr", "reserve", &map, "--key", "0xa1", "--type", "WERO"],
    ] {
        let output = as_user(command);
        assert!(output.status.success(), "{command:?}: {output:?}");
    }
    assert_eq!(keys(&other), [K1.0, K1.0]);
    assert_eq!(holder_key(&other), Some(K1.0));
    await_some("multipathd guards the map", || {
        let key = attempt("multipathd", &["getprkey", "map", "mpatha"]);
        String::from_utf8_lossy(&key.stdout)
            .contains("0xa1")
            .then_some(())
    });

    // Upgraded under a client that never rests.
    let before = main_process();
    let stop = AtomicBool::new(false);
    let (good, connects) = std::thread::scope(|scope| {
        let client = scope.spawn(|| client(&map, &stop));
        std::thread::sleep(Duration::from_secs(1));
        dpkg(&["--install", PRESENT]);
        std::thread::sleep(Duration::from_secs(1));
        stop.store(true, Ordering::Relaxed);
        client.join().unwrap()
    });
    println!("{good} commands during the upgrade");
    assert_eq!(connects, 1, "the client stayed connected");
    assert_ne!(main_process(), before, "the new program runs");
    assert_eq!(status(main_process(), "CapEff"), "0000000000220000");
    assert_eq!(keys(&other), [K1.0, K1.0]);
    assert_eq!(holder_key(&other), Some(K1.0));
    // What a guest sends comes through.
    let cleared = as_user(&["pr", "clear", &map, "--key", "0xa1"]);
    assert!(cleared.status.success(), "{cleared:?}");
    let guest = attempt("/rig/guest.sh", &[SOCKET]);
    let console = String::from_utf8_lossy(&guest.stdout).into_owned();
    assert!(guest.status.success(), "{console}");
    assert_eq!(keys(&other), [0; 0]);

    // Removed, it is ready to come back; purged, it was never here.
    dpkg(&["--remove", "reservd"]);
    assert!(Client::connect(Path::new(SOCKET)).is_err());
    for socket in [SOCKET, "/run/reservd/control.sock"] {
        assert!(!Path::new(socket).exists(), "{socket}");
    }
    let left = [
        "/etc/apparmor.d/abstractions/libvirt-qemu.d/reservd",
        "/etc/reservd/reservd.toml",
    ];
    assert_eq!(present(&files), left);
    assert!(fs::read_dir("/var/lib/reservd").unwrap().next().is_some());
    dpkg(&["--purge", "reservd"]);
    clean(&files);

    for group in ["disk", "reservd"] {
        run("gpasswd", &["--delete", USER, group]);
    }
    fs::remove_file("/etc/multipath/conf.d/reservd.conf").unwrap();
    fs::write(MULTIPATH_CONF, conf).unwrap();
    run("multipathd", &["reconfigure"]);
    dpkg(&["--install", PRESENT]);
}

/// Nothing of the package is left but the group, which files might still have.
fn clean(files: &str) {
    assert_eq!(present(files), [""; 0]);
    for folder in [
        "/etc/reservd",
        "/var/lib/reservd",
        "/run/reservd",
        "/usr/share/doc/reservd",
    ] {
        assert!(!Path::new(folder).exists(), "{folder}");
    }
    let units = run("systemctl", &["list-unit-files", "--no-legend", "reservd*"]);
    let units = units
        .lines()
        .filter(|line| !line.starts_with("reservd-scenarios."));
    assert_eq!(units.count(), 0);
    for folder in [
        "/etc/systemd/system",
        "/var/lib/systemd/deb-systemd-helper-enabled",
    ] {
        let found = run("find", &[folder, "-name", "*reservd*"]);
        assert_eq!(found, "", "left behind");
    }
    run("getent", &["group", "reservd"]);
}
