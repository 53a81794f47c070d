//! The configuration file: text in, settings out.

#![forbid(unsafe_code)]

use serde::{Deserialize, Deserializer, Serialize, de};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the helper's socket is unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/reservd/pr-helper.sock";

/// Everything `reservd.toml` may say; every part may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// The socket for QEMU.
    pub helper: Helper,
    /// How commands are run.
    pub commands: Commands,
    /// What holds for every unit.
    pub defaults: Defaults,
    /// Simulated logical units; none by default.
    pub simulator: Option<Simulator>,
}

/// `[helper]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Helper {
    /// Where QEMU connects.
    pub socket: PathBuf,
    /// Permission bits of the socket, as an octal string.
    #[serde(deserialize_with = "octal")]
    pub mode: u32,
    /// Clients at a time.
    pub max_connections: usize,
}

impl Default for Helper {
    fn default() -> Self {
        Helper {
            socket: DEFAULT_SOCKET.into(),
            mode: 0o660,
            max_connections: 1024,
        }
    }
}

/// `[commands]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Commands {
    /// Every command is answered within this many milliseconds.
    #[serde(rename = "deadline-ms", deserialize_with = "milliseconds")]
    pub deadline: Duration,
}

impl Default for Commands {
    fn default() -> Self {
        Commands {
            deadline: Duration::from_secs(15),
        }
    }
}

/// `[defaults]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Defaults {
    /// Who changes reservations on multipath maps.
    pub engine: Engine,
    /// What multipathd is told of registrations on maps.
    pub multipathd: Coordination,
}

/// `multipathd = `
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Coordination {
    /// The key, and to register paths that return.
    #[default]
    Coordinate,
    /// Nothing; it is only asked whether it would.
    Observe,
    /// Nothing, and it is not asked either.
    Exclusive,
}

/// Who changes reservations on a multipath map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// libmpathpersist from 0.13 on, where it is there; else our own commands.
    #[default]
    Auto,
    /// libmpathpersist, for all that it does without harm.
    Mpathpersist,
    /// Our own commands, path by path.
    Direct,
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Engine::Auto => "auto",
            Engine::Mpathpersist => "mpathpersist",
            Engine::Direct => "direct",
        })
    }
}

/// `[simulator]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Simulator {
    /// Files that stand for the simulated devices are made here.
    pub directory: PathBuf,
    /// The logical units.
    #[serde(default)]
    pub lun: Vec<SimulatedLun>,
}

/// `[[simulator.lun]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SimulatedLun {
    /// Its folder's name.
    pub name: String,
    /// Its world-wide identity.
    pub wwid: String,
    /// The hosts that see it.
    #[serde(default = "two_hosts")]
    pub hosts: Vec<String>,
    /// Paths from each host.
    #[serde(default = "two_paths")]
    pub paths: usize,
}

fn two_hosts() -> Vec<String> {
    vec!["host-a".into(), "host-b".into()]
}

fn two_paths() -> usize {
    2
}

impl Config {
    /// Reads the text of a configuration file.
    ///
    /// # Errors
    /// What is wrong, with line and column.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// What is wrong, with the file's name, and line and column where it is
    /// about one.
    pub fn load(path: &Path) -> Result<Self, Invalid> {
        let name = || path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|error| Invalid::Unreadable(name(), error))?;
        let config = Self::parse(&text).map_err(|error| Invalid::Syntax(name(), error))?;
        config
            .check()
            .map_err(|error| Invalid::Meaning(name(), error))?;
        Ok(config)
    }
}

/// A configuration file that is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// It cannot be read.
    #[error("{0}: {1}")]
    Unreadable(String, std::io::Error),
    /// It is not TOML, or says something nobody knows.
    #[error("{0}: {1}")]
    Syntax(String, toml::de::Error),
    /// It says something that cannot be.
    #[error("{0}: {1}")]
    Meaning(String, String),
}

impl Simulator {
    /// What the file formats cannot say: names are used as file names.
    fn check(&self) -> Result<(), String> {
        let mut names = std::collections::BTreeSet::new();
        for lun in &self.lun {
            for name in std::iter::once(&lun.name).chain(&lun.hosts) {
                let plain = !name.is_empty()
                    && name
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
                if !plain {
                    return Err(format!(
                        "simulator: {name:?} is not a name of letters, digits, '-' and '_'"
                    ));
                }
            }
            if !names.insert(&lun.name) {
                return Err(format!("simulator: lun {:?} is there twice", lun.name));
            }
            if !(1..=16).contains(&lun.paths) {
                return Err(format!("simulator: lun {:?} needs 1 to 16 paths", lun.name));
            }
        }
        Ok(())
    }
}

impl Config {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// A sentence that names the section.
    pub fn check(&self) -> Result<(), String> {
        if !self.helper.socket.is_absolute() {
            return Err("helper: socket must be an absolute path".into());
        }
        if self.helper.max_connections == 0 {
            return Err("helper: max-connections must be at least 1".into());
        }
        match &self.simulator {
            Some(simulator) => simulator.check(),
            None => Ok(()),
        }
    }
}

fn octal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    match u32::from_str_radix(&text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err(de::Error::custom(
            "a mode is an octal string from \"0000\" to \"0777\"",
        )),
    }
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let count = u64::deserialize(deserializer)?;
    match count {
        100..=600_000 => Ok(Duration::from_millis(count)),
        _ => Err(de::Error::custom("from 100 to 600000 milliseconds")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_default() {
        let config = Config::parse("").unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn errors_name_line_and_column() {
        for (text, line) in [
            ("[helper]\nsocet = \"/x\"\n", "line 2, column 1"),
            ("[helper]\nmode = \"0888\"\n", "line 2, column 8"),
            ("[commands]\n\ndeadline-ms = 5\n", "line 3, column 15"),
            ("[helper\n", "line 1, column 8"),
            (
                "[defaults]\nengine = \"libmpathpersist\"\n",
                "line 2, column 10",
            ),
            ("[defaults]\nmultipathd = \"x\"\n", "line 2, column 14"),
        ] {
            let error = Config::parse(text).unwrap_err().to_string();
            assert!(error.contains(line), "{error}");
        }
    }

    #[test]
    fn names_of_simulated_units_cannot_leave_their_folder() {
        let text = "[simulator]\ndirectory = \"/run/x\"\n[[simulator.lun]]\nname = \"../etc\"\nwwid = \"3\"\n";
        assert!(Config::parse(text).unwrap().check().is_err());
    }
}
