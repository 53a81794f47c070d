//! What a helper does as a process: its command line, its signals, its socket, its limits.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{Helper, Lab, Target};
use crate::limits;
use crate::script::padded;
use crate::wire::{Answer, Client};

pub struct Check {
    pub name: &'static str,
    pub differs: Option<&'static str>,
    /// What a good helper does.
    pub golden: &'static str,
    /// `Err` says what this one did.
    pub run: fn(&Lab) -> Result<(), String>,
}

const fn check(
    name: &'static str,
    differs: Option<&'static str>,
    golden: &'static str,
    run: fn(&Lab) -> Result<(), String>,
) -> Check {
    Check {
        name,
        differs,
        golden,
        run,
    }
}

pub const CHECKS: &[Check] = &[
    check("relative socket path", None, "exit 1", |lab| {
        exits(lab, &["-k", "socket"], 1)
    }),
    check("unknown option", None, "exit 1", |lab| {
        exits(lab, &["--no-such-option"], 1)
    }),
    check("-h", None, "exit 0", |lab| exits(lab, &["-h"], 0)),
    check("--version", None, "exit 0", |lab| {
        exits(lab, &["--version"], 0)
    }),
    check("-q and -v are taken", None, "serves", |lab| {
        serves(&mut lab.start_with(&["-q", "-v"]))
    }),
    check("SIGTERM", None, "exit 0, socket removed", |lab| {
        ends_cleanly(lab, Signal::SIGTERM)
    }),
    check("SIGINT", None, "exit 0, socket removed", |lab| {
        ends_cleanly(lab, Signal::SIGINT)
    }),
    check(
        "SIGHUP",
        Some("W17"),
        "the daemon and its connections stay",
        hangup,
    ),
    check(
        "socket file of a killed helper",
        None,
        "is replaced",
        stale_socket,
    ),
    check(
        "second instance on the same path",
        Some("W18"),
        "whoever lives is reachable at the path",
        second_instance,
    ),
    check(
        "inherited listening socket",
        None,
        "served, and left in place at the end",
        activation,
    ),
    check(
        "pidfile",
        None,
        "pid and newline, mode 0600, write lock",
        pidfile,
    ),
    check(
        "pidfile after the end",
        Some("W17"),
        "removed",
        pidfile_removed,
    ),
    check("-d", None, "returns when the daemon serves", daemonize),
    check(
        "200 violations",
        None,
        "no descriptor is kept",
        limits::no_leak,
    ),
    check(
        "O_NONBLOCK of the client's descriptor",
        Some("W29"),
        "left as it is",
        limits::nonblocking,
    ),
    check(
        "more clients than descriptors",
        Some("W16"),
        "no busy loop, and served afterwards",
        limits::exhausted,
    ),
    check(
        "a disk that hangs, with 70 clients",
        Some("W15"),
        "another disk answers at once",
        limits::isolation,
    ),
    check(
        "a disk that answers after 25 s",
        Some("W15"),
        "CHECK CONDITION within 16 s",
        limits::deadline,
    ),
];

pub const READ_KEYS: [u8; 10] = [0x5e, 0x00, 0, 0, 0, 0, 0, 0x20, 0x00, 0];

pub fn ask(client: &mut Client, lab: &Lab, target: Target) {
    client
        .send(&padded(&READ_KEYS), &[lab.open(target).as_fd()])
        .expect("send");
}

pub fn want(condition: bool, found: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(found()) }
}

pub fn answers_good(client: &mut Client) -> Result<(), String> {
    match client.answer() {
        Answer::Reply { status: 0, .. } => Ok(()),
        other => Err(other.to_string()),
    }
}

pub fn serves(helper: &mut Helper) -> Result<(), String> {
    helper.wait_until_ready().map_err(|error| error.to_string())
}

fn exits(lab: &Lab, arguments: &[&str], code: i32) -> Result<(), String> {
    let child = lab
        .command()
        .args(arguments)
        .spawn()
        .expect("the helper starts");
    let ended = Helper::adopt(child, lab.path("socket")).ended_within(Duration::from_secs(5));
    want(ended.and_then(|status| status.code()) == Some(code), || {
        format!("{ended:?}")
    })
}

fn ends_cleanly(lab: &Lab, signal: Signal) -> Result<(), String> {
    let mut helper = lab.start();
    helper.signal(signal);
    let ended = helper.ended_within(Duration::from_secs(5));
    let there = helper.socket.exists();
    want(
        ended.is_some_and(|status| status.success()) && !there,
        || format!("{ended:?}, socket exists: {there}"),
    )
}

fn hangup(lab: &Lab) -> Result<(), String> {
    let mut helper = lab.start();
    let mut client = helper.client();
    helper.signal(Signal::SIGHUP);
    if let Some(status) = helper.ended_within(Duration::from_millis(500)) {
        return Err(format!("ended: {status}"));
    }
    ask(&mut client, lab, Target::Disk);
    answers_good(&mut client)
}

