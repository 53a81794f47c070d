//! Two helpers, and a directory in which ordinary files pass for disks.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::shim::shim;
use crate::wire::Client;

/// The drop-in binary that cargo builds beside this test.
const OURS: Option<&str> = option_env!("CARGO_BIN_EXE_reservd-pr-helper");

/// Which of the two helpers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Side {
    Old,
    Ours,
}

impl Side {
    pub fn program(self) -> PathBuf {
        match self {
            Side::Old => {
                let path = PathBuf::from("/usr/bin/qemu-pr-helper");
                assert!(
                    path.exists(),
                    "{} is missing: install the package qemu-system-common",
                    path.display()
                );
                path
            }
            // The binary of this tree, unless the environment names another (an installed one, say).
            Side::Ours => match (std::env::var_os("RESERVD_PR_HELPER"), OURS) {
                (Some(path), _) => path.into(),
                (None, Some(path)) => path.into(),
                (None, None) => panic!("this tree builds no reservd-pr-helper"),
            },
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Side::Old => "qemu-pr-helper",
            Side::Ours => "reservd",
        }
    }

    /// Both, unless the environment asks for one (while working on a vector).
    pub fn chosen() -> Vec<Side> {
        match std::env::var("RESERVD_DIFFERENTIAL_SIDE").as_deref() {
            Ok("old") => vec![Side::Old],
            Ok("ours") => vec![Side::Ours],
            Ok(other) => panic!("RESERVD_DIFFERENTIAL_SIDE is {other:?}, not \"old\" or \"ours\""),
            Err(_) => vec![Side::Old, Side::Ours],
        }
    }
}

/// Something to open, and how. The names are those of files in the lab.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    Disk,
    DiskReadOnly,
    DiskWriteOnly,
    DiskPath,
    /// A second whole disk.
    OtherDisk,
    /// The first disk's character node.
    Sg,
    Partition,
    LogicalVolume,
    Loop,
    RegularFile,
    DevZero,
}

/// file name, device as the shim writes it
const DEVICES: [(&str, &str); 6] = [
    ("disk", "b8:240"),
    ("other", "b65:0"),
    ("sg", "c21:240"),
    ("partition", "b8:241"),
    ("volume", "b253:9"),
    ("loop", "b7:9"),
];

pub struct Lab {
    dir: TempDir,
    side: Side,
    devices: String,
}

impl Lab {
    pub fn new(side: Side) -> Lab {
        let dir = TempDir::with_prefix("reservd-diff-").expect("a temporary directory");
        let devices = DEVICES.map(|(name, device)| {
            let file = File::create(dir.path().join(name)).expect("a file in the lab");
            format!("{}={device}", file.metadata().expect("stat").ino())
        });
        fs::write(dir.path().join("regular"), "not a disk").expect("a file in the lab");
        let lab = Lab {
            devices: devices.join(" "),
            dir,
            side,
        };
        lab.populate_sysfs().expect("a sysfs tree in the lab");
        lab.set_fault("");
        lab
    }

    pub fn side(&self) -> Side {
        self.side
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn open(&self, target: Target) -> OwnedFd {
        let (name, flags) = match target {
            Target::Disk => ("disk", OFlag::O_RDWR),
            Target::DiskReadOnly => ("disk", OFlag::O_RDONLY),
            Target::DiskWriteOnly => ("disk", OFlag::O_WRONLY),
            Target::DiskPath => ("disk", OFlag::O_PATH),
            Target::OtherDisk => ("other", OFlag::O_RDWR),
            Target::Sg => ("sg", OFlag::O_RDWR),
            Target::Partition => ("partition", OFlag::O_RDWR),
            Target::LogicalVolume => ("volume", OFlag::O_RDWR),
            Target::Loop => ("loop", OFlag::O_RDWR),
            Target::RegularFile => ("regular", OFlag::O_RDWR),
            Target::DevZero => ("/dev/zero", OFlag::O_RDWR),
        };
        nix::fcntl::open(
            &self.path(name),
            flags | OFlag::O_CLOEXEC,
            nix::sys::stat::Mode::empty(),
        )
        .expect(name)
    }

    pub fn open_nonblocking(&self) -> OwnedFd {
        let flags = OFlag::O_NONBLOCK.bits();
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(self.path("disk"))
            .expect("disk")
            .into()
    }

    /// Faults for the PR commands from now on: lines of NAME=value, as the shim reads them.
    pub fn set_fault(&self, lines: &str) {
        fs::write(self.path("fault.new"), lines).expect("a file in the lab");
        fs::rename(self.path("fault.new"), self.path("fault")).expect("a rename in the lab");
    }

    pub fn forget_commands(&self) {
        File::create(self.path("commands")).expect("a file in the lab");
    }

    /// What reached any device since: one line per SG_IO.
    pub fn commands(&self) -> String {
        fs::read_to_string(self.path("commands")).unwrap_or_default()
    }

    /// The helper's command line, under the shim.
    pub fn command(&self) -> Command {
        self.under_shim(Command::new(self.side.program()))
    }

    /// A script that ends by executing `$0`, the helper.
    pub fn bash(&self, script: &str) -> Command {
        let mut bash = Command::new("bash");
        bash.arg("-c").arg(script).arg(self.side.program());
        self.under_shim(bash)
    }

    fn under_shim(&self, mut command: Command) -> Command {
        command
            .env("LD_PRELOAD", shim())
            .env("SHIM_DEVICES", &self.devices)
            .env("SHIM_LOG", self.path("commands"))
            .env("SHIM_CONTROL", self.path("fault"))
            .env("RESERVD_SYSFS_ROOT", self.path("sys"))
            .env("RESERVD_CONTROL_SOCKET", self.path("control.sock"))
            .env("STATE_DIRECTORY", self.path("state"))
            .stdin(Stdio::null())
            .stdout(self.sink())
            .stderr(self.sink());
        command
    }

    /// Where the helper's own words go; printed when a helper does not come up.
    fn sink(&self) -> File {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("output"))
            .expect("a file in the lab")
    }

