//! The sandbox of reservd.service, and daemons in it.
//!
//! All scenarios' daemons are children of one unit that is made of the installed
//! reservd.service: every line of its section `[Service]` but those that say
//! when it starts and ends. So each of them has the capabilities, the filter of
//! system calls, the mounts and the devices that it has on a host.

use super::lab::*;
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

const INSTALLED: &str = "/usr/lib/systemd/system/reservd.service";
pub const UNIT: &str = "reservd-scenarios.service";
const ORDERS: &str = "/run/nursery.orders";
const PIDS: &str = "/run/nursery.pids";
/// What reservd.service is and does by itself.
pub const UNITS: [&str; 2] = ["reservd.socket", "reservd.service"];
/// The unit's exposure, as `systemd-analyze security` has it, is at most this.
const EXPOSURE: &str = "2.0";

/// A daemon in the sandbox.
pub struct Daemon(Pid);

impl Daemon {
    /// Starts one.
    pub fn spawn() -> Self {
        static NURSERY: OnceLock<Mutex<Nursery>> = OnceLock::new();
        let nursery = NURSERY.get_or_init(|| Mutex::new(Nursery::start()));
        let mut nursery = nursery.lock().unwrap_or_else(PoisonError::into_inner);
        Daemon(nursery.spawn())
    }

    pub fn id(&self) -> Pid {
        self.0
    }

    /// It has not ended.
    pub fn is_alive(&self) -> bool {
        let state = fs::read_to_string(format!("/proc/{}/stat", self.0));
        // After the name, which may have anything in it.
        state.is_ok_and(|text| {
            text.rsplit(") ")
                .next()
                .is_some_and(|rest| !rest.starts_with('Z'))
        })
    }

    /// Waits for its end, for up to a minute.
    pub fn wait(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        while self.is_alive() {
            assert!(Instant::now() < end, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The unit in which daemons are started.
struct Nursery {
    orders: File,
    pids: BufReader<File>,
}

impl Nursery {
    fn start() -> Self {
        keep_out();
        fs::write(format!("/run/systemd/system/{UNIT}"), unit()).unwrap();
        let open = |path| {
            nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
            OpenOptions::new()
                .read(true)
                .write(true)
                .open(path)
                .unwrap()
        };
        let (orders, pids) = (open(ORDERS), BufReader::new(open(PIDS)));
        run("systemctl", &["daemon-reload"]);
        run("systemctl", &["start", UNIT]);
        Nursery { orders, pids }
    }

    fn spawn(&mut self) -> Pid {
        self.orders.write_all(b"another\n").unwrap();
        let mut pid = String::new();
        self.pids.read_line(&mut pid).unwrap();
        Pid::from_raw(pid.trim().parse().unwrap())
    }
}

/// The installed units are not to start, by a client or the bus, while scenarios
/// have daemons of their own.
pub fn keep_out() {
    run(
        "systemctl",
        &[&["mask", "--runtime", "--now"], &UNITS[..]].concat(),
    );
}

/// The unit of the scenarios.
fn unit() -> String {
    let installed = fs::read_to_string(INSTALLED).expect("the package is installed");
    let (_, service) = installed.split_once("[Service]\n").unwrap();
    let (service, _) = service.split_once("[Install]\n").unwrap();
    let own = [
        "Type",
        "NotifyAccess",
        "ExecStart",
        "ExecReload",
        "Restart",
        "RestartSec",
        "RestartPreventExitStatus",
        "WatchdogSec",
    ];
    let kept = service.lines().filter(|line| {
        line.split_once('=')
            .is_none_or(|(name, _)| !own.contains(&name))
    });
    let kept: String = kept.map(|line| format!("{line}\n")).collect();
    format!("[Service]\nType=exec\nExecStart=/rig/nursery.sh\nStandardError=append:{LOG}\n{kept}")
}

/// What `systemd-analyze security` says of a unit, line by line.
fn exposure(unit: &str) -> Vec<(Value, Value)> {
    let text = run("systemd-analyze", &["security", "--json=short", unit]);
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    rows.into_iter()
        .map(|row| (row["json_field"].clone(), row["exposure"].clone()))
        .collect()
}

/// A field of `/proc/PID/status`.
pub fn status(process: Pid, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{field}:")));
    value.unwrap().trim().to_owned()
}

#[test]
fn the_scenarios_run_in_the_sandbox_of_the_package() {
    let lab = lab();
    // CAP_SYS_RAWIO and CAP_SYS_ADMIN.
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(status(lab.process(), set), "0000000000220000", "{set}");
    }
    assert_eq!(status(lab.process(), "CapInh"), "0000000000000000");
    assert_eq!(status(lab.process(), "CapAmb"), "0000000000000000");
    assert_eq!(status(lab.process(), "NoNewPrivs"), "1");
    assert_eq!(status(lab.process(), "Seccomp"), "2");
    // Masked, it cannot be asked for.
    run("systemctl", &["unmask", "--runtime", "reservd.service"]);
    let (installed, here) = (exposure("reservd.service"), exposure(UNIT));
    let score = Command::new("systemd-analyze")
        .args([
            "security",
            "--no-pager",
            "--threshold=20",
            "reservd.service",
        ])
        .output()
        .unwrap();
    keep_out();
    assert!(installed.len() > 50, "{installed:?}");
    assert_eq!(installed, here);
    let score_text = String::from_utf8(score.stdout).unwrap();
    let figure = score_text.lines().last().unwrap_or_default().to_owned();
    println!("{figure}");
    assert!(score.status.success(), "more than {EXPOSURE}: {score_text}");
}
