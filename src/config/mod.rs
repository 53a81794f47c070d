//! The configuration: texts in, settings out.
//!
//! [`files`] finds the texts, [`layer`] reads one, [`Config::from_texts`] lays
//! them over each other, and [`Config::unit`] says what holds for one logical
//! unit. What a unit's settings are called, and what a reservation key looks
//! like, is as in multipath.conf.

#![forbid(unsafe_code)]

pub mod files;
pub mod key;
mod layer;
pub mod text;
pub mod unit;

pub use files::Files;
pub use key::KeySource;
pub use text::{Invalid, Place, Text};
pub use unit::{Coordination, Engine, Multipath, PathRepair, Selector, Unit};

use crate::owner::Hosts;
use layer::Layer;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where the helper's socket is unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/reservd/pr-helper.sock";

/// Where helpers that libvirt starts find the daemon.
pub const DEFAULT_CONTROL: &str = "/run/reservd/control.sock";

/// Where the journal is unless the configuration says otherwise.
pub const DEFAULT_JOURNAL: &str = "/var/lib/reservd";

/// Everything the configuration may say; every part may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// The socket for QEMU.
    pub helper: Helper,
    /// How commands are run.
    pub commands: Commands,
    /// What outlives a restart.
    pub journal: Journal,
    /// Control over D-Bus.
    pub dbus: DBus,
    /// Whose keys are whose.
    pub hosts: Arc<Hosts>,
    /// What holds for units that no section is about.
    pub defaults: Unit,
    /// What is said of single units, in the order of the files.
    pub multipath: Vec<Multipath>,
    /// Simulated logical units; none by default.
    pub simulator: Option<Simulator>,
}

/// `[helper]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helper {
    /// Where QEMU connects: an absolute path.
    pub socket: PathBuf,
    /// Permission bits of the socket.
    pub mode: u32,
    /// Where `reservd-pr-helper` connects, if not at the usual place.
    pub control_socket: Option<PathBuf>,
    /// Clients at a time, at least one.
    pub max_connections: usize,
}

impl Default for Helper {
    fn default() -> Self {
        Helper {
            socket: DEFAULT_SOCKET.into(),
            mode: 0o660,
            control_socket: None,
            max_connections: 1024,
        }
    }
}

impl Helper {
    /// The control socket. A daemon whose helper socket is not at the usual place
    /// is none that helpers should find, unless it says so.
    pub fn control(&self) -> Option<PathBuf> {
        let usual = self.socket == Path::new(DEFAULT_SOCKET);
        let default = usual.then(|| PathBuf::from(DEFAULT_CONTROL));
        self.control_socket.clone().or(default)
    }
}

/// `[commands]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commands {
    /// Every command is answered within this, from 100 ms to 10 minutes.
    pub deadline: Duration,
}

impl Default for Commands {
    fn default() -> Self {
        Commands {
            deadline: Duration::from_secs(15),
        }
    }
}

/// `[journal]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// Where the records are: an absolute path.
    pub directory: PathBuf,
}

impl Default for Journal {
    fn default() -> Self {
        Journal {
            directory: DEFAULT_JOURNAL.into(),
        }
    }
}

/// `[dbus]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DBus {
    /// Be on the system bus when there is one.
    pub enabled: bool,
    /// Show an object for each path.
    pub export_paths: bool,
}

impl Default for DBus {
    fn default() -> Self {
        DBus {
            enabled: true,
            export_paths: true,
        }
    }
}

/// `[simulator]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulator {
    /// Files that stand for the simulated devices are made here.
    pub directory: PathBuf,
    /// The logical units.
    pub lun: Vec<SimulatedLun>,
}

/// `[[simulator.lun]]`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SimulatedLun {
    /// Its folder's name: letters, digits, `-` and `_`.
    #[serde(deserialize_with = "layer::name")]
    pub name: String,
    /// Its world-wide identity.
    pub wwid: String,
    /// The hosts that see it, named by the same characters.
    #[serde(default = "two_hosts", deserialize_with = "layer::names")]
    pub hosts: Vec<String>,
    /// Paths from each host, 1 to 16.
    #[serde(default = "two_paths", deserialize_with = "layer::path_count")]
    pub paths: usize,
}

