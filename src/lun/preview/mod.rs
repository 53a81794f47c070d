//! What a change would do, in words: which command goes to which path, and what
//! is at stake. Pure; says what [`direct`](crate::engine::direct) would do.

mod risk;

use super::snapshot::{PathView, Registered, Snapshot};
use super::state::PathId;
use super::upkeep::Upkeep;
use crate::scsi::pr::{FullStatus, Reservation};
use crate::scsi::{Cdb, InAction, OutAction, PrOut, ReservationKey, ReservationType};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// What is about to be done to a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// A command, as a client would send it.
    Send(PrOut),
    /// What the actor does by itself.
    Tend(Upkeep),
    /// Nothing has to be done.
    Nothing(&'static str),
}

/// One step of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// The command's CDB in hexadecimal digits; empty where none is sent.
    pub cdb: String,
    /// The path it goes to first; empty for any that answers.
    pub path: String,
    /// What it does.
    pub what: String,
    /// What somebody may lose by it; empty for nothing.
    pub risk: String,
}

/// What is known of the unit.
#[derive(Debug, Clone)]
pub struct Known {
    /// The key of this host, if its registration stands.
    own: Option<ReservationKey>,
    /// The key of this host, whether it stands or not.
    last: Option<ReservationKey>,
    paths: Vec<PathView>,
    /// On how many nexuses of this host, and of others, each key is registered;
    /// `None` where that is not known.
    registered: Option<BTreeMap<ReservationKey, [usize; 2]>>,
    held: Option<Reservation>,
    /// The unit's state in words.
    state: String,
}

impl Known {
    /// By what was last seen of the unit and, better, what it says now; the paths
    /// in the order in which commands try them.
    pub fn new(
        own: Option<ReservationKey>,
        seen: &Snapshot,
        order: &[PathId],
        status: Option<&FullStatus>,
        held: Option<Reservation>,
    ) -> Self {
        let place = |path: &PathView| order.iter().position(|id| *id == path.id);
        let mut paths = seen.paths.clone();
        // Nobody may have looked at the unit yet.
        let new = order
            .iter()
            .filter(|id| !seen.paths.iter().any(|path| path.id == **id));
        paths.extend(new.cloned().map(PathView::new));
        paths.sort_by_key(|path| place(path).unwrap_or(usize::MAX));
        let known = seen.registrations.as_ref().map(|all| &all.registrants);
        let known = known.filter(|all| !all.is_empty());
        let local: BTreeSet<_> = known
            .into_iter()
            .flatten()
            .filter(|row| row.local)
            .map(|row| &row.nexus)
            .collect();
        // One registration may have a row for each target port.
        let nexuses: Option<BTreeSet<_>> = match status.filter(|status| status.complete) {
            Some(status) => {
                let rows = status.descriptors.iter();
                Some(rows.map(|row| (row.key, &row.nexus)).collect())
            }
            None => known.map(|all| all.iter().map(|row| (row.key, &row.nexus)).collect()),
        };
        let registered = nexuses.map(|nexuses| {
            let mut count = BTreeMap::<_, [usize; 2]>::new();
            for (key, nexus) in nexuses {
                let ours = match local.is_empty() {
                    true => own == Some(key),
                    false => local.contains(nexus),
                };
                count.entry(key).or_default()[usize::from(!ours)] += 1;
            }
            count
        });
        Known {
            own,
            last: seen.key,
            paths,
            registered,
            held,
            state: format!("{} ({})", seen.state, seen.reason),
        }
    }

    /// `0xb1 on 2 nexuses`, whosever.
    fn nexuses(&self, key: ReservationKey) -> String {
        match &self.registered {
            None => format!("{key}, wherever it is registered,"),
            Some(registered) => on(key, registered.get(&key).map_or(0, |of| of[0] + of[1])),
        }
    }

    /// The reservation, where this key or every registrant holds it.
    fn held_by(&self, key: ReservationKey) -> Option<ReservationType> {
        let held = self.held.filter(|held| {
            let kind = held.scope_type.kind();
            held.key == key || kind.is_some_and(ReservationType::is_all_registrants)
        });
        held.and_then(|held| held.scope_type.kind())
    }

    fn usable(&self) -> impl Iterator<Item = &PathView> {
        self.paths.iter().filter(|path| path.usable)
    }
}

/// `0xb1 on 2 nexuses`.
fn on(key: ReservationKey, number: usize) -> String {
    let plural = if number == 1 { "" } else { "es" };
    format!("{key} on {number} nexus{plural}")
}

/// The steps of a deed, in their order.
pub fn preview(deed: &Deed, known: &Known) -> Vec<Step> {
    match deed {
        Deed::Nothing(why) => vec![note(why)],
        Deed::Send(command) => send(command, known),
        Deed::Tend(upkeep) => tend(upkeep, known),
    }
}

fn note(what: &str) -> Step {
    Step {
        what: what.into(),
        ..Step::default()
    }
}