fn stale_socket(lab: &Lab) -> Result<(), String> {
    let mut helper = lab.start();
    helper.signal(Signal::SIGKILL);
    helper
        .ended_within(Duration::from_secs(5))
        .ok_or("survived SIGKILL")?;
    want(helper.socket.exists(), || {
        "a killed helper has removed its socket".into()
    })?;
    serves(&mut lab.start())
}

/// The second may take the path over or refuse to start; but the path must lead to a live daemon at every moment.
fn second_instance(lab: &Lab) -> Result<(), String> {
    let mut first = lab.start();
    let child = lab
        .command()
        .arg("-k")
        .arg(&first.socket)
        .spawn()
        .expect("the helper starts");
    let mut second = Helper::adopt(child, first.socket.clone());
    if second.ended_within(Duration::from_secs(1)).is_some() {
        return serves(&mut first);
    }
    first.signal(Signal::SIGTERM);
    first
        .ended_within(Duration::from_secs(5))
        .ok_or("the first does not end")?;
    let reached = Client::ready(&second.socket);
    want(reached.is_ok(), || {
        "the first, when it ends, removes the second's socket".into()
    })
}

/// What systemd does: descriptor 3 listens, LISTEN_PID and LISTEN_FDS say so.
fn activation(lab: &Lab) -> Result<(), String> {
    let socket = lab.path("activated");
    let listener = UnixListener::bind(&socket).expect("bind");
    let child = lab
        .bash(r#"exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0""#)
        .stdin(OwnedFd::from(listener))
        .spawn()
        .expect("bash starts");
    let mut helper = Helper::adopt(child, socket);
    serves(&mut helper)?;
    let mut client = helper.client();
    ask(&mut client, lab, Target::Disk);
    answers_good(&mut client)?;
    helper.signal(Signal::SIGTERM);
    helper
        .ended_within(Duration::from_secs(5))
        .ok_or("does not end")?;
    want(helper.socket.exists(), || {
        "removes a socket that is not its own".into()
    })
}

fn pidfile(lab: &Lab) -> Result<(), String> {
    let path = lab.path("pid");
    let helper = lab.start_with(&["-f", path.to_str().expect("UTF-8")]);
    // The socket may be there a moment before the pidfile.
    let deadline = Instant::now() + Duration::from_secs(2);
    let text = loop {
        let text = fs::read_to_string(&path).unwrap_or_default();
        if !text.is_empty() || Instant::now() > deadline {
            break text;
        }
        sleep(Duration::from_millis(5));
    };
    want(text == format!("{}\n", helper.pid()), || {
        format!("holds {text:?}")
    })?;
    let metadata = fs::metadata(&path).expect("stat");
    let mode = metadata.permissions().mode() & 0o7777;
    want(mode == 0o600, || format!("mode {mode:o}"))?;
    let (owner, inode) = (
        format!(" WRITE {} ", helper.pid()),
        format!(":{} ", metadata.ino()),
    );
    let locks = fs::read_to_string("/proc/locks").expect("/proc/locks");
    let locked = locks
        .lines()
        .any(|line| line.contains("POSIX") && line.contains(&owner) && line.contains(&inode));
    want(locked, || "no POSIX write lock of its own".into())
}

fn pidfile_removed(lab: &Lab) -> Result<(), String> {
    let path = lab.path("pid-2");
    let mut helper = lab.start_with(&["-f", path.to_str().expect("UTF-8")]);
    helper.signal(Signal::SIGTERM);
    helper
        .ended_within(Duration::from_secs(5))
        .ok_or("does not end")?;
    want(!path.exists(), || "stays".into())
}

fn daemonize(lab: &Lab) -> Result<(), String> {
    let (socket, path) = (lab.path("daemon"), lab.path("pid-3"));
    let mut command = lab.command();
    let child = command
        .arg("-d")
        .arg("-k")
        .arg(&socket)
        .arg("-f")
        .arg(&path)
        .spawn()
        .expect("the helper starts");
    let mut parent = Helper::adopt(child, socket.clone());
    let ended = parent.ended_within(Duration::from_secs(5));
    want(ended.is_some_and(|status| status.success()), || {
        format!("the parent: {ended:?}")
    })?;
    let reached = Client::ready(&socket).map_err(|error| format!("not there yet: {error}"));
    let deadline = Instant::now() + Duration::from_secs(2);
    let pid: Option<i32> = loop {
        let pid = fs::read_to_string(&path)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        if pid.is_some() || Instant::now() > deadline {
            break pid;
        }
        sleep(Duration::from_millis(5));
    };
    let pid = Pid::from_raw(pid.ok_or("no pidfile")?);
    let own = pid.as_raw() as u32 != parent.pid();
    kill(pid, Signal::SIGTERM).map_err(|error| format!("pidfile names {pid}: {error}"))?;
    want(own, || "the pidfile names the parent".into())?;
    reached.map(drop)
}
