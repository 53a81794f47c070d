//! A host: the daemon under a service manager, disks that are files, front-ends and
//! QEMUs.

use crate::guest::Guest;
use crate::manager::{Manager, append};
use crate::qemu::Qemu;
use crate::shim::shim;
use crate::target::{Target, wwid};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Device numbers 8:N of the disks; each is a whole disk's.
pub const DISKS: [u32; 2] = [0, 16];
/// Longer than a front-end takes to start.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Host {
    pub manager: Manager,
    pub target: Target,
    devices: String,
    folder: TempDir,
}

impl Host {
    /// With a daemon that answers within this many milliseconds; not started yet,
    /// but its sockets are there.
    pub fn new(deadline: u32) -> Host {
        Self::make(deadline, true)
    }

    /// With a daemon that has no socket before it is started.
    pub fn without_sockets() -> Host {
        Self::make(15_000, false)
    }

    /// With a daemon that runs.
    pub fn running(deadline: u32) -> Host {
        let mut host = Host::new(deadline);
        host.manager.start();
        host.manager.ready();
        host
    }

    fn make(deadline: u32, sockets: bool) -> Host {
        let folder = TempDir::with_prefix("reservd-qtest-").expect("a temporary directory");
        let root = folder.path();
        let path = |name: &str| root.join(name);
        for name in ["run", "sys/dev/block", "journal"] {
            fs::create_dir_all(path(name)).expect("a directory");
        }
        let devices: Vec<_> = DISKS.map(|number| disk(root, number)).into();
        let devices = devices.join(" ");
        let target = Target::start(&path("target"), &DISKS);
        let configuration = format!(
            "[helper]\nsocket = {:?}\ncontrol-socket = {:?}\n[commands]\ndeadline-ms = {deadline}\n\
             [journal]\ndirectory = {:?}\n[dbus]\nenabled = false\n[defaults]\nengine = \"direct\"\n",
            path("run/pr-helper.sock"),
            path("run/control.sock"),
            path("journal"),
        );
        fs::write(path("reservd.toml"), configuration).expect("a configuration");
        let listen = |name: &'static str, file: &str| {
            (name, UnixListener::bind(path(file)).expect("a socket"))
        };
        let sockets = match sockets {
            true => vec![
                listen("helper", "run/pr-helper.sock"),
                listen("compat", "run/qemu-pr-helper.sock"),
                listen("control", "run/control.sock"),
            ],
            false => Vec::new(),
        };
        let program = env!("CARGO_BIN_EXE_reservd");
        let (own, known) = (root.to_owned(), devices.clone());
        let manager = Manager::new(root, sockets, move || {
            let mut command = Command::new(program);
            command.arg("--config").arg(own.join("reservd.toml"));
            environment(&mut command, &own, &known);
            command
        });
        Host {
            manager,
            target,
            devices,
            folder,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A front-end as libvirt starts one: `-k PATH` and nothing else.
    pub fn frontend(&self, name: &str) -> Frontend {
        let (command, socket) = self.frontend_command(name);
        self.frontend_by(command, socket)
    }

    /// The command line of a front-end, and where its socket will be.
    pub fn frontend_command(&self, name: &str) -> (Command, PathBuf) {
        let socket = self.path(name).join("pr-helper0.sock");
        fs::create_dir_all(self.path(name)).expect("a directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_reservd-pr-helper"));
        command.arg("-k").arg(&socket).stdin(Stdio::null());
        (command, socket)
    }

    /// Starts a front-end by a command that ends in its own.
    pub fn frontend_by(&self, mut command: Command, socket: PathBuf) -> Frontend {
        environment(&mut command, self.folder.path(), &self.devices);
        let mut frontend = Frontend {
            child: command.spawn().expect("the front-end starts"),
            socket,
        };
        frontend.wait_for_socket();
        frontend
    }

    /// A QEMU with this disk, whose helper is at `helper`.
    pub fn guest(&self, name: &str, disk: u32, helper: &Path) -> Guest {
        let device = self.path(&format!("sd{disk}"));
        let folder = self.folder.path();
        Guest::new(Qemu::start(folder, name, &device, &self.devices, helper))
    }

    /// What the daemon and front-ends said, for a test that failed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

/// What every process of ours runs with.
fn environment(command: &mut Command, root: &Path, devices: &str) {
    command
        .env("LD_PRELOAD", shim())
        .env("SHIM_DEVICES", devices)
        .env("SHIM_TARGET", root.join("target"))
        .env("RESERVD_SYSFS_ROOT", root.join("sys"))
        .env("RESERVD_CONTROL_SOCKET", root.join("run/control.sock"))
        .stdout(Stdio::null())
        .stderr(append(&root.join("log")));
}

/// A file that passes for the disk 8:`number`, and its place in sysfs; returns what
/// the shim has to know.
fn disk(root: &Path, number: u32) -> String {
    let name = format!("sd{number}");
    let file = File::create(root.join(&name)).expect("a file");
    file.set_len(1 << 20).expect("a size");
    let scsi = root.join("sys/devices/host9").join(&name);
    let block = scsi.join("block").join(&name);
    fs::create_dir_all(&block).expect("a directory");
    for (attribute, value) in [
        ("type", "0"),
        ("wwid", wwid(number).as_str()),
        ("state", "running"),
        ("vendor", "RESERVD "),
        ("model", "SHIM DISK"),
    ] {
        fs::write(scsi.join(attribute), format!("{value}\n")).expect("an attribute");
    }
    fs::write(block.join("dev"), format!("8:{number}\n")).expect("an attribute");
    symlink("../..", block.join("device")).expect("a link");
    symlink(
        format!("../../devices/host9/{name}/block/{name}"),
        root.join(format!("sys/dev/block/8:{number}")),
    )
    .expect("a link");
    format!("{}=b8:{number}", file.metadata().expect("stat").ino())
}

/// A running front-end.
pub struct Frontend {
    child: Child,
    pub socket: PathBuf,
}

impl Frontend {
    /// As libvirt does: the path is there, so it serves.
    pub fn wait_for_socket(&mut self) {
        let until = Instant::now() + PATIENCE;
        while !self.socket.exists() {
            let ended = self.child.try_wait().expect("our own child");
            assert!(ended.is_none() && Instant::now() < until, "{ended:?}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("our own child");
    }

    /// How it ended, if it does within that time.
    pub fn ended_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + patience;
        loop {
            let ended = self.child.try_wait().expect("our own child");
            if ended.is_some() || Instant::now() >= until {
                return ended;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Frontend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
