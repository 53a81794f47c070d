//! A daemon to talk to.

use reservd::client::Client;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const START: Duration = Duration::from_secs(20);

/// A daemon with one unit, `lun0`, and the hosts `host-a` and `host-b`.
pub struct Daemon {
    folder: TempDir,
    process: Child,
}

impl Daemon {
    /// On a socket and a unit of its own.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().display();
        let config = format!(
            "[helper]\nsocket = \"{here}/socket\"\n\
             [simulator]\ndirectory = \"{here}\"\n\
             [[simulator.lun]]\nname = \"lun0\"\nwwid = \"3600140500000000000000000000000a0\"\n"
        );
        let file = folder.path().join("reservd.toml");
        fs::write(&file, config).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_reservd"))
            .arg("--config")
            .arg(&file)
            .env_remove("NOTIFY_SOCKET")
            .env_remove("LISTEN_FDS")
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut daemon = Daemon { folder, process };
        daemon.wait_for_greeting();
        daemon
    }

    /// The socket alone is there before the unit is.
    fn wait_for_greeting(&mut self) {
        let until = Instant::now() + START;
        while Client::connect_within(&self.socket(), START).is_err() {
            let ended = self.process.try_wait().unwrap();
            if ended.is_some() || Instant::now() > until {
                let log = fs::read_to_string(self.folder.path().join("log"));
                panic!("reservd does not serve: {}", log.unwrap());
            }
            sleep(Duration::from_millis(20));
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Words that start with `host-` are the simulated devices.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reservctl"));
        command.arg("--socket").arg(self.socket());
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
