//! Unit attentions, their order among other answers, and power loss.

use super::super::unit::Config;
use super::*;

const TEST_UNIT_READY: &[u8] = &[0; 6];
const WRITE: &[u8] = &[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const POWER_ON: &str = "CHECK CONDITION 06/29/00";

fn ask(unit: &mut LogicalUnit, who: &str, cdb: &[u8]) -> String {
    unit.execute(&nexus(who), cdb, &[]).to_string()
}

#[test]
fn the_first_command_meets_power_on() {
    let mut config = Config::new("x");
    config.first_contact_attention = true;
    let mut unit = LogicalUnit::new(config);
    // INQUIRY and REPORT LUNS pass and leave it.
    assert_eq!(ask(&mut unit, "a0", &[0x12, 0, 0, 0, 36, 0]), "GOOD");
    let luns = [0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0];
    assert_eq!(ask(&mut unit, "a0", &luns), "GOOD");
    assert_eq!(run(&mut unit, "a0 register 0 1").to_string(), POWER_ON);
    assert_eq!(state(&unit), "g0");
    assert_eq!(run(&mut unit, "a0 register 0 1").to_string(), "GOOD");
    assert_eq!(ask(&mut unit, "b0", TEST_UNIT_READY), POWER_ON);
}

#[test]
fn request_sense_takes_the_attention_as_data() {
    let mut unit = unit();
    prepare(&mut unit, "a0 register 0 1; b0 register 0 2");
    run(&mut unit, "a0 clear 1 0");
    let fixed = unit.execute(&nexus("b0"), &[0x03, 0, 0, 0, 18, 0], &[]);
    assert_eq!(fixed.data[..3], [0x70, 0, 0x06]);
    assert_eq!(fixed.data[12..14], [0x2a, 0x03]);
    let nothing = unit.execute(&nexus("b0"), &[0x03, 1, 0, 0, 252, 0], &[]);
    assert_eq!(nothing.data, [0x72, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn attentions_queue_without_repeating() {
    let mut unit = unit();
    prepare(&mut unit, "a0 register 0 1; b0 register 0 2");
    for _ in 0..2 {
        assert!(run(&mut unit, "a0 reserve 1 0 WERO").is_good());
        assert!(run(&mut unit, "a0 release 1 0 WERO").is_good());
    }
    assert!(run(&mut unit, "a0 preempt 1 2 WE").is_good());
    assert_eq!(pending(&unit), "b0:2A/04 b0:2A/05");
    unit.raise(&nexus("b0"), SenseCode::POWER_ON_OR_RESET);
    for answer in [
        POWER_ON,
        "CHECK CONDITION 06/2A/04",
        "CHECK CONDITION 06/2A/05",
        "GOOD",
    ] {
        assert_eq!(ask(&mut unit, "b0", TEST_UNIT_READY), answer);
    }
}

#[test]
fn answers_have_their_order() {
    let mut unit = unit();
    prepare(
        &mut unit,
        "a0 register 0 1; b0 register 0 2; b0 reserve 2 0 WERO",
    );
    assert!(run(&mut unit, "a0 preempt 1 2 WERO").is_good());
    unit.raise(&nexus("b0"), SenseCode::POWER_ON_OR_RESET);
    // Reset before conflict, conflict before the other attentions.
    assert_eq!(ask(&mut unit, "b0", WRITE), POWER_ON);
    assert_eq!(ask(&mut unit, "b0", WRITE), CONFLICT);
    assert_eq!(run(&mut unit, "b0 reserve 2 0 WERO").to_string(), CONFLICT);
    for verb in ["release", "clear", "preempt", "abort", "move"] {
        let outcome = run(&mut unit, &format!("b0 {verb} 2 1 WERO len=30"));
        assert_eq!(outcome.to_string(), CONFLICT, "{verb}");
    }
    assert_eq!(pending(&unit), "b0:2A/05");
    // Attentions before errors in the command, and before a key that is wrong.
    let fenced = "CHECK CONDITION 06/2A/05";
    assert_eq!(ask(&mut unit, "b0", &[0xff]), fenced);
    assert_eq!(ask(&mut unit, "b0", &[0xff]), "CHECK CONDITION 05/20/00");
    unit.raise(&nexus("b0"), SenseCode::REGISTRATIONS_PREEMPTED);
    assert_eq!(run(&mut unit, "b0 register 2 3").to_string(), fenced);
    assert_eq!(run(&mut unit, "b0 register 2 3").to_string(), CONFLICT);
}

#[test]
fn nobody_is_told_who_never_logged_in() {
    let mut unit = unit();
    prepare(&mut unit, "b0 register 0 2; a0 register 0 1 all");
    assert!(run(&mut unit, "b0 preempt 2 1 WE").is_good());
    assert_eq!(pending(&unit), "a0:2A/05");
    let phantom = NexusId {
        relative_target_port: 2,
        ..nexus("a0")
    };
    assert_eq!(unit.pending(&phantom), []);
}

#[test]
fn power_loss_forgets_unless_told_to_persist() {
    const HELD: &str = "b0 register 0 2 aptpl; a0 register 0 1 aptpl; a0 reserve 1 0 EARO";
    for (commands, after) in [
        (HELD.to_owned(), "b0=2 a0=1* EARO g0 aptpl"),
        (HELD.replace(" aptpl", ""), "g0"),
        // The last registering command rules for everybody.
        (format!("{HELD}; a1 register 0 1"), "g0"),
        (format!("{HELD}; a1 ignore 0 1"), "g0"),
        (format!("{HELD}; b0 register 2 0"), "g0"),
        (format!("{HELD}; a0 move 1 2 to=b0"), "g0"),
        (
            format!("{HELD}; a0 move 1 2 to=b0 aptpl"),
            "b0=2* a0=1 EARO g0 aptpl",
        ),
        // These say nothing about it.
        (
            format!("{HELD}; a1 register 0 0"),
            "b0=2 a0=1* EARO g0 aptpl",
        ),
        (format!("{HELD}; a1 ignore 0 0"), "b0=2 a0=1* EARO g0 aptpl"),
        (format!("{HELD}; a0 release 1 0 EARO"), "b0=2 a0=1 g0 aptpl"),
        (format!("{HELD}; a0 preempt 1 2 WE"), "a0=1* EARO g0 aptpl"),
        (format!("{HELD}; a0 clear 1 0"), "g0 aptpl"),
    ] {
        let mut unit = unit();
        prepare(&mut unit, &commands);
        unit.power_cycle();
        assert_eq!(state(&unit), after, "{commands}");
        assert_eq!(pending(&unit), "a0:29/00 a1:29/00 b0:29/00 b1:29/00");
    }
    let mut unit = unit();
    prepare(&mut unit, HELD);
    // What was pending is forgotten with the power.
    unit.raise(&nexus("b0"), SenseCode::RESERVATIONS_RELEASED);
    unit.power_cycle();
    assert_eq!(pending(&unit), "a0:29/00 a1:29/00 b0:29/00 b1:29/00");
    // The holder is still one, once it has taken the attention.
    drain(&mut unit);
    assert_eq!(ask(&mut unit, "b1", WRITE), CONFLICT);
    assert!(run(&mut unit, "a0 release 1 0 EARO").is_good());
}
