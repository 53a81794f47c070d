//! A daemon to talk to.

// Each test program uses a part of this.
#![allow(dead_code)]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reservd::client::Client;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const START: Duration = Duration::from_secs(20);
/// The unit's.
pub const WWID: &str = "3600140500000000000000000000000a0";

/// A daemon with one unit, `lun0`, and the hosts `host-a` and `host-b`.
pub struct Daemon {
    folder: TempDir,
    bus: String,
    process: Child,
}

/// The daemon as it was built for the tests; or the one that is named, for what is
/// measured rather than tested.
pub fn program() -> PathBuf {
    let measured = std::env::var_os("RESERVD_MEASURED");
    measured.map_or_else(|| env!("CARGO_BIN_EXE_reservd").into(), PathBuf::from)
}

impl Daemon {
    /// On a socket and a unit of its own.
    pub fn start() -> Self {
        Daemon::start_with("")
    }

    /// With more in its configuration.
    pub fn start_with(more: &str) -> Self {
        Daemon::start_on("unix:path=/dev/null", more)
    }

    /// On the bus with this address.
    pub fn start_on(bus: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        configure(folder.path(), more);
        let process = Command::new(program())
            .arg("--config")
            .arg(folder.path().join("reservd.toml"))
            .env_remove("NOTIFY_SOCKET")
            .env("RESERVD_BUS_ADDRESS", bus)
            .env_remove("LISTEN_FDS")
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let bus = bus.to_owned();
        let mut daemon = Daemon {
            folder,
            bus,
            process,
        };
        daemon.wait_for_greeting();
        daemon
    }

    /// Changes its configuration to this, besides socket and unit.
    pub fn configure(&self, more: &str) {
        configure(self.folder.path(), more);
    }

    /// Where its configuration is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The address of its bus.
    pub fn bus(&self) -> &str {
        &self.bus
    }

    /// Sends SIGHUP and returns what is logged until this is.
    pub fn reload(&self, last: &str) -> String {
        let before = self.log().len();
        let process = Pid::from_raw(self.process.id().try_into().unwrap());
        kill(process, Signal::SIGHUP).unwrap();
        let until = Instant::now() + START;
        loop {
            let new = self.log().split_off(before);
            if new.contains(last) {
                return new;
            }
            assert!(Instant::now() < until, "{last:?} is not in: {new}");
            sleep(Duration::from_millis(20));
        }
    }

    /// All that it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// The socket alone is there before the unit is.
    fn wait_for_greeting(&mut self) {
        let until = Instant::now() + START;
        while Client::connect_within(&self.socket(), START).is_err() {
            let ended = self.process.try_wait().unwrap();
            if ended.is_some() || Instant::now() > until {
                panic!("reservd does not serve: {}", self.log());
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its helper socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// One of the unit's devices, opened as a guest's is.
    pub fn device(&self, name: &str) -> File {
        let path = self.folder.path().join("lun0").join(name);
        File::options().read(true).write(true).open(path).unwrap()
    }

    /// Words that start with `host-` are the simulated devices.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reservctl"));
        command.arg("--socket").arg(self.socket());
        command.env("RESERVD_BUS_ADDRESS", &self.bus);
        for word in line.split_whitespace() {
            match word.starts_with("host-") {
                true => command.arg(self.folder.path().join("lun0").join(word)),
                false => command.arg(word),
            };
        }
        command
    }

    /// Runs the lines one after the other and returns what was seen: standard
    /// output, standard error after `! `, and every exit code but 0.
    pub fn session(&self, lines: &[&str]) -> String {
        let mut seen = String::new();
        for line in lines {
            let output = self.command(line).output().unwrap();
            seen += &format!("$ {line}\n{}", transcript(&output));
        }
        seen.replace(&self.folder.path().display().to_string(), "DIR")
    }

    /// Runs lines that are not worth looking at but for their success.
    pub fn prepare(&self, lines: &[&str]) {
        for line in lines {
            let output = self.command(line).output().unwrap();
            assert!(output.status.success(), "{line}: {}", transcript(&output));
        }
    }
}

fn configure(folder: &Path, more: &str) {
    let here = folder.display();
    let config = format!(
        "[helper]\nsocket = \"{here}/socket\"\n\
         [simulator]\ndirectory = \"{here}\"\n\
         [[simulator.lun]]\nname = \"lun0\"\nwwid = \"{WWID}\"\n{more}"
    );
    fs::write(folder.join("reservd.toml"), config).unwrap();
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to do.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Standard output, standard error after `! `, and an exit code other than 0.
pub fn transcript(output: &Output) -> String {
    let mut seen = String::from_utf8(output.stdout.clone()).unwrap();
    for line in String::from_utf8(output.stderr.clone()).unwrap().lines() {
        seen += format!("! {line}").trim_end();
        seen += "\n";
    }
    match output.status.code() {
        Some(0) => seen,
        Some(code) => format!("{seen}[exit {code}]\n"),
        None => format!("{seen}[{}]\n", output.status),
    }
}
