//! Random command sequences against what has to hold for all of them.

use super::super::reservations::{Registration, Reservations};
use super::*;
use crate::scsi::pr::{FullStatus, KeyList, ReservationData};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// A command of the little language, most often one that makes sense.
fn command() -> impl Strategy<Value = String> {
    let verb = select(vec![
        "register", "register", "ignore", "ignore", "reserve", "reserve", "release", "clear",
        "preempt", "abort", "move", "replace",
    ]);
    let kind = select(vec![
        "WE",
        "EA",
        "WERO",
        "EARO",
        "WEAR",
        "EAAR",
        "scopetype=02",
        "scopetype=15",
    ]);
    let flags = select(vec![
        "",
        "",
        "",
        "",
        "aptpl",
        "all",
        "aptpl all",
        "spec=b0",
        "spec=a1,b1",
        "len=25",
    ]);
    let target = (
        select(NAMES.to_vec()),
        select(vec!["", "unreg", "port=1", "port=9"]),
    );
    (
        select(NAMES.to_vec()),
        verb,
        0..4u8,
        0..4u8,
        kind,
        flags,
        target,
    )
        .prop_map(|(who, verb, rk, sark, kind, flags, (to, rest))| {
            let more = match verb {
                "move" => format!("to={to} {rest}"),
                _ => flags.to_owned(),
            };
            format!("{who} {verb} {rk} {sark} {kind} {more}")
        })
}

/// The command with the sender's real key in place of its own idea, half of
/// the time; otherwise too little succeeds.
fn honest(unit: &LogicalUnit, command: &str, honest: bool) -> String {
    let mut words: Vec<String> = command.split(' ').map(str::to_owned).collect();
    if honest {
        let own = unit.reservations().key_of(&nexus(&words[0]));
        words[2] = format!("{:x}", own.unwrap_or_default().0);
    }
    words.join(" ")
}

fn read(unit: &mut LogicalUnit, action: u8) -> Vec<u8> {
    let reader = nexus("a0");
    let cdb = [0x5e, action, 0, 0, 0, 0, 0, 0xff, 0xff, 0];
    unit.execute(&reader, &cdb, &[]).data
}

/// The three views of one state, on a copy whose attentions are taken.
fn check_views(unit: &LogicalUnit) {
    let mut unit = unit.clone();
    drain(&mut unit);
    let keys = KeyList::parse(&read(&mut unit, 0)).unwrap();
    let reservation = ReservationData::parse(&read(&mut unit, 1)).unwrap();
    let full = FullStatus::parse(&read(&mut unit, 3)).unwrap();
    assert!(full.complete);
    assert_eq!(keys.generation, full.generation);
    assert_eq!(keys.generation, reservation.generation);
    let full_keys: Vec<_> = full.descriptors.iter().map(|row| row.key).collect();
    assert_eq!(keys.keys, full_keys);
    assert_eq!(keys.additional_length as usize, 8 * full_keys.len());
    let holders: Vec<_> = full
        .descriptors
        .iter()
        .filter(|r| r.holder.is_some())
        .collect();
    match reservation.reservation {
        None => assert!(holders.is_empty()),
        Some(reservation) => {
            let kind = reservation.scope_type.kind().unwrap();
            assert!(
                holders
                    .iter()
                    .all(|r| r.holder == Some(reservation.scope_type))
            );
            if kind.is_all_registrants() {
                assert_eq!(reservation.key, ReservationKey::ZERO);
                assert_eq!(holders.len(), full.descriptors.len());
                assert!(!holders.is_empty());
            } else {
                assert_eq!(holders.len(), 1);
                assert_eq!(holders[0].key, reservation.key);
            }
        }
    }
}