    pub fn start(&self) -> Helper {
        self.start_with(&[])
    }

    pub fn start_with(&self, more: &[&str]) -> Helper {
        let socket = self.path("socket");
        let child = self
            .command()
            .arg("-k")
            .arg(&socket)
            .args(more)
            .spawn()
            .expect("the helper starts");
        let mut helper = Helper { child, socket };
        if let Err(error) = helper.wait_until_ready() {
            let output = fs::read_to_string(self.path("output")).unwrap_or_default();
            panic!("{} does not serve: {error}\n{output}", self.side.name());
        }
        helper
    }

    fn populate_sysfs(&self) -> io::Result<()> {
        let sys = self.path("sys");
        for kind in ["block", "char"] {
            fs::create_dir_all(sys.join("dev").join(kind))?;
        }
        fs::create_dir(self.path("state"))?;
        for (name, node, wwid) in [
            (
                "sdzz",
                "block/8:240",
                "naa.60014050000000000000000000000001",
            ),
            ("sdzy", "block/65:0", "naa.60014050000000000000000000000002"),
        ] {
            let scsi = sys.join("devices/host9").join(name);
            let block = scsi.join("block").join(name);
            fs::create_dir_all(&block)?;
            for (attribute, value) in [
                ("type", "0"),
                ("wwid", wwid),
                ("state", "running"),
                ("vendor", "RESERVD "),
                ("model", "SHIM DISK"),
            ] {
                fs::write(scsi.join(attribute), format!("{value}\n"))?;
            }
            fs::write(block.join("dev"), format!("{}\n", &node[6..]))?;
            symlink("../..", block.join("device"))?;
            symlink(
                format!("../../devices/host9/{name}/block/{name}"),
                sys.join("dev").join(node),
            )?;
        }
        let partition = sys.join("devices/host9/sdzz/block/sdzz/sdzz1");
        fs::create_dir(&partition)?;
        fs::write(partition.join("partition"), "1\n")?;
        symlink(
            "../../devices/host9/sdzz/block/sdzz/sdzz1",
            sys.join("dev/block/8:241"),
        )?;

        let generic = sys.join("devices/host9/sdzz/scsi_generic/sg240");
        fs::create_dir_all(&generic)?;
        symlink("../..", generic.join("device"))?;
        symlink(
            "../../devices/host9/sdzz/scsi_generic/sg240",
            sys.join("dev/char/21:240"),
        )?;

        let volume = sys.join("devices/virtual/block/dm-9");
        fs::create_dir_all(volume.join("dm"))?;
        fs::create_dir(volume.join("slaves"))?;
        fs::write(
            volume.join("dm/uuid"),
            "LVM-abcdefghijklmnopqrstuvwxyz0123456789\n",
        )?;
        symlink(
            "../../devices/virtual/block/dm-9",
            sys.join("dev/block/253:9"),
        )?;

        fs::create_dir_all(sys.join("devices/virtual/block/loop9/loop"))?;
        symlink(
            "../../devices/virtual/block/loop9",
            sys.join("dev/block/7:9"),
        )
    }
}

/// A running helper; killed when dropped.
pub struct Helper {
    child: Child,
    pub socket: PathBuf,
}

impl Helper {
    pub fn adopt(child: Child, socket: PathBuf) -> Helper {
        Helper { child, socket }
    }

    pub fn wait_until_ready(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match Client::ready(&self.socket) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => {}
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(status.to_string()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn client(&self) -> Client {
        Client::ready(&self.socket).expect("the helper accepts and greets")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("our own child");
    }

    /// How it ended, if it does within that time.
    pub fn ended_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
