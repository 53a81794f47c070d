//! RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT AND ABORT.

use super::*;

const TWO: &str = "a0 register 0 1; b0 register 0 2";
const FOUR: &str = "a0 register 0 1; a1 register 0 1; b0 register 0 2; b1 register 0 2";
const KINDS: [&str; 6] = ["WE", "EA", "WERO", "EARO", "WEAR", "EAAR"];

fn held(registrations: &str, who: &str, kind: &str) -> String {
    let key = if who.starts_with('a') { 1 } else { 2 };
    format!("{registrations}; {who} reserve {key} 0 {kind}")
}

#[test]
fn reserve_follows_its_rules() {
    for kind in KINDS {
        let command = &format!("a0 reserve 1 0 {kind}");
        let stars = if kind.ends_with("AR") { "*" } else { "" };
        let after = &format!("a0=1* b0=2{stars} {kind} g2");
        check_good(&[
            (TWO, command, after, ""),
            // Again, by the holder, with the same type; SARK is ignored.
            (&held(TWO, "a0", kind), command, after, ""),
            (
                &held(TWO, "a0", kind),
                &format!("a0 reserve 1 9 {kind}"),
                after,
                "",
            ),
        ]);
        let other = if kind == "WE" { "EA" } else { "WE" };
        check_refused(&[
            (
                &held(TWO, "a0", kind),
                &format!("a0 reserve 1 0 {other}"),
                CONFLICT,
            ),
            (
                &held(TWO, "a0", kind),
                &format!("b0 reserve 2 0 {other}"),
                CONFLICT,
            ),
            (
                &held(TWO, "a0", kind),
                &format!("b1 reserve 0 0 {kind}"),
                CONFLICT,
            ),
        ]);
        let same = &format!("b0 reserve 2 0 {kind}");
        match stars {
            "" => check_refused(&[(&held(TWO, "a0", kind), same, CONFLICT)]),
            _ => check_good(&[(&held(TWO, "a0", kind), same, after, "")]),
        }
    }
    check_refused(&[
        ("", "a0 reserve 0 0 WE", CONFLICT),
        (TWO, "a0 reserve 2 0 WE", CONFLICT),
        (TWO, "a0 reserve 1 0 scopetype=15", BAD_CDB),
        (TWO, "a0 reserve 1 0 scopetype=02", BAD_CDB),
        (TWO, "a0 reserve 1 0 scopetype=00", BAD_CDB),
        (TWO, "a0 reserve 1 0 scopetype=0f", BAD_CDB),
        (TWO, "a0 reserve 1 0 WE len=28", BAD_LENGTH),
    ]);
}

#[test]
fn release_follows_its_rules() {
    for kind in KINDS {
        let before = &held(TWO, "a0", kind);
        let release = &format!("a0 release 1 0 {kind}");
        let told = if kind.ends_with('O') || kind.ends_with("AR") {
            "b0:2A/04"
        } else {
            ""
        };
        check_good(&[
            (before, release, "a0=1 b0=2 g2", told),
            (TWO, release, "a0=1 b0=2 g2", ""),
        ]);
        check_refused(&[
            (before, &format!("a0 release 2 0 {kind}"), CONFLICT),
            (before, &format!("b1 release 0 0 {kind}"), CONFLICT),
            (
                before,
                "a0 release 1 0 scopetype=02",
                "CHECK CONDITION 05/26/04",
            ),
            (
                before,
                "a0 release 1 0 scopetype=11",
                "CHECK CONDITION 05/26/04",
            ),
        ]);
        let by_other = &format!("b0 release 2 0 {kind}");
        match kind.ends_with("AR") {
            true => check_good(&[(before, by_other, "a0=1 b0=2 g2", "a0:2A/04")]),
            false => {
                let after = &format!("a0=1* b0=2 {kind} g2");
                check_good(&[
                    (before, by_other, after, ""),
                    (before, "b0 release 2 0 scopetype=ff", after, ""),
                ]);
            }
        }
    }
    check_good(&[(TWO, "a0 release 1 0 scopetype=ff", "a0=1 b0=2 g2", "")]);
    check_refused(&[("", "a0 release 0 0 WE", CONFLICT)]);
}

#[test]
fn any_registrant_clears() {
    let told = "a0:2A/03 a1:2A/03 b1:2A/03";
    check_good(&[(FOUR, "b0 clear 2 0", "g5", told)]);
    for kind in KINDS {
        let before = &held(FOUR, "a0", kind);
        check_good(&[(before, "b0 clear 2 0", "g5", told)]);
        check_refused(&[(before, "b0 clear 1 0", CONFLICT)]);
        check_refused(&[(&held(TWO, "a0", kind), "b1 clear 0 0", CONFLICT)]);
    }
    check_good(&[("a0 register 0 1 aptpl", "a0 clear 1 0", "g2 aptpl", "")]);
    check_refused(&[
        ("", "a0 clear 0 0", CONFLICT),
        (TWO, "a0 clear 2 0", CONFLICT),
    ]);
}

/// Both preempting actions change the same.
fn check_preempt(rows: &[(&str, &str, &str, &str)]) {
    for verb in ["preempt", "abort"] {
        for (before, command, after, attentions) in rows {
            let command = &command.replace("preempt", verb);
            check_good(&[(before, command, after, attentions)]);
        }
    }
}

