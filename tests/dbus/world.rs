//! A daemon with three maps: `mpatha` is registered and reserved here, `mpathb` was
//! fenced by another host, and `mpathc` is free.

use crate::bus::{Bus, PATIENCE};
use crate::daemon::{Daemon, transcript};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Instant;

pub struct World {
    pub daemon: Daemon,
    /// Of programs by their short names.
    programs: PathBuf,
    _bus: Bus,
}

impl World {
    pub fn new() -> Self {
        let bus = Bus::started();
        let mut more = String::new();
        for (number, letter) in ["a", "b", "c"].iter().enumerate() {
            let _ = write!(
                more,
                "[[simulator.lun]]\nname = \"maps{number}\"\n\
                 wwid = \"3600140500000000000000000000000b{number}\"\n\
                 hosts = [\"mpath{letter}\", \"other{letter}\"]\n"
            );
        }
        more += "[hosts]\nnode2 = \"0xb1\"\n[defaults]\npoll-interval-ms = 200\n";
        let world = World {
            programs: PathBuf::from(env!("CARGO_BIN_EXE_reservctl"))
                .parent()
                .unwrap()
                .to_owned(),
            daemon: Daemon::start_on(&bus.address(), &more),
            _bus: bus,
        };
        world.eventually("no units in use");
        for line in [
            "pr register /dev/mapper/mpatha 0xa1",
            "pr register /dev/mapper/othera 0xb1",
            "pr reserve /dev/mapper/mpatha --key 0xa1 --type WERO",
            "pr register /dev/mapper/mpathb 0xa1",
            "pr register /dev/mapper/otherb 0xb1",
            "pr preempt /dev/mapper/otherb --key 0xb1 --victim 0xa1 --type WERO",
            "pr register /dev/mapper/mpathc 0xc1",
            "pr unregister /dev/mapper/mpathc --key 0xc1",
        ] {
            let output = world.run(&format!("reservctl {line}"));
            assert!(output.status.success(), "{line}: {}", transcript(&output));
        }
        world.eventually("mpathb  fenced");
        world.eventually("mpathc  unregistered");
        world
    }

    /// Waits until `status` has this.
    pub fn eventually(&self, part: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let seen = transcript(&self.run("reservctl status"));
            if seen.contains(part) {
                return;
            }
            assert!(Instant::now() < until, "{part:?} is not in {seen}");
        }
    }

    /// A line for a shell, with the maps' nodes and the host's folders in a place of
    /// their own.
    pub fn shell(&self, line: &str) -> Command {
        let here = self.daemon.folder().display().to_string();
        let mut line = line
            .replace("/etc/", &format!("{here}/etc/"))
            .replace("/run/", &format!("{here}/run/"));
        for (number, letter) in ["a", "b", "c"].iter().enumerate() {
            for name in ["mpath", "other"] {
                let node = format!("/dev/mapper/{name}{letter}");
                line = line.replace(&node, &format!("{here}/maps{number}/{name}{letter}"));
            }
        }
        for folder in ["etc/reservd/conf.d", "run"] {
            fs::create_dir_all(self.daemon.folder().join(folder)).unwrap();
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let socket = self.daemon.folder().join("socket");
        let line = line.replace(
            "reservctl ",
            &format!("reservctl --socket {} ", socket.display()),
        );
        let mut command = Command::new("bash");
        command
            .args(["-o", "pipefail", "-c", &line])
            .env("PATH", format!("{}:{path}", self.programs.display()))
            .env("RESERVD_BUS_ADDRESS", self.daemon.bus())
            .env_remove("NO_COLOR")
            .env("TERM", "xterm");
        command
    }

    pub fn run(&self, line: &str) -> Output {
        self.shell(line).output().unwrap()
    }

    /// What was seen, with times and folders that are the same in each run.
    pub fn session(&self, lines: &[&str]) -> String {
        let mut seen = String::new();
        for line in lines {
            let _ = write!(seen, "$ {line}\n{}", timeless(&transcript(&self.run(line))));
        }
        seen.replace(&self.daemon.folder().display().to_string(), "DIR")
    }
}

/// `3 s ago` and `2026-01-01T12:00:00Z` are the same in each run.
pub fn timeless(text: &str) -> String {
    let mut result = String::new();
    for line in text.split_inclusive('\n') {
        let mut line = line.to_owned();
        for (end, mask) in [(" s ago", "N"), ("Z  ", "TIME")] {
            if let Some(at) = line.find(end) {
                let is_part = |c: &char| c.is_ascii_digit() || matches!(c, '-' | ':' | 'T');
                let length = line[..at].chars().rev().take_while(is_part).count();
                line.replace_range(at - length..at, if length > 0 { mask } else { "" });
            }
        }
        result += &line;
    }
    result
}