fn hexadecimal(cdb: &Cdb) -> String {
    cdb.as_device_bytes()
        .iter()
        .fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn ask(action: InAction, length: u16) -> Step {
    Step {
        cdb: hexadecimal(&Cdb::pr_in(action, length)),
        what: action.to_string(),
        ..Step::default()
    }
}

fn send(command: &PrOut, known: &Known) -> Vec<Step> {
    let mut steps = match command.action {
        action if action.registers() => on_every_path(command, known),
        OutAction::Release => on_every_path(command, known),
        _ => on_one_path(command, known),
    };
    if let Some(first) = steps.first_mut() {
        first.risk = risk::of(command, known);
    }
    steps
}

/// A step for each path: those that are away get none, but are not forgotten.
fn on_every_path(command: &PrOut, known: &Known) -> Vec<Step> {
    if known.paths.is_empty() {
        return vec![step(command, None)];
    }
    let (usable, away): (Vec<_>, Vec<_>) = known.paths.iter().partition(|path| path.usable);
    let mut steps: Vec<_> = usable
        .iter()
        .map(|path| step(command, Some(path)))
        .collect();
    steps.extend(away.iter().map(|path| Step {
        path: path.id.to_string(),
        what: match command.action.registers() {
            true => "cannot be used now: brought in line when it is back".into(),
            false => "cannot be used now".into(),
        },
        ..Step::default()
    }));
    steps
}

fn on_one_path(command: &PrOut, known: &Known) -> Vec<Step> {
    let mut steps = vec![step(command, known.usable().next())];
    let Some(own) = takes_own(command) else {
        return steps;
    };
    let again = PrOut::register(ReservationKey::ZERO, own, command.parameters.flags);
    steps.extend(known.usable().skip(1).map(|path| step(&again, Some(path))));
    steps
}

/// The key, where a PREEMPT removes our own other paths, which are put back.
fn takes_own(command: &PrOut) -> Option<ReservationKey> {
    let preempts = matches!(
        command.action,
        OutAction::Preempt | OutAction::PreemptAndAbort
    );
    let (key, victim) = (
        command.parameters.key,
        command.parameters.service_action_key,
    );
    (preempts && (victim == key || victim.is_zero())).then_some(key)
}

fn step(command: &PrOut, path: Option<&PathView>) -> Step {
    Step {
        cdb: hexadecimal(&command.encode().0),
        path: path.map_or_else(String::new, |path| path.id.to_string()),
        what: words(command),
        risk: String::new(),
    }
}

fn words(command: &PrOut) -> String {
    let (key, other) = (
        command.parameters.key,
        command.parameters.service_action_key,
    );
    let kind = command.scope_type.kind();
    let kind = kind.map_or_else(String::new, |kind| format!(", {}", kind.short_name()));
    let flags = command.parameters.flags;
    let mut text = match command.action {
        OutAction::Register if other.is_zero() => format!("REGISTER: remove {key}"),
        OutAction::Register if key.is_zero() => format!("REGISTER {other} from no key"),
        OutAction::Register if key == other => format!("REGISTER {key} where it is already"),
        OutAction::Register => format!("REGISTER {other} in place of {key}"),
        OutAction::Preempt | OutAction::PreemptAndAbort => {
            format!("{} {other} by {key}{kind}", command.action)
        }
        action => format!("{action} by {key}{kind}"),
    };
    for (set, name) in [(flags.aptpl, "APTPL"), (flags.all_tg_pt, "ALL_TG_PT")] {
        if set {
            text += &format!(", {name}");
        }
    }
    text
}

fn tend(upkeep: &Upkeep, known: &Known) -> Vec<Step> {
    const STATUS_LENGTH: u16 = 8192;
    const RESERVATION_LENGTH: u16 = 24;
    let status = ask(InAction::ReadFullStatus, STATUS_LENGTH);
    match upkeep {
        Upkeep::Refresh => vec![ask(InAction::ReadReservation, RESERVATION_LENGTH)],
        Upkeep::Forget => vec![Step {
            what: "forgets what this host knows of its registrations on the unit".into(),
            risk: "a key that was taken away and is still on a path of ours stays there".into(),
            ..Step::default()
        }],
        Upkeep::Adopt(wanted) => {
            let command = PrOut::register(wanted.key, wanted.key, wanted.flags);
            let mut steps = vec![status];
            steps.extend(on_every_path(&command, known));
            steps
        }
        Upkeep::Rearm(flags) => {
            let key = known.last.unwrap_or_default();
            let command = PrOut::register(ReservationKey::ZERO, key, *flags);
            let mut steps = vec![status];
            steps.extend(on_every_path(&command, known));
            if let Some(first) = steps.get_mut(1) {
                first.risk = format!(
                    "this host may write again although its registration was taken away: {}",
                    known.state
                );
            }
            steps
        }
        Upkeep::Repair(only) => {
            let mut steps = vec![status];
            steps.extend(lacking(only.as_ref(), known));
            steps
        }
    }
}

/// Those that a look would register, should the registration stand.
fn lacking<'a>(only: Option<&'a PathId>, known: &'a Known) -> impl Iterator<Item = Step> + 'a {
    let wanted = known.usable().filter(move |path| {
        let asked = only.is_none_or(|only| *only == path.id);
        asked && path.registered != Registered::Yes
    });
    wanted.filter_map(|path| {
        let key = known.own?;
        let command = PrOut::register(ReservationKey::ZERO, key, Default::default());
        Some(Step {
            what: format!(
                "{}, once it is shown that the registration stands",
                words(&command)
            ),
            ..step(&command, Some(path))
        })
    })
}

#[cfg(test)]
mod tests;