/// What has to hold for every state.
fn check_state(state: &Reservations) {
    for row in &state.registrations {
        assert!(!row.key.is_zero());
        let same = state.registrations.iter().filter(|r| r.nexus == row.nexus);
        assert_eq!(same.count(), 1);
        if row.all_tg_pt {
            let port = |r: &&Registration| r.nexus.transport_id == row.nexus.transport_id;
            let port: Vec<_> = state.registrations.iter().filter(port).collect();
            assert_eq!(port.len(), 2);
            assert!(port.iter().all(|r| r.all_tg_pt && r.key == row.key));
        }
    }
    if let Some(held) = &state.held {
        assert_eq!(held.holder.is_none(), held.kind.is_all_registrants());
        match &held.holder {
            Some(holder) => assert!(state.is_registered(holder)),
            None => assert!(!state.registrations.is_empty()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_sequences_keep_the_invariants(
        steps in vec((command(), any::<bool>(), 0..40u8), 1..40)
    ) {
        let mut unit = unit();
        for (command, correct, power) in steps {
            if power == 0 {
                let before = unit.reservations().clone();
                unit.power_cycle();
                let expected = match before.aptpl {
                    true => Reservations { generation: 0, ..before },
                    false => Reservations::default(),
                };
                prop_assert_eq!(unit.reservations(), &expected);
            }
            let command = honest(&unit, &command, correct);
            let before = unit.reservations().clone();
            let attentions = pending(&unit);
            let outcome = run(&mut unit, &command);
            let after = unit.reservations();
            let uncounted = command.contains(" reserve ") || command.contains(" release ");
            match outcome.is_good() {
                false => {
                    prop_assert_eq!(after, &before, "{} changed something", command);
                    let told = outcome.sense_code().is_some_and(SenseCode::is_unit_attention);
                    prop_assert!(told || pending(&unit) == attentions);
                }
                true if uncounted => {
                    prop_assert_eq!(after.generation, before.generation);
                    prop_assert_eq!(&after.registrations, &before.registrations);
                    prop_assert_eq!(after.aptpl, before.aptpl);
                }
                true => prop_assert_eq!(after.generation, before.generation + 1, "{}", command),
            }
            check_state(unit.reservations());
            check_views(&unit);
        }
    }

    #[test]
    fn any_bytes_have_an_outcome(
        commands in vec(
            (
                select(NAMES.to_vec()),
                prop_oneof![
                    vec(any::<u8>(), 0..=260),
                    (
                        select(vec![
                            0x00u8, 0x03, 0x12, 0x25, 0x28, 0x2a, 0x5e, 0x5f, 0x5f, 0x5f, 0x88,
                            0x8a, 0x9e, 0xa0, 0x7f, 0x1b,
                        ]),
                        vec(any::<u8>(), 0..20),
                    )
                        .prop_map(|(opcode, rest)| [vec![opcode], rest].concat()),
                ],
                vec(any::<u8>(), 0..200),
            ),
            1..30,
        )
    ) {
        let mut unit = unit();
        for (who, cdb, data) in commands {
            unit.execute(&nexus(who), &cdb, &data);
            check_state(unit.reservations());
        }
        check_views(&unit);
    }

    #[test]
    fn any_parameter_list_has_an_outcome(
        lists in vec(
            (
                select(NAMES.to_vec()),
                0..10u8,
                any::<u8>(),
                0..4u8,
                0..4u8,
                vec(any::<u8>(), 0..=120),
            ),
            1..40,
        )
    ) {
        let mut unit = unit();
        for (who, action, scope_type, rk, sark, mut list) in lists {
            // Keys that meet, lengths that are announced rightly.
            if list.len() >= 24 {
                list[..16].fill(0);
                (list[7], list[15]) = (rk, sark);
            }
            let mut cdb = [0x5f, action, scope_type, 0, 0, 0, 0, 0, list.len() as u8, 0];
            if scope_type & 0x80 == 0 {
                cdb[2] &= 0x0f;
            }
            let inner = list.len().saturating_sub(if action == 7 { 24 } else { 28 });
            if list.len() >= 28 {
                let at = if action == 7 { 20 } else { 24 };
                list[at..at + 4].copy_from_slice(&(inner as u32).to_be_bytes());
            }
            unit.execute(&nexus(who), &cdb, &list);
            check_state(unit.reservations());
        }
        check_views(&unit);
    }
}
