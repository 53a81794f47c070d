//! What somebody may lose by a command.

use super::{Known, on, takes_own};
use crate::scsi::{OutAction, PrOut, ReservationType};

/// In words; empty for nothing.
pub(super) fn of(command: &PrOut, known: &Known) -> String {
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
            // Who holds the very reservation may ask for it again.
            Some((holder, held)) if known.held_by(key) != kind => match holder.is_zero() {
                true => format!("ends with a RESERVATION CONFLICT: all registrants hold {held}"),
                false => format!("ends with a RESERVATION CONFLICT: {holder} holds {held}"),
            },
            _ => reserve(kind),
        },
        OutAction::Release => "whoever the reservation kept from the unit is let in".into(),
        OutAction::Preempt | OutAction::PreemptAndAbort => preempt(command, known),
        OutAction::Clear => clear(known),
        _ => String::new(),
    }
}

fn reserve(kind: Option<ReservationType>) -> String {
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

fn preempt(command: &PrOut, known: &Known) -> String {
    let victim = command.parameters.service_action_key;
    let mut text = match (takes_own(command), victim.is_zero()) {
        (Some(_), true) => "removes every other registration".to_owned(),
        (Some(key), false) => format!(
            "removes {}, also where another host has it; paths of this host are registered again",
            known.nexuses(key)
        ),
        (None, _) => format!("removes {}: its host is fenced", known.nexuses(victim)),
    };
    // One that all registrants hold stays with those that are left, but for a
    // PREEMPT of all of them, whose key is 0.
    let taken = known.held.filter(|held| held.key == victim);
    if let Some(kind) = taken.and_then(|held| held.scope_type.kind()) {
        text += &format!("; takes the reservation ({kind})");
    }
    if command.action == OutAction::PreemptAndAbort {
        text += "; aborts its commands in flight";
    }
    text
}

fn clear(known: &Known) -> String {
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
    let list = |whose: usize| -> Vec<_> {
        let rows = registered.iter().map(|(key, of)| (*key, of[whose]));
        let rows = rows.filter(|(_, number)| *number > 0);
        rows.map(|(key, number)| on(key, number)).collect()
    };
    let (own, others) = (list(0), list(1));
    text += match others.is_empty() {
        true => "no key of other hosts",
        false => "from other hosts: ",
    };
    text += &others.join(", ");
    if !own.is_empty() {
        text += &format!("; from this host: {}", own.join(", "));
    }
    text
}
