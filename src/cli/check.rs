//! `reservctl check`: a plugin for monitoring systems. One line and performance
//! data, and exit codes, as Nagios' and Icinga's plugins have them.

use super::failure::Failure;
use super::page::{Tone, clean};
use super::view::Host;
use super::view::unit::Unit;
use serde::Serialize;
use std::fmt::Write;

/// How bad it is, from best to worst but for the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// All is well.
    Ok,
    /// Somebody should look.
    Warning,
    /// Something is lost.
    Critical,
    /// It was not found out.
    Unknown,
}

impl Severity {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Severity::Ok => 0,
            Severity::Warning => 1,
            Severity::Critical => 2,
            Severity::Unknown => 3,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Severity::Ok => "OK",
            Severity::Warning => "WARNING",
            Severity::Critical => "CRITICAL",
            Severity::Unknown => "UNKNOWN",
        }
    }
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Check {
    /// The worst of all.
    pub severity: Severity,
    /// In words.
    pub text: String,
    /// The units that are not well, with the reasons.
    pub troubles: Vec<Trouble>,
    /// Names and numbers.
    pub performance: Vec<Figure>,
}

/// A unit that is not well.
#[derive(Debug, Serialize)]
pub struct Trouble {
    /// World-wide identity.
    pub wwid: String,
    /// The map's name.
    pub name: Option<String>,
    /// How bad.
    pub severity: Severity,
    /// Its state.
    pub state: String,
    /// Why.
    pub reason: String,
}

/// One number.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// What it counts.
    pub name: &'static str,
    /// The count.
    pub value: usize,
}

impl Check {
    /// Of these units; all of them have to be registered where `registered`.
    pub fn new(host: &Host, units: &[&Unit], registered: bool) -> Self {
        let severity = |unit: &Unit| match unit.tone() {
            Tone::Good => Severity::Ok,
            Tone::Plain if registered => Severity::Critical,
            Tone::Warning => Severity::Warning,
            Tone::Bad => Severity::Critical,
            _ => Severity::Ok,
        };
        let mut troubles: Vec<Trouble> = units
            .iter()
            .map(|unit| Trouble {
                wwid: unit.wwid.clone(),
                name: unit.name.clone(),
                severity: severity(unit),
                state: unit.state.clone(),
                reason: unit.reason.clone(),
            })
            .filter(|trouble| trouble.severity > Severity::Ok)
            .collect();
        troubles.sort_by(|a, b| {
            b.severity
                .cmp(&a.severity)
                .then_with(|| a.name.cmp(&b.name))
        });
        let worst = troubles
            .first()
            .map_or(Severity::Ok, |trouble| trouble.severity);
        let named: Vec<_> = troubles.iter().map(Trouble::short).collect();
        let text = match (units.len(), troubles.len()) {
            (0, _) => "no units in use".to_owned(),
            (1, 0) => format!("{} is {}", units[0].label(), units[0].state),
            (all, 0) => format!("{all} units"),
            (all, some) => format!("{some} of {all} not well: {}", named.join(", ")),
        };
        let (mut registered, mut usable, mut paths) = (0, 0, 0);
        for unit in units {
            let (on, good, all) = unit.path_counts();
            registered += on;
            usable += good;
            paths += all;
        }
        let count = |severity| troubles.iter().filter(|t| t.severity == severity).count();
        let figure = |name, value| Figure { name, value };
        Check {
            severity: worst,
            text,
            performance: vec![
                figure("units", units.len()),
                figure("warning", count(Severity::Warning)),
                figure("critical", count(Severity::Critical)),
                figure("paths", paths),
                figure("paths_usable", usable),
                figure("paths_registered", registered),
                figure("clients", host.clients.len()),
            ],
            troubles,
        }
    }

    /// Nothing was found out. That reservd is away is critical: nobody looks after
    /// registrations, and guests' commands fail.
    pub fn failed(failure: &Failure) -> Self {
        Check {
            severity: match failure {
                Failure::Bus(_) => Severity::Critical,
                _ => Severity::Unknown,
            },
            text: failure.to_string(),
            troubles: Vec::new(),
            performance: Vec::new(),
        }
    }

    /// The line with its performance data, then a line for each trouble.
    pub fn render(&self) -> String {
        let mut text = format!("RESERVD {} - {}", self.severity.word(), plain(&self.text));
        let figures = self.performance.iter();
        let figures: Vec<_> = figures
            .map(|figure| format!("{}={}", figure.name, figure.value))
            .collect();
        if !figures.is_empty() {
            let _ = write!(text, " | {}", figures.join(" "));
        }
        text.push('\n');
        for trouble in &self.troubles {
            let line = format!("{}: {}", trouble.short(), trouble.reason);
            text += &plain(&line);
            text.push('\n');
        }
        text
    }
}

impl Trouble {
    fn short(&self) -> String {
        let name = self.name.as_ref().unwrap_or(&self.wwid);
        format!("{name} {}", self.state)
    }
}

/// A bar would begin performance data.
fn plain(text: &str) -> String {
    clean(text).replace('|', "/")
}
