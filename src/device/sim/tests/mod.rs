//! Tests of the simulator, and the little language they are written in.
//!
//! Nexuses are `a0`, `a1`, `b0`, `b1`; a command is `who verb rk sark` and any
//! of a type (`WE`), `aptpl`, `all`, `spec=b0,b1`, `len=25`, and for REGISTER
//! AND MOVE `to=b0`, `unreg`, `port=2`. Keys are hexadecimal digits.

mod access;
mod attention;
mod data;
mod fabric;
mod other_commands;
mod random;
mod register;
mod reserve;

use super::unit::{Config, LogicalUnit};
use crate::scsi::pr::{MoveParameters, NexusId, RegisterFlags, ReservationType, ScopeType};
use crate::scsi::{OutAction, Outcome, PrOut, ReservationKey, SenseCode, TransportId};
use std::fmt::Write;

pub(super) const NAMES: [&str; 4] = ["a0", "a1", "b0", "b1"];

/// Each nexus is an initiator port of its own; 0 and 1 are target ports 1 and 2.
pub(super) fn nexus(name: &str) -> NexusId {
    let number = NAMES.iter().position(|known| *known == name).unwrap() as u16;
    NexusId {
        transport_id: TransportId::sas(0x5000_0000_0000_0010 + u64::from(number)),
        relative_target_port: number % 2 + 1,
    }
}

pub(super) fn key(text: &str) -> ReservationKey {
    ReservationKey(u64::from_str_radix(text, 16).unwrap())
}

fn action(verb: &str) -> OutAction {
    match verb {
        "register" => OutAction::Register,
        "ignore" => OutAction::RegisterAndIgnore,
        "move" => OutAction::RegisterAndMove,
        "reserve" => OutAction::Reserve,
        "release" => OutAction::Release,
        "clear" => OutAction::Clear,
        "preempt" => OutAction::Preempt,
        "abort" => OutAction::PreemptAndAbort,
        "replace" => OutAction::ReplaceLostReservation,
        other => panic!("no verb {other}"),
    }
}

/// A TransportID list as it stands behind the basic parameter list.
pub(super) fn id_list(ids: &[&[u8]]) -> Vec<u8> {
    let ids = ids.concat();
    [&(ids.len() as u32).to_be_bytes(), ids.as_slice()].concat()
}

/// The CDB and parameter list of a command in the little language.
pub(super) fn encode(text: &str) -> (NexusId, Vec<u8>, Vec<u8>) {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut command = PrOut::basic(action(words[1]), ScopeType(0), key(words[2]), key(words[3]));
    let mut moved = MoveParameters {
        unregister: false,
        aptpl: false,
        relative_target_port: 0,
        transport_id: Vec::new(),
    };
    let mut length = None;
    for word in &words[4..] {
        let parameters = &mut command.parameters;
        match word.split_once('=') {
            None if *word == "aptpl" => {
                parameters.flags.aptpl = true;
                moved.aptpl = true;
            }
            None if *word == "all" => parameters.flags.all_tg_pt = true,
            None if *word == "unreg" => moved.unregister = true,
            Some(("spec", names)) => {
                let ids: Vec<_> = names.split(',').map(|n| nexus(n).transport_id).collect();
                let ids: Vec<&[u8]> = ids.iter().map(TransportId::bytes).collect();
                parameters.flags.spec_i_pt = true;
                parameters.transport_ids = id_list(&ids);
            }
            Some(("to", name)) => {
                moved.transport_id = nexus(name).transport_id.bytes().to_vec();
                moved.relative_target_port = nexus(name).relative_target_port;
            }
            Some(("port", port)) => moved.relative_target_port = port.parse().unwrap(),
            Some(("scopetype", byte)) => {
                command.scope_type = ScopeType(u8::from_str_radix(byte, 16).unwrap());
            }
            Some(("len", text)) => length = Some(text.parse().unwrap()),
            _ => command.scope_type = word.parse::<ReservationType>().unwrap().into(),
        }
    }
    if command.action == OutAction::RegisterAndMove {
        command.parameters.moved = Some(moved);
        command.parameters.flags = RegisterFlags::default();
    }
    let (cdb, mut list) = command.encode();
    let mut cdb = cdb.as_device_bytes().to_vec();
    if let Some(length) = length {
        list.resize(length, 0);
        cdb[7..9].copy_from_slice(&(length as u16).to_be_bytes());
    }
    (nexus(words[0]), cdb, list)
}

pub(super) fn unit() -> LogicalUnit {
    unit_with(Config::new("3600140500000000000000000000000a1"))
}