fn check_preempt_refused(rows: &[(&str, &str, &str)]) {
    for verb in ["preempt", "abort"] {
        for (before, command, answer) in rows {
            check_refused(&[(before, &command.replace("preempt", verb), answer)]);
        }
    }
}

#[test]
fn preempt_without_reservation_removes_registrations() {
    check_preempt(&[
        (
            FOUR,
            "a0 preempt 1 2 WE",
            "a0=1 a1=1 g5",
            "b0:2A/05 b1:2A/05",
        ),
        (FOUR, "a0 preempt 1 1 WE", "b0=2 b1=2 g5", "a1:2A/05"),
        // The type is not looked at.
        (
            FOUR,
            "a0 preempt 1 2 scopetype=ff",
            "a0=1 a1=1 g5",
            "b0:2A/05 b1:2A/05",
        ),
    ]);
    check_preempt_refused(&[
        (TWO, "a0 preempt 1 9 WE", CONFLICT),
        (TWO, "a0 preempt 1 0 WE", BAD_LIST),
        (TWO, "a0 preempt 2 1 WE", CONFLICT),
        (TWO, "b1 preempt 0 1 WE", CONFLICT),
        ("", "a0 preempt 0 0 WE", CONFLICT),
    ]);
}

#[test]
fn preempting_a_single_holder_takes_over() {
    for kind in ["WE", "EA", "WERO", "EARO"] {
        let before = &held(FOUR, "b0", kind);
        check_preempt(&[
            (
                before,
                &format!("a0 preempt 1 2 {kind}"),
                &format!("a0=1* a1=1 {kind} g5"),
                "b0:2A/05 b1:2A/05",
            ),
            (
                before,
                "a0 preempt 1 2 WEAR",
                "a0=1* a1=1* WEAR g5",
                "a1:2A/04 b0:2A/05 b1:2A/05",
            ),
            // The holder's key is the preempter's too: siblings go.
            (
                before,
                &format!("b1 preempt 2 2 {kind}"),
                &format!("a0=1 a1=1 b1=2* {kind} g5"),
                "b0:2A/05",
            ),
            (
                before,
                &format!("b0 preempt 2 2 {kind}"),
                &format!("a0=1 a1=1 b0=2* {kind} g5"),
                "b1:2A/05",
            ),
            // Another key: the reservation stays, the type is not looked at.
            (
                before,
                "b0 preempt 2 1 scopetype=ff",
                &format!("b0=2* b1=2 {kind} g5"),
                "a0:2A/05 a1:2A/05",
            ),
            (
                before,
                "a0 preempt 1 1 WE",
                &format!("b0=2* b1=2 {kind} g5"),
                "a1:2A/05",
            ),
        ]);
        check_preempt_refused(&[
            (before, "a0 preempt 1 0 WE", BAD_LIST),
            (before, "a0 preempt 1 9 WE", CONFLICT),
            (before, "a0 preempt 1 2 scopetype=02", BAD_CDB),
            (before, "a0 preempt 1 2 scopetype=11", BAD_CDB),
            (before, "a0 preempt 2 2 WE", CONFLICT),
            (&held(TWO, "b0", kind), "b1 preempt 0 2 WE", CONFLICT),
        ]);
    }
}

#[test]
fn preempting_all_registrants() {
    for kind in ["WEAR", "EAAR"] {
        let before = &held(FOUR, "b0", kind);
        check_preempt(&[
            (
                before,
                "a0 preempt 1 0 EA",
                "a0=1* EA g5",
                "a1:2A/05 b0:2A/05 b1:2A/05",
            ),
            (
                before,
                &format!("a0 preempt 1 0 {kind}"),
                &format!("a0=1* {kind} g5"),
                "a1:2A/05 b0:2A/05 b1:2A/05",
            ),
            (
                before,
                "a0 preempt 1 2 scopetype=ff",
                &format!("a0=1* a1=1* {kind} g5"),
                "b0:2A/05 b1:2A/05",
            ),
            (
                before,
                "a0 preempt 1 1 WE",
                &format!("b0=2* b1=2* {kind} g5"),
                "a1:2A/05",
            ),
            (
                &format!("a0 register 0 1; a1 register 0 1; a0 reserve 1 0 {kind}"),
                "a0 preempt 1 1 WE",
                "g3",
                "a1:2A/05",
            ),
        ]);
        check_preempt_refused(&[
            (before, "a0 preempt 1 9 WE", CONFLICT),
            (before, "a0 preempt 1 0 scopetype=00", BAD_CDB),
        ]);
    }
}

#[test]
fn unknown_service_actions_are_pointed_at() {
    for action in 9..=0x1f {
        let mut unit = unit();
        let (sender, mut cdb, list) = encode("a0 register 0 1");
        cdb[1] = action;
        let outcome = unit.execute(&sender, &cdb, &list);
        assert_eq!(outcome.to_string(), BAD_CDB);
        let sense = outcome.sense.unwrap();
        assert_eq!(sense.bytes()[15..18], [0xcc, 0, 1]);
    }
}

#[test]
fn the_generation_wraps() {
    let mut unit = unit();
    prepare(&mut unit, "a0 register 0 1");
    let mut state = unit.reservations().clone();
    state.generation = u32::MAX;
    state.count();
    assert_eq!(state.generation, 0);
}
