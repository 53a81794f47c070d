//! Which commands pass under which reservation.

use super::super::access::{Class, class};
use super::*;

const READ: &[u8] = &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const WRITE: &[u8] = &[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const TEST_UNIT_READY: &[u8] = &[0; 6];

/// Holder, registered, unregistered.
const SENDERS: [&str; 3] = ["a0", "b0", "b1"];

/// `GCC`: what the three senders get under each type, in the order of the codes.
fn check(name: &str, cdb: impl Fn(&str) -> (Vec<u8>, Vec<u8>), expected: [&str; 6]) {
    for (kind, expected) in ReservationType::ALL.into_iter().zip(expected) {
        let mut seen = String::new();
        for sender in SENDERS {
            let mut unit = unit();
            prepare(
                &mut unit,
                &format!("a0 register 0 1; b0 register 0 2; a0 reserve 1 0 {kind}"),
            );
            let (cdb, data) = cdb(sender);
            let outcome = unit.execute(&nexus(sender), &cdb, &data);
            seen.push(match outcome.is_conflict() {
                true => 'C',
                false if outcome.is_good() => 'G',
                false => '?',
            });
        }
        assert_eq!(seen, expected, "{name} under {kind}");
    }
}

#[test]
fn the_medium_is_guarded() {
    let plain = |cdb: &'static [u8], data: usize| move |_: &str| (cdb.to_vec(), vec![0; data]);
    check(
        "READ",
        plain(READ, 0),
        ["GGG", "GCC", "GGG", "GGC", "GGG", "GGC"],
    );
    check(
        "WRITE",
        plain(WRITE, 512),
        ["GCC", "GCC", "GGC", "GGC", "GGC", "GGC"],
    );
    let wide = |opcode: u8, data: usize| {
        move |_: &str| {
            let mut cdb = vec![0; 16];
            (cdb[0], cdb[13]) = (opcode, 1);
            (cdb, vec![0; data])
        }
    };
    check(
        "READ(16)",
        wide(0x88, 0),
        ["GGG", "GCC", "GGG", "GGC", "GGG", "GGC"],
    );
    check(
        "WRITE(16)",
        wide(0x8a, 512),
        ["GCC", "GCC", "GGC", "GGC", "GGC", "GGC"],
    );
}

#[test]
fn questions_always_pass() {
    for cdb in [
        TEST_UNIT_READY.to_vec(),
        vec![0x12, 0, 0, 0, 36, 0],
        vec![0x03, 0, 0, 0, 18, 0],
        vec![0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0],
        vec![0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0],
        vec![0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0],
        vec![0x5e, 1, 0, 0, 0, 0, 0, 0, 8, 0],
        vec![0x5e, 2, 0, 0, 0, 0, 0, 0, 8, 0],
        vec![0x5e, 3, 0, 0, 0, 0, 0, 0, 8, 0],
    ] {
        check("question", |_| (cdb.clone(), Vec::new()), ["GGG"; 6]);
    }
}

#[test]
fn service_actions_have_their_own_rules() {
    // The right key of each sender.
    let out = |verb: &'static str, rest: &'static str| {
        move |sender: &str| {
            let key = match sender {
                "a0" => 1,
                "b0" => 2,
                _ => 0,
            };
            let (_, cdb, list) = encode(&format!("{sender} {verb} {key} {rest}"));
            (cdb, list)
        }
    };
    check("REGISTER", out("register", "3"), ["GGG"; 6]);
    check("REGISTER AND IGNORE", out("ignore", "3"), ["GGG"; 6]);
    check("CLEAR", out("clear", "0"), ["GGC"; 6]);
    check("PREEMPT", out("preempt", "2 WE"), ["GGC"; 6]);
    check("PREEMPT AND ABORT", out("abort", "2 WE"), ["GGC"; 6]);
    // Of the holder's type or not, RELEASE is no conflict to a registrant.
    let release = ["GGC", "?GC", "?GC", "?GC", "??C", "??C"];
    check("RELEASE", out("release", "0 WE"), release);
    let reserve = ["GCC", "CCC", "CCC", "CCC", "CCC", "CCC"];
    check("RESERVE", out("reserve", "0 WE"), reserve);
    let reserve_all = ["CCC", "CCC", "CCC", "CCC", "GGC", "CCC"];
    check("RESERVE", out("reserve", "0 WEAR"), reserve_all);
    let moves = ["GCC", "GCC", "GCC", "GCC", "CCC", "CCC"];
    check("REGISTER AND MOVE", out("move", "5 to=a1"), moves);
}

#[test]
fn commands_have_their_class() {
    for (cdb, expected) in [
        (&[0x00u8][..], Class::Free),
        (&[0x4d], Class::Free),
        (&[0xa3, 0x0a], Class::Free),
        (&[0x1e, 0, 0, 0, 0, 0], Class::Free),
        (&[0x08], Class::Read),
        (&[0x5a], Class::Read),
        (&[0x9e, 0x12], Class::Read),
        (&[0x9e, 0x10], Class::Free),
        (&[0x1b, 0, 0, 0, 0x01, 0], Class::Read),
        (&[0x7f, 0, 0, 0, 0, 0, 0, 0x18, 0x00, 0x09], Class::Read),
        (&[0x1b, 0, 0, 0, 0x00, 0], Class::Write),
        (&[0x1b, 0, 0, 0, 0x21, 0], Class::Write),
        (&[0x1e, 0, 0, 0, 1, 0], Class::Write),
        (&[0x7f, 0, 0, 0, 0, 0, 0, 0x18, 0x00, 0x0b], Class::Write),
        (&[0x35], Class::Write),
        (&[0x42], Class::Write),
        (&[0x89], Class::Write),
        (&[], Class::Free),
    ] {
        assert_eq!(class(cdb), expected, "{cdb:02x?}");
    }
}
