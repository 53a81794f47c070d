//! `reservctl doctor`: what this host has, and what follows from it.

use super::failure::Failure;
use super::report::Report;
use crate::config::{Config, Engine, Files};
use crate::engine::mpathpersist::{Launch, Probe, probe};
use crate::engine::policy::{Choice, Operation, Version, decide};
use crate::multipathd::{Multipathd, Unreachable};
use crate::protocol::multipath_conf::ReservationKeys;
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// Looks at the configuration, at libmpathpersist, which is loaded in a process
/// of its own, and at multipathd's configuration. Asking for that starts
/// multipathd where its socket does, as on Debian 12.
///
/// # Errors
/// [`Failure::Config`], [`Failure::Runtime`].
pub fn run(config: Option<&Path>) -> Result<Report, Failure> {
    let files = Files::new(config.map(Path::to_owned));
    let config = files.load().map_err(Failure::Config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    let (found, keys) = runtime.block_on(async {
        let found = probe(&Launch::new("/proc/self/exe")).await;
        (found, Multipathd::default().reservation_keys().await)
    });
    let doctor = Doctor::new(&config, found, Key::new(keys));
    Ok(Report::Doctor(doctor))
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Doctor {
    /// The setting `engine`.
    pub engine: Engine,
    /// Units with another one.
    pub units: Vec<Unit>,
    /// libmpathpersist.
    pub library: Library,
    /// `reservation_key` in multipath.conf.
    pub reservation_key: Key,
    /// Who runs which command on a multipath map.
    pub operations: Vec<Row>,
}

/// A unit with an engine of its own; the table is not about it.
#[derive(Debug, Serialize)]
pub struct Unit {
    /// `wwid "…"` or `alias "…"`.
    pub unit: String,
    /// Its engine.
    pub engine: Engine,
}

/// libmpathpersist as it was found.
#[derive(Debug, Serialize)]
pub struct Library {
    /// It can be loaded.
    pub found: bool,
    /// The version of multipath-tools it says it is, such as `0.9.4`; else null.
    pub version: Option<String>,
    /// The version it is treated as.
    pub treated_as: Option<String>,
    /// Why it cannot be used; else null.
    pub error: Option<String>,
}

/// `reservation_key` as multipathd has it. With `file`, guests may choose their
/// keys; else libmpathpersist and multipathd refuse all but one.
#[derive(Debug, Serialize)]
pub struct Key {
    /// In the section `defaults`: `file`, a key such as `0x123abc`, or null for
    /// none.
    pub default: Option<String>,
    /// In the section `multipaths`, where it takes precedence.
    pub maps: Vec<MapKey>,
    /// What to change in multipath.conf; null where guests may choose, and where
    /// it is not known.
    pub advice: Option<String>,
    /// Why it is not known; else null.
    pub error: Option<String>,
}

/// `reservation_key` of one map.
#[derive(Debug, Serialize)]
pub struct MapKey {
    /// The map.
    pub wwid: String,
    /// As the default.
    pub reservation_key: String,
}

/// One operation.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The commands.
    pub operation: String,
    /// `library`, `direct`, or `refuse` where the library was demanded and is
    /// not there.
    pub choice: Choice,
    /// The first version that does no harm; null for never.
    pub library_from: Option<String>,
    /// What is wrong with the library, or with its older versions.
    pub reason: &'static str,
}

impl Key {
    fn new(asked: Result<Option<ReservationKeys>, Unreachable>) -> Self {
        let (keys, error) = match asked {
            Ok(Some(keys)) => (Some(keys), None),
            Ok(None) => (
                None,
                Some("multipathd does not show its configuration".into()),
            ),
            Err(error) => (None, Some(format!("multipathd is not reachable: {error}"))),
        };
        let advice = keys.as_ref().and_then(ReservationKeys::advice);
        let keys = keys.unwrap_or_default();
        Key {
            default: keys.default.map(|key| key.to_string()),
            maps: keys
                .maps
                .into_iter()
                .map(|(wwid, key)| MapKey {
                    wwid,
                    reservation_key: key.to_string(),
                })
                .collect(),
            advice,
            error,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = &self.error {
            return writeln!(f, "reservation_key  not known: {error}");
        }
        let default = self.default.as_deref().unwrap_or("not set");
        write!(f, "reservation_key  {default}")?;
        for map in &self.maps {
            write!(f, ", {} for {}", map.reservation_key, map.wwid)?;
        }
        writeln!(f)?;
        match &self.advice {
            Some(advice) => writeln!(
                f,
                "                 guests cannot choose their keys: {advice}"
            ),
            None => Ok(()),
        }
    }
}

impl Doctor {
    fn new(config: &Config, found: Result<Probe, String>, reservation_key: Key) -> Self {
        let engine = config.defaults.engine;
        let own = config.multipath.iter().filter_map(|section| {
            let own = section.settings.engine.filter(|own| *own != engine)?;
            let unit = section.selector.to_string();
            Some(Unit { unit, engine: own })
        });
        let version = found.as_ref().ok().map(Probe::effective_version);
        let said = found.as_ref().ok().and_then(|probe| probe.version);
        Doctor {
            engine,
            units: own.collect(),
            library: Library {
                found: found.is_ok(),
                version: said.map(|[major, minor, patch]| Version(major, minor, patch).to_string()),
                treated_as: version.map(|version| version.to_string()),
                error: found.err(),
            },
            reservation_key,
            operations: Operation::ALL
                .iter()
                .map(|operation| Row {
                    operation: operation.to_string(),
                    choice: decide(engine, version, *operation),
                    library_from: operation.library_from().map(|from| from.to_string()),
                    reason: operation.reason(),
                })
                .collect(),
        }
    }
}

impl fmt::Display for Doctor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "engine           {}", self.engine)?;
        for Unit { unit, engine } in &self.units {
            writeln!(f, "                 {engine} for {unit}")?;
        }
        let Library {
            version,
            treated_as,
            error,
            ..
        } = &self.library;
        f.write_str("libmpathpersist  ")?;
        match (error, version) {
            (Some(error), _) => writeln!(f, "not usable: {error}")?,
            (None, Some(version)) if treated_as.as_ref() == Some(version) => {
                writeln!(f, "{version}")?;
            }
            (None, Some(version)) => writeln!(f, "{version}, with the code of before 0.13")?,
            (None, None) => writeln!(f, "there, of unknown version")?,
        }
        writeln!(f, "{}", self.reservation_key)?;
        writeln!(
            f,
            "{:<36}  {:<7}  {:<12}  remark on the library",
            "on multipath maps", "engine", "library from"
        )?;
        for row in &self.operations {
            let from = row.library_from.as_deref().unwrap_or("never");
            let (operation, choice, reason) = (&row.operation, row.choice, row.reason);
            writeln!(f, "{operation:<36}  {choice:<7}  {from:<12}  {reason}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Key {
        let text = "defaults {\n\treservation_key \"file\"\n}\n";
        Key::new(Ok(ReservationKeys::parse(text)))
    }

    #[test]
    fn people_see_who_runs_what_and_why() {
        let old = Probe {
            version: Some([0, 9, 4]),
            has_update_map_pr: true,
        };
        let text = "[defaults]\nengine = \"mpathpersist\"\n\
                    [[multipath]]\nalias = \"mpatha\"\nengine = \"direct\"\n\
                    [[multipath]]\nalias = \"mpathb\"\nengine = \"mpathpersist\"\n";
        let config = Config::parse(text).unwrap();
        insta::assert_snapshot!(Doctor::new(&config, Ok(old), file()), @r#"
        engine           mpathpersist
                         direct for alias "mpatha"
        libmpathpersist  0.9.4
        reservation_key  file

        on multipath maps                     engine   library from  remark on the library
        READ KEYS, RESERVATION, CAPABILITIES  direct   never         slow, and waits for dead paths
        READ FULL STATUS                      direct   never         every version corrupts memory from 31 registrations on
        REGISTER                              library  0.8.6         on demand: nobody learns which nexuses are ours; before 0.13 one odd path takes all back
        REGISTER, another key                 direct   never         preempts a key that hosts share where the holding path is lost
        REGISTER, key zero                    library  0.8.6         on demand: refused while multipathd is away; before 0.13 a holder's paths go in no order
        REGISTER AND IGNORE EXISTING KEY      library  0.8.6         on demand: as REGISTER; before 0.13 a path that appears meanwhile is missed
        RESERVE                               library  0.8.6         before 0.12 one path only, whether it works or not
        RELEASE                               direct   never         preempts a key that hosts share where the holding path is lost; before 0.12 may clear other hosts
        CLEAR                                 library  0.8.6         before 0.12 one path only, whether it works or not
        PREEMPT, PREEMPT AND ABORT            library  0.8.6         before 0.12 one path only, whether it works or not
        PREEMPT, own key or zero              direct   0.13.0        before 0.13 our other paths lose their registration
        REGISTER with TransportIDs            direct   never         its list overflows at 33 TransportIDs
        REGISTER AND MOVE                     direct   never         the library cannot express it
        REPLACE LOST RESERVATION              direct   never         the library cannot express it
        other scope than the unit             direct   never         the library knows the logical unit only
        "#);
    }

    #[test]
    fn what_is_missing_is_said() {
        let shown = Doctor::new(&Config::default(), Err("no such file".into()), file()).to_string();
        assert!(shown.contains("not usable: no such file"), "{shown}");
        let doubtful = Probe {
            version: Some([0, 13, 0]),
            has_update_map_pr: true,
        };
        let shown = Doctor::new(&Config::default(), Ok(doubtful), file()).to_string();
        assert!(shown.contains("0.13.0, with the code of before"), "{shown}");
    }
}
