//! The front-end as libvirt starts it and treats it.

use super::{keys, read_keys, register, register_command};
use crate::host::{DISKS, Frontend, Host};
use nix::sys::signal::Signal;
use reservd::device::sim::{Fault, Stuck};
use reservd::scsi::SenseCode;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(5);

/// Waits until `condition` holds.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < until, "in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// As libvirt's virExec: a descriptor of the pid file holds its POSIX lock, which
/// goes at the first close of any descriptor of that file in the process.
fn locked(host: &Host, name: &str) -> (Frontend, u64) {
    let pidfile = host.path("pidfile");
    let inode = File::create(&pidfile).expect("a file").metadata();
    let (own, socket) = host.frontend_command(name);
    // The descriptor that python opened must stay too: its close would take the
    // lock along.
    let script = "import fcntl,os,sys; f=os.open(sys.argv[1],os.O_RDWR); \
                  os.set_inheritable(f,True); fcntl.lockf(f,fcntl.LOCK_EX,1); \
                  os.execv(sys.argv[2],sys.argv[2:])";
    let mut command = Command::new("python3");
    command.args(["-c", script]).arg(&pidfile);
    command.arg(own.get_program()).args(own.get_args());
    command
        .stdin(Stdio::null())
        .env("NOTIFY_SOCKET", host.path("virtqemud"));
    (
        host.frontend_by(command, socket),
        inode.expect("stat").ino(),
    )
}

fn is_locked(pid: u32, inode: u64) -> bool {
    let (owner, file) = (format!(" WRITE {pid} "), format!(":{inode} "));
    let locks = fs::read_to_string("/proc/locks").expect("/proc/locks");
    let mut lines = locks.lines();
    lines.any(|line| line.contains("POSIX") && line.contains(&owner) && line.contains(&file))
}

#[test]
fn the_inherited_pid_file_stays_locked_and_the_end_is_clean() {
    let host = Host::running(15_000);
    let virtqemud = std::os::unix::net::UnixDatagram::bind(host.path("virtqemud"));
    let virtqemud = virtqemud.expect("a socket");
    let (mut frontend, inode) = locked(&host, "vm1");
    assert!(is_locked(frontend.pid(), inode));
    let mut guest = host.guest("vm1", DISKS[0], &frontend.socket);
    assert!(register(&mut guest, 1).is_good());
    frontend.signal(Signal::SIGHUP);
    assert!(register(&mut guest, 2).is_good());
    assert!(
        is_locked(frontend.pid(), inode),
        "after commands and SIGHUP"
    );
    frontend.signal(Signal::SIGTERM);
    let ended = frontend.ended_within(Duration::from_secs(2));
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    assert!(!frontend.socket.exists());
    virtqemud.set_nonblocking(true).expect("a socket");
    assert!(virtqemud.recv(&mut [0; 64]).is_err(), "virtqemud was told");
}

#[test]
fn commands_in_flight_are_answered_within_a_second_of_sigterm() {
    let host = Host::running(15_000);
    let mut frontend = host.frontend("vm1");
    let mut guest = host.guest("vm1", DISKS[0], &frontend.socket);
    let disk = host.target.disk(DISKS[0]).clone();
    disk.path.script([Fault::Hang(Stuck::After)]);
    let (cdb, parameters) = register_command(1);
    guest.submit(cdb.as_device_bytes(), &parameters, 0);
    assert!(disk.path.wait_until_hanging(SOON));
    frontend.signal(Signal::SIGTERM);
    let outcome = guest.complete(0, Duration::from_millis(1_500));
    let code = SenseCode::TIMEOUT_DURING_PROCESSING;
    assert_eq!(outcome.sense_code(), Some(code), "{outcome}");
    let ended = frontend.ended_within(Duration::from_secs(1));
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    disk.path.release();
}

