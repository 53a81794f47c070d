//! What a change would do, in words: which command goes to which path, and what
//! is at stake. Pure; says what [`direct`](crate::engine::direct) would do.

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
    /// How often each key is registered; `None` where that is not known.
    registered: Option<BTreeMap<ReservationKey, usize>>,
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
        let registered = status.filter(|status| status.complete).map(|status| {
            // One registration may have a row for each target port.
            let nexuses: BTreeSet<_> = status
                .descriptors
                .iter()
                .map(|row| (row.key, &row.nexus))
                .collect();
            let mut count = BTreeMap::new();
            for (key, _) in nexuses {
                *count.entry(key).or_default() += 1;
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

    /// `0xb1 on 2 nexuses`.
    fn nexuses(&self, key: ReservationKey) -> String {
        let number = self.registered.as_ref().map(|registered| {
            let number = registered.get(&key);
            number.copied().unwrap_or_default()
        });
        match number {
            None => format!("{key}, wherever it is registered,"),
            Some(1) => format!("{key} on 1 nexus"),
            Some(number) => format!("{key} on {number} nexuses"),
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
        first.risk = risk(command, known);
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

fn risk(command: &PrOut, known: &Known) -> String {
    let (key, other) = (
        command.parameters.key,
        command.parameters.service_action_key,
    );
    let held = known
        .held
        .and_then(|held| Some((held.key, held.scope_type.kind()?)));
    let kind = command.scope_type.kind();
    match command.action {
        OutAction::Register if other.is_zero() => match known.held_by(key) {
            Some(kind) if kind.is_all_registrants() => format!(
                "this host loses its access; the {kind} reservation ends with the last registration"
            ),
            Some(kind) => format!("the {kind} reservation of {key} ends with it"),
            None => match held {
                Some((holder, kind)) => {
                    format!("this host loses its access under the {kind} reservation of {holder}")
                }
                None => String::new(),
            },
        },
        OutAction::Register if key.is_zero() => String::new(),
        OutAction::Register => format!("{key} is gone from this host"),
        OutAction::Reserve => match held {
            Some((holder, held)) if holder != key || Some(held) != kind => {
                format!("ends with a RESERVATION CONFLICT: {holder} holds {held}")
            }
            _ => reserve_risk(kind),
        },
        OutAction::Release => "whoever the reservation kept from the unit is let in".into(),
        OutAction::Preempt | OutAction::PreemptAndAbort => preempt_risk(command, known),
        OutAction::Clear => clear_risk(known),
        _ => String::new(),
    }
}

fn reserve_risk(kind: Option<ReservationType>) -> String {
    let Some(kind) = kind else {
        return String::new();
    };
    let what = match kind {
        ReservationType::WriteExclusive
        | ReservationType::WriteExclusiveRegistrantsOnly
        | ReservationType::WriteExclusiveAllRegistrants => "write",
        _ => "read and write",
    };
    match kind.is_holder_only() {
        true => format!(
            "only the one path that holds it can {what}: other hosts cannot, nor other paths"
        ),
        false => format!("hosts that are not registered can no longer {what}"),
    }
}

fn preempt_risk(command: &PrOut, known: &Known) -> String {
    let victim = command.parameters.service_action_key;
    let mut text = match (takes_own(command), victim.is_zero()) {
        (Some(_), true) => "removes every other registration".to_owned(),
        (Some(key), false) => format!(
            "removes {}, also where another host has it; paths of this host are registered again",
            known.nexuses(key)
        ),
        (None, _) => format!("removes {}: its host is fenced", known.nexuses(victim)),
    };
    if let Some(held) = known.held_by(victim) {
        text += &format!("; takes its reservation ({held})");
    }
    if command.action == OutAction::PreemptAndAbort {
        text += "; aborts its commands in flight";
    }
    text
}

fn clear_risk(known: &Known) -> String {
    let mut text = match known.held {
        Some(held) => {
            let kind = held.scope_type.kind();
            let kind = kind.map_or("unknown", ReservationType::short_name);
            format!("ends the reservation ({kind} of {}); removes ", held.key)
        }
        None => "removes ".to_owned(),
    };
    let Some(registered) = &known.registered else {
        return text + "every registration, of every host: they cannot be read";
    };
    let list = |own: bool| -> Vec<_> {
        let keys = registered.keys().copied();
        let keys = keys.filter(|key| (Some(*key) == known.own) == own);
        keys.map(|key| known.nexuses(key)).collect()
    };
    let (own, others) = (list(true), list(false));
    text += match others.is_empty() {
        true => "no other host's key",
        false => "from other hosts: ",
    };
    text += &others.join(", ");
    if !own.is_empty() {
        text += &format!("; from this host: {}", own.join(", "));
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
mod tests {
    use super::*;
    use crate::device::identity::Wwid;
    use crate::scsi::TransportId;
    use crate::scsi::pr::{FullDescriptor, NexusId, RegisterFlags};

    const A: ReservationKey = ReservationKey(0xa1);
    const B: ReservationKey = ReservationKey(0xb1);
    const NONE: ReservationKey = ReservationKey::ZERO;
    const WERO: ReservationType = ReservationType::WriteExclusiveRegistrantsOnly;

    /// A on two paths, one of them away; B on one; A holds WERO.
    fn known() -> Known {
        let mut seen = Snapshot::new(Wwid::new("36001405aaaa"));
        seen.paths = [(1, true), (2, true), (3, false)]
            .map(|(number, usable)| PathView {
                registered: match number {
                    1 => Registered::Yes,
                    _ => Registered::No,
                },
                usable,
                ..PathView::new(PathId(format!("{number}:0:0:0")))
            })
            .into();
        let row = |port, key| FullDescriptor {
            key,
            all_tg_pt: false,
            holder: None,
            nexus: NexusId {
                transport_id: TransportId::sas(port),
                relative_target_port: 1,
            },
        };
        let status = FullStatus::new(7, vec![row(1, A), row(2, A), row(9, B)]);
        let held = Reservation {
            key: A,
            scope_type: WERO.into(),
        };
        let order = [2, 1, 3].map(|number| PathId(format!("{number}:0:0:0")));
        Known::new(Some(A), &seen, &order, Some(&status), Some(held))
    }

    fn act(action: OutAction, victim: ReservationKey) -> Vec<Step> {
        let command = PrOut::basic(action, WERO.into(), A, victim);
        preview(&Deed::Send(command), &known())
    }

    #[test]
    fn a_registration_goes_to_every_path() {
        let command = PrOut::register(NONE, A, RegisterFlags::default());
        let steps = preview(&Deed::Send(command), &known());
        let sent: Vec<_> = steps
            .iter()
            .map(|step| (step.path.as_str(), step.cdb.as_str()))
            .collect();
        let cdb = "5f000000000000001800";
        assert_eq!(sent, [("2:0:0:0", cdb), ("1:0:0:0", cdb), ("3:0:0:0", "")]);
        assert_eq!(steps[0].what, "REGISTER 0xa1 from no key");
        assert_eq!(steps[0].risk, "");
    }

    #[test]
    fn what_others_lose_is_said() {
        let preempt = act(OutAction::Preempt, B);
        assert_eq!(preempt.len(), 1);
        assert_eq!(preempt[0].cdb, "5f040500000000001800");
        assert_eq!(
            preempt[0].risk,
            "removes 0xb1 on 1 nexus: its host is fenced"
        );
        let clear = act(OutAction::Clear, NONE);
        assert_eq!(
            clear[0].risk,
            "ends the reservation (WERO of 0xa1); removes from other hosts: 0xb1 on 1 nexus; \
             from this host: 0xa1 on 2 nexuses"
        );
        let own = act(OutAction::PreemptAndAbort, A);
        let to: Vec<_> = own.iter().map(|step| step.path.as_str()).collect();
        assert_eq!(to, ["2:0:0:0", "1:0:0:0"]);
        assert!(own[0].risk.contains("takes its reservation (WERO)"));
        assert!(own[0].risk.ends_with("aborts its commands in flight"));
        assert_eq!(own[1].what, "REGISTER 0xa1 from no key");
    }

    #[test]
    fn a_conflict_is_foretold() {
        let command = PrOut::basic(OutAction::Reserve, WERO.into(), B, NONE);
        let steps = preview(&Deed::Send(command), &known());
        assert!(steps[0].risk.contains("0xa1 holds WERO"), "{steps:?}");
        let same = act(OutAction::Reserve, NONE);
        assert_eq!(
            same[0].risk,
            "hosts that are not registered can no longer write"
        );
    }

    #[test]
    fn upkeep_has_steps_too() {
        let repair = preview(&Deed::Tend(Upkeep::Repair(None)), &known());
        assert!(repair[0].cdb.starts_with("5e03"));
        let to: Vec<_> = repair[1..].iter().map(|step| step.path.as_str()).collect();
        assert_eq!(to, ["2:0:0:0"], "the only one that lacks it and answers");
        let rearm = Upkeep::Rearm(RegisterFlags::default());
        let rearm = preview(&Deed::Tend(rearm), &known());
        assert!(rearm[1].risk.contains("although"), "{rearm:?}");
        let forget = preview(&Deed::Tend(Upkeep::Forget), &known());
        assert_eq!((forget.len(), forget[0].cdb.as_str()), (1, ""));
    }
}
