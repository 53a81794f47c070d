//! `reservctl explain`: why a unit is in its state, in sentences, and what shows it.

use super::page::{Page, Tone, clean};
use super::show::{self, UnitKeys};
use super::view::history::Event;
use super::view::unit::{Path, Unit};
use serde::Serialize;

/// The newest events are enough.
pub const EVENTS: u32 = 10;

/// A unit with its history.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// World-wide identity.
    pub wwid: String,
    /// The map's name.
    pub name: Option<String>,
    /// Its state.
    pub state: String,
    /// Why, as reservd says it.
    pub reason: String,
    /// What the state means.
    pub meaning: &'static str,
    /// What shows it.
    pub evidence: Vec<String>,
    /// What can be done; nothing where all is well.
    pub advice: Vec<String>,
    /// What happened, the newest last.
    pub events: Vec<Event>,
}

impl Explanation {
    /// Of this unit; reservd tells the newest events first.
    pub fn new(unit: &Unit, mut events: Vec<Event>, page: &Page) -> Self {
        events.reverse();
        Explanation {
            wwid: unit.wwid.clone(),
            name: unit.name.clone(),
            state: unit.state.clone(),
            reason: unit.reason.clone(),
            meaning: meaning(&unit.state),
            evidence: evidence(unit, page),
            advice: advice(unit),
            events,
        }
    }

    /// Sections.
    pub fn render(&self, page: &Page) -> String {
        // Longer lines are hard to read.
        let page = &Page {
            width: page.width.min(100),
            ..*page
        };
        let name = clean(self.name.as_ref().unwrap_or(&self.wwid));
        let tone = super::view::unit::tone_of_state(&self.state);
        let state = page.paint(tone, &clean(&self.state));
        let mut text = format!("{} is {state}.\n", page.paint(Tone::Head, &name));
        text += &page.paragraph(0, &format!("Reason: {}.", self.reason));
        text += "\n";
        text += &page.paragraph(0, self.meaning);
        let mut section = |title, lines: &[String]| {
            if !lines.is_empty() {
                text += &format!("\n{}\n", page.paint(Tone::Head, title));
                for line in lines {
                    text += &page.paragraph(2, line);
                }
            }
        };
        section("What shows it", &self.evidence);
        section("What can be done", &self.advice);
        if !self.events.is_empty() {
            text += &format!("\n{}\n", page.paint(Tone::Head, "What happened"));
            text += &show::events(page, &self.events);
        }
        text
    }
}

fn meaning(state: &str) -> &'static str {
    match state {
        "ok" => "The registration of this host stands on every path that can be used.",
        "degraded" => {
            "The registration of this host stands, but not on every usable path for certain. I/O \
             on a path without it may end in RESERVATION CONFLICT."
        }
        "conflict" => {
            "The registration of this host stands, but a usable path has another key, which \
             reservd did not put there and does not replace."
        }
        "unregistered" => {
            "Nobody on this host has registered a key, or who had has unregistered. Nothing is \
             wrong with that, unless a guest should have."
        }
        "unmanaged" => {
            "The unit is used by a single path. What is registered there is the client's own, and \
             reservd does not look after it."
        }
        "fenced" => {
            "Another host took this host's key away. Guests here that write get RESERVATION \
             CONFLICT. reservd puts the key back on no path by itself, for that would undo the fence."
        }
        "lost" => {
            "The unit forgot its registrations in a power loss. They are not put back before a \
             client registers, for meanwhile others may have taken the unit over."
        }
        "handed-off" => {
            "Only other hosts have the key of this host now, as after the migration of a guest. \
             Nothing is registered here before a client does so."
        }
        "doubtful" => {
            "reservd ended in the middle of a change, and took off what it cannot vouch for. \
             Nothing is registered here before a client does so."
        }
        "unknown" => {
            "The unit has not shown whether the registration of this host stands. Until it does, \
             nothing is put on any path."
        }
        _ => "This program does not know that state; reservd is newer.",
    }
}

fn evidence(unit: &Unit, page: &Page) -> Vec<String> {
    let mut lines = Vec::new();
    lines.push(match &unit.key {
        Some(key) => format!("This host last registered {key}."),
        None => "This host has registered no key.".to_owned(),
    });
    let (registered, usable, all) = unit.path_counts();
    lines.push(format!(
        "The registration is on {registered} of {usable} usable paths; there are {all} in all."
    ));
    lines.extend(unit.paths.iter().filter_map(odd));
    let keys = UnitKeys::new(unit).keys;
    for key in &keys {
        let nexuses = match key.nexuses {
            1 => "one nexus".to_owned(),
            many => format!("{many} nexuses"),
        };
        let owner = key.owner.as_ref().map(|owner| format!(", {owner}"));
        let owner = owner.unwrap_or_default();
        lines.push(format!("{} is registered for {nexuses}{owner}.", key.key));
    }
    lines.push(
        match (&unit.reservation_type, unit.reservation_key.as_deref()) {
            (None, _) => "There is no reservation.".to_owned(),
            (Some(kind), Some("0x0") | None) => format!("Every registrant holds {kind}."),
            (Some(kind), Some(key)) => match &unit.reservation_owner {
                Some(owner) => format!("{key} holds {kind} ({owner})."),
                None => format!("{key} holds {kind}."),
            },
        },
    );
    if let Some(usec) = unit.checked_usec {
        let (generation, ago) = (unit.generation, page.ago(usec));
        lines.push(format!(
            "All that was read {ago}, at generation {generation}."
        ));
    }
    if let Some(error) = &unit.last_error {
        lines.push(format!("The unit last failed with: {error}."));
    }
    lines
}

/// A path that is not as it should be.
fn odd(path: &Path) -> Option<String> {
    let name = match &path.name {
        Some(name) => format!("{name} ({})", path.hctl),
        None => path.hctl.clone(),
    };
    let sense = path.last_sense.as_ref();
    let sense = sense
        .map(|sense| format!("; its last sense is {sense}"))
        .unwrap_or_default();
    match (path.usable, path.registered.as_str(), &path.key) {
        (false, ..) => Some(format!("{name} is {}{sense}.", path.state())),
        (true, "yes", _) => None,
        (true, "other", Some(key)) => Some(format!("{name} has another key, {key}{sense}.")),
        (true, "other", None) => Some(format!("{name} has another key{sense}.")),
        (true, "no", _) => Some(format!("{name} is not registered{sense}.")),
        (true, ..) => Some(format!("Whether {name} is registered is not known{sense}.")),
    }
}

fn advice(unit: &Unit) -> Vec<String> {
    let name = unit.label();
    let say = |lines: &[&str]| {
        lines
            .iter()
            .map(|line| line.replace("UNIT", name))
            .collect()
    };
    match unit.state.as_str() {
        "degraded" => say(&[
            "reservctl repair UNIT: look again now, and register what lacks the key.",
            "reservctl paths UNIT: which paths those are, and their last sense.",
        ]),
        "conflict" => say(&[
            "Find out who put the other key there. reservctl pr unregister on that path alone, \
             with that key, takes it off; reservd then registers the path.",
        ]),
        "fenced" | "lost" | "doubtful" => say(&[
            "Let the guest register again, as its cluster does when it is let in.",
            "reservctl rearm UNIT: register the old key again, where you know that this host may \
             have it.",
            "reservctl forget UNIT: end what reservd remembers, where the unit is not needed here.",
        ]),
        "handed-off" => {
            say(&["reservctl forget UNIT: end what reservd remembers, where the guest stays away."])
        }
        "unknown" => say(&["reservctl explain --refresh UNIT: have the unit read now."]),
        _ => Vec::new(),
    }
}