pub(super) fn unit_with(config: Config) -> LogicalUnit {
    let mut unit = LogicalUnit::new(config);
    NAMES.map(nexus).iter().for_each(|nexus| unit.attach(nexus));
    unit
}

/// Runs one command.
pub(super) fn run(unit: &mut LogicalUnit, command: &str) -> Outcome {
    let (nexus, cdb, list) = encode(command);
    unit.execute(&nexus, &cdb, &list)
}

/// Runs commands, separated by semicolons, that all end in GOOD, and lets every
/// nexus take its unit attentions.
pub(super) fn prepare(unit: &mut LogicalUnit, commands: &str) {
    for command in commands.split(';').filter(|c| !c.trim().is_empty()) {
        let outcome = run(unit, command);
        assert!(outcome.is_good(), "{command}: {outcome}");
        drain(unit);
    }
}

pub(super) fn drain(unit: &mut LogicalUnit) {
    for nexus in NAMES.map(nexus) {
        while !unit.pending(&nexus).is_empty() {
            unit.execute(&nexus, &[0x03, 0, 0, 0, 18, 0], &[]);
        }
    }
}

/// `a0=1* b0=2 WERO g2 aptpl`: registrations with `*` for holders and `+` for
/// ALL_TG_PT, the type, the generation.
pub(super) fn state(unit: &LogicalUnit) -> String {
    let state = unit.reservations();
    let mut text = String::new();
    for row in &state.registrations {
        let id = &row.nexus.transport_id;
        let name = NAMES.into_iter().find(|n| nexus(n).transport_id == *id);
        text += name.unwrap_or("?");
        if name.is_none_or(|name| nexus(name) != row.nexus) {
            write!(text, "@{}", row.nexus.relative_target_port).unwrap();
        }
        write!(text, "={:x}", row.key.0).unwrap();
        text += if row.all_tg_pt { "+" } else { "" };
        text += if state.is_holder(&row.nexus) { "*" } else { "" };
        text += " ";
    }
    if let Some(held) = &state.held {
        write!(text, "{} ", held.kind).unwrap();
    }
    write!(text, "g{}", state.generation).unwrap();
    text + if state.aptpl { " aptpl" } else { "" }
}

/// `b0:2A/05 b1:2A/04`
pub(super) fn pending(unit: &LogicalUnit) -> String {
    let mut texts = Vec::new();
    for name in NAMES {
        for SenseCode { asc, ascq, .. } in unit.pending(&nexus(name)) {
            texts.push(format!("{name}:{asc:02X}/{ascq:02X}"));
        }
    }
    texts.join(" ")
}

pub(super) const CONFLICT: &str = "RESERVATION CONFLICT";
pub(super) const BAD_CDB: &str = "CHECK CONDITION 05/24/00";
pub(super) const BAD_LIST: &str = "CHECK CONDITION 05/26/00";
pub(super) const BAD_LENGTH: &str = "CHECK CONDITION 05/1A/00";

/// A row that ends in GOOD: commands before it, the command, the state after
/// it, the unit attentions it leaves.
pub(super) type GoodRow<'a> = (&'a str, &'a str, &'a str, &'a str);
/// A row that is refused: commands before it, the command, the answer.
pub(super) type RefusedRow<'a> = (&'a str, &'a str, &'a str);

pub(super) fn check_good(rows: &[GoodRow<'_>]) {
    for (before, command, after, attentions) in rows {
        let mut unit = unit();
        prepare(&mut unit, before);
        let outcome = run(&mut unit, command);
        let row = format!("[{before}] {command}");
        assert_eq!(outcome.to_string(), "GOOD", "{row}");
        assert!(outcome.data.is_empty(), "{row}");
        assert_eq!(state(&unit), *after, "{row}");
        assert_eq!(pending(&unit), *attentions, "{row}");
    }
}

pub(super) fn check_refused(rows: &[RefusedRow<'_>]) {
    check_refused_by(Config::new("x"), rows);
}

pub(super) fn check_refused_by(config: Config, rows: &[RefusedRow<'_>]) {
    for (before, command, answer) in rows {
        let mut unit = unit_with(config.clone());
        prepare(&mut unit, before);
        let earlier = unit.reservations().clone();
        let outcome = run(&mut unit, command);
        let row = format!("[{before}] {command}");
        assert_eq!(outcome.to_string(), *answer, "{row}");
        assert_eq!(*unit.reservations(), earlier, "{row}");
        assert_eq!(pending(&unit), "", "{row}");
    }
}