#[test]
fn a_socket_that_vanishes_is_made_again_for_the_same_users() {
    let mut host = Host::running(15_000);
    let frontend = host.frontend("vm1");
    let mut guest = host.guest("vm1", DISKS[0], &frontend.socket);
    // What libvirt does once the socket is there; and some time for it to be seen.
    fs::set_permissions(&frontend.socket, fs::Permissions::from_mode(0o606)).expect("chmod");
    if nix::unistd::geteuid().is_root() {
        // The directory is QEMU's as well.
        for path in [frontend.socket.clone(), host.path("vm1")] {
            std::os::unix::fs::chown(path, Some(64055), Some(108)).expect("chown");
        }
        let mode = fs::Permissions::from_mode(0o750);
        fs::set_permissions(host.path("vm1"), mode).expect("chmod");
    }
    let before = fs::metadata(&frontend.socket).expect("stat");
    thread::sleep(Duration::from_millis(1_200));
    fs::remove_file(&frontend.socket).expect("unlink");
    eventually("the socket is there again", || frontend.socket.exists());
    let after = fs::metadata(&frontend.socket).expect("stat");
    assert_ne!(after.ino(), before.ino());
    assert_eq!(after.mode(), before.mode());
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    // The old connection has not noticed, and new ones are served.
    assert!(register(&mut guest, 1).is_good());
    assert!(guest.qemu.is_connected());
    let mut other = host.guest("vm1b", DISKS[1], &frontend.socket);
    host.manager.restart(Signal::SIGKILL);
    assert!(register(&mut other, 2).is_good());

    // Somebody else's socket is left alone, also at the end.
    fs::remove_file(&frontend.socket).expect("unlink");
    let _successor = std::os::unix::net::UnixListener::bind(&frontend.socket).expect("bind");
    thread::sleep(Duration::from_millis(1_200));
    let successor = fs::metadata(&frontend.socket).expect("stat").ino();
    drop(frontend);
    let left = host.path("vm1/pr-helper0.sock");
    assert_eq!(fs::metadata(left).expect("stat").ino(), successor);
}

#[test]
fn it_ends_when_its_directory_and_its_clients_are_gone() {
    let host = Host::running(15_000);
    let mut frontend = host.frontend("vm1");
    let guest = host.guest("vm1", DISKS[0], &frontend.socket);
    fs::remove_dir_all(host.path("vm1")).expect("rm");
    assert_eq!(frontend.ended_within(Duration::from_millis(1_500)), None);
    drop(guest);
    let ended = frontend.ended_within(SOON);
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
}

#[test]
fn without_a_daemon_it_serves_by_itself_until_one_appears() {
    let mut host = Host::without_sockets();
    let mut frontend = host.frontend("vm1");
    let mut guest = host.guest("vm1", DISKS[0], &frontend.socket);
    assert!(register(&mut guest, 1).is_good());
    assert_eq!(keys(&read_keys(&mut guest)), [1]);
    // A command of its own is in flight when the daemon starts: that one waits.
    let disk = host.target.disk(DISKS[0]).clone();
    disk.path.script([Fault::Hang(Stuck::After)]);
    let (cdb, parameters) = register_command(2);
    guest.submit(cdb.as_device_bytes(), &parameters, 0);
    assert!(disk.path.wait_until_hanging(SOON));
    host.manager.start();
    thread::sleep(Duration::from_millis(1_500));
    assert!(!host.manager.is_ready(), "two would own the unit");
    disk.path.release();
    assert!(guest.complete(0, SOON).is_good());
    host.manager.ready();
    assert!(register(&mut guest, 3).is_good());
    assert_eq!(keys(&read_keys(&mut guest)), [3]);
    assert!(host.log().contains("commands go to it from now on"));
    // By now it is the daemon that runs them.
    host.manager.signal(Signal::SIGSTOP);
    guest.submit_read();
    thread::sleep(Duration::from_millis(300));
    host.manager.signal(Signal::SIGCONT);
    assert_eq!(keys(&guest.complete_read(SOON)), [3]);
    assert!(host.log().contains("relay connected"));
    assert_eq!(guest.qemu.status_changes(), [false; 0]);
    assert_eq!(frontend.ended_within(Duration::ZERO), None);
}

#[test]
fn a_start_that_fails_leaves_no_socket() {
    let host = Host::without_sockets();
    let (mut command, socket) = host.frontend_command("vm1");
    let missing = host.path("no-such-directory/pid");
    let output = command.arg("-f").arg(missing).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(words.lines().count(), 1, "{words}");
    assert!(!socket.exists());
    let left = fs::read_dir(host.path("vm1")).expect("a directory").count();
    assert_eq!(left, 0);
}

#[test]
fn a_broken_pipe_for_standard_error_ends_nothing() {
    let host = Host::running(15_000);
    let (own, socket) = host.frontend_command("vm1");
    let mut command = Command::new("bash");
    // The reader of the pipe is gone before the first word.
    command.args(["-c", "exec 2> >(true); sleep 0.2; exec \"$0\" -v -v \"$@\""]);
    command.arg(own.get_program()).args(own.get_args());
    let mut frontend = host.frontend_by(command, socket);
    let mut guest = host.guest("vm1", DISKS[0], &frontend.socket);
    assert!(register(&mut guest, 1).is_good());
    frontend.signal(Signal::SIGTERM);
    let ended = frontend.ended_within(Duration::from_secs(2));
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
}