fn two_hosts() -> Vec<String> {
    vec!["host-a".into(), "host-b".into()]
}

fn two_paths() -> usize {
    2
}

impl Config {
    /// Reads the text of one configuration file.
    ///
    /// # Errors
    /// What is wrong, with line and column.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Config::from_texts(&[Text::new("configuration", text)])
    }

    /// Reads texts in their order: later settings take the place of earlier
    /// ones, sections about units add up.
    ///
    /// # Errors
    /// The first thing that is wrong, with file, line and column; where two
    /// places contradict each other, both.
    pub fn from_texts(texts: &[Text]) -> Result<Self, Invalid> {
        let mut config = Config::default();
        let mut hosts = Hosts::default();
        let mut simulator = None;
        for text in texts {
            let layer = Layer::parse(text)?;
            layer.helper.lay_over(&mut config.helper);
            layer.commands.lay_over(&mut config.commands);
            layer.journal.lay_over(&mut config.journal);
            layer.dbus.lay_over(&mut config.dbus);
            layer::add_hosts(layer.hosts, &mut hosts, text)?;
            layer.defaults.settings(text).lay_over(&mut config.defaults);
            for section in layer.multipath {
                let (new, span) = layer::multipath(section, text)?;
                if let Some(old) = config.about(&new.selector) {
                    let message = format!("{} has a section already: {}", new.selector, old.place);
                    return Err(text.refuse(span, message));
                }
                config.multipath.push(new);
            }
            if let Some(new) = layer.simulator {
                let span = new.span();
                if let Some(old) = simulator.replace(text.place(span.start)) {
                    let message = format!("there is a simulator already: {old}");
                    return Err(text.refuse(span, message));
                }
                config.simulator = Some(new.into_inner().into_simulator(text)?);
            }
        }
        config.hosts = Arc::new(hosts);
        Ok(config)
    }

    fn about(&self, selector: &Selector) -> Option<&Multipath> {
        self.multipath
            .iter()
            .find(|section| section.selector == *selector)
    }

    /// What holds for a unit. `alias` is the name of its multipath map, where it
    /// has one. Each setting is taken from the section that names the WWID, else
    /// from the one that names the alias, else from `[defaults]`.
    pub fn unit(&self, wwid: &str, alias: Option<&str>) -> Unit {
        let mut unit = self.defaults.clone();
        let by_alias = alias.map(|alias| Selector::Alias(alias.to_owned()));
        let by_wwid = Some(Selector::Wwid(wwid.to_owned()));
        for selector in [by_alias, by_wwid].into_iter().flatten() {
            if let Some(section) = self.about(&selector) {
                section.settings.clone().lay_over(&mut unit);
            }
        }
        unit
    }

    /// Every engine that is asked for somewhere.
    pub fn engines(&self) -> impl Iterator<Item = Engine> {
        let sections = self.multipath.iter();
        std::iter::once(self.defaults.engine)
            .chain(sections.filter_map(|section| section.settings.engine))
    }

    /// The settings whose change takes a restart, of those that differ from the
    /// ones the daemon was started with.
    pub fn held_up(&self, started: &Config) -> Vec<&'static str> {
        let (new, old) = (&self.helper, &started.helper);
        [
            ("socket", new.socket != old.socket),
            ("mode", new.mode != old.mode),
            ("control-socket", new.control_socket != old.control_socket),
            (
                "max-connections",
                new.max_connections != old.max_connections,
            ),
            ("directory", self.journal != started.journal),
            ("enabled", self.dbus.enabled != started.dbus.enabled),
            (
                "export-paths",
                self.dbus.export_paths != started.dbus.export_paths,
            ),
            ("simulator", self.simulator != started.simulator),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }
}

#[cfg(test)]
mod tests;
