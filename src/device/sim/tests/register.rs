//! REGISTER, REGISTER AND IGNORE EXISTING KEY, REGISTER AND MOVE.

use super::super::unit::Config;
use super::*;

/// Both nexuses of host a and one of b, none of them holding.
const THREE: &str = "a0 register 0 1; a1 register 0 1; b0 register 0 2";

#[test]
fn register_follows_its_table() {
    check_good(&[
        ("", "a0 register 0 0", "g1", ""),
        ("", "a0 register 0 0 aptpl", "g1", ""),
        ("", "a0 register 0 1", "a0=1 g1", ""),
        ("", "a0 register 0 1 aptpl", "a0=1 g1 aptpl", ""),
        ("a0 register 0 1", "a0 register 1 1", "a0=1 g2", ""),
        ("a0 register 0 1 aptpl", "a0 register 1 2", "a0=2 g2", ""),
        ("a0 register 0 1", "a0 register 1 0 aptpl", "g2 aptpl", ""),
        (THREE, "a0 register 1 3", "a0=3 a1=1 b0=2 g4", ""),
        (
            "a0 register 0 1; a0 reserve 1 0 WE",
            "a0 register 1 3",
            "a0=3* WE g2",
            "",
        ),
        // A registered outsider may register under any reservation.
        (
            "a0 register 0 1; a0 reserve 1 0 EA",
            "b0 register 0 2",
            "a0=1* b0=2 EA g2",
            "",
        ),
    ]);
    check_refused(&[
        ("", "a0 register 1 1", CONFLICT),
        ("", "a0 register 1 0", CONFLICT),
        ("a0 register 0 1", "a0 register 0 1", CONFLICT),
        ("a0 register 0 1", "a0 register 2 3", CONFLICT),
        ("a0 register 0 1", "a0 register 0 0", CONFLICT),
        ("a0 register 0 1", "a0 register 1 1 len=23", BAD_LENGTH),
        ("a0 register 0 1", "a0 register 1 1 len=25", BAD_LENGTH),
        ("a0 register 0 1", "a0 register 1 1 len=0", BAD_LENGTH),
    ]);
}

#[test]
fn register_and_ignore_follows_its_table() {
    check_good(&[
        ("", "a0 ignore 0 0", "g1", ""),
        ("", "a0 ignore 9 0 aptpl", "g1", ""),
        ("", "a0 ignore 9 1 aptpl", "a0=1 g1 aptpl", ""),
        ("a0 register 0 1", "a0 ignore 9 2", "a0=2 g2", ""),
        ("a0 register 0 1", "a0 ignore 9 0", "g2", ""),
        (
            "b0 register 0 2; b0 reserve 2 0 EA",
            "a0 ignore 9 1",
            "b0=2* a0=1 EA g2",
            "",
        ),
    ]);
}

#[test]
fn unregistering_ends_the_reservation_by_type() {
    for verb in ["register 1 0", "ignore 0 0"] {
        let leave = &format!("a0 {verb}");
        for (kind, after, attentions) in [
            ("WE", "a1=1 b0=2 g4", ""),
            ("EA", "a1=1 b0=2 g4", ""),
            ("WERO", "a1=1 b0=2 g4", "a1:2A/04 b0:2A/04"),
            ("EARO", "a1=1 b0=2 g4", "a1:2A/04 b0:2A/04"),
            ("WEAR", "a1=1* b0=2* WEAR g4", ""),
            ("EAAR", "a1=1* b0=2* EAAR g4", ""),
        ] {
            let held = format!("{THREE}; a0 reserve 1 0 {kind}");
            check_good(&[(&held, leave, after, attentions)]);
        }
        for kind in ["WEAR", "EAAR"] {
            let last = format!("a0 register 0 1; a0 reserve 1 0 {kind}");
            check_good(&[(&last, leave, "g2", "")]);
        }
    }
    let others = &format!("{THREE}; a0 reserve 1 0 WERO");
    check_good(&[(others, "b0 register 2 0", "a0=1* a1=1 WERO g4", "")]);
}

#[test]
fn all_target_ports_are_registered_as_one() {
    check_good(&[
        ("", "a0 register 0 1 all", "a0=1+ a0@2=1+ g1", ""),
        ("", "a1 ignore 0 1 all", "a1=1+ a1@1=1+ g1", ""),
        (
            "a0 register 0 1 all",
            "a0 register 1 2 all",
            "a0=2+ a0@2=2+ g2",
            "",
        ),
        // Without the bit only the sender's port is meant.
        (
            "a0 register 0 1 all",
            "a0 register 1 2",
            "a0=2 a0@2=1 g2",
            "",
        ),
        ("a0 register 0 1 all", "a0 register 1 0", "a0@2=1 g2", ""),
        ("a0 register 0 1 all", "a0 register 1 0 all", "g2", ""),
        (
            "a0 register 0 1 all; a0 register 1 0",
            "a0 ignore 0 0 all",
            "g3",
            "",
        ),
        (
            "a0 register 0 1 all; b0 register 0 2; a0 reserve 1 0 WERO",
            "a0 register 1 0 all",
            "b0=2 g3",
            "b0:2A/04",
        ),
        (
            "a0 register 0 1",
            "a0 register 1 1 all",
            "a0=1+ a0@2=1+ g2",
            "",
        ),
    ]);
    check_refused(&[
        // The other port has a key of its own.
        (
            "a0 register 0 1 all; a0 register 1 2",
            "a0 register 2 3 all",
            CONFLICT,
        ),
        (
            "a0 register 0 1 all; a0 register 1 0",
            "a0 register 0 3 all",
            CONFLICT,
        ),
    ]);
}

#[test]
fn listed_initiators_are_registered_all_or_none() {
    check_good(&[
        ("", "a0 register 0 1 spec=b0,b1", "a0=1 b0=1 b1@1=1 g1", ""),
        (
            "",
            "a0 register 0 1 spec=b0 all aptpl",
            "a0=1+ a0@2=1+ b0=1+ b0@2=1+ g1 aptpl",
            "",
        ),
        ("", "a0 register 0 0 spec=b0", "g1", ""),
    ]);
    check_refused(&[
        ("b0 register 0 2", "a0 register 0 1 spec=b1,b0", BAD_LIST),
        ("", "a0 register 0 1 spec=b0,b0", BAD_LIST),
        ("", "a0 register 0 1 spec=a0", BAD_LIST),
        ("a0 register 0 1", "a0 register 1 1 spec=b0", BAD_LIST),
        ("a0 register 0 1", "a0 register 2 1 spec=b0", CONFLICT),
        ("", "a0 ignore 0 1 spec=b0", BAD_LIST),
        ("a0 register 0 1", "a0 reserve 1 0 WE spec=b0", BAD_LIST),
        ("", "a0 register 0 1 spec=b0,b1 len=75", BAD_LENGTH),
        ("", "a0 register 0 1 spec=b0,b1 len=77", BAD_LENGTH),
        ("", "a0 register 0 1 spec=b0 len=27", BAD_LENGTH),
        ("", "a0 register 0 1 spec=b0 len=24", BAD_LENGTH),
    ]);
}

#[test]
fn transport_ids_are_checked() {
    let foreign = TransportId::sas(7);
    let known = nexus("b0").transport_id;
    let cut = &known.bytes()[..23];
    let rows: [(&[&[u8]], u16); 3] = [
        (&[foreign.bytes()], 28),
        (&[known.bytes(), foreign.bytes()], 52),
        (&[known.bytes(), cut], 52),
    ];
    for (ids, pointer) in rows {
        let mut unit = unit();
        let mut command = PrOut::register(
            ReservationKey(0),
            ReservationKey(1),
            RegisterFlags::default(),
        );
        command.parameters.flags.spec_i_pt = true;
        command.parameters.transport_ids = id_list(ids);
        let (cdb, list) = command.encode();
        let outcome = unit.execute(&nexus("a0"), cdb.as_device_bytes(), &list);
        assert_eq!(outcome.to_string(), BAD_LIST);
        let sense = outcome.sense.unwrap();
        assert_eq!(sense.bytes()[15], 0x8f);
        assert_eq!(sense.bytes()[16..18], pointer.to_be_bytes());
        assert_eq!(state(&unit), "g0");
    }
}

#[test]
fn the_holder_moves_its_reservation() {
    const HELD: &str = "a0 register 0 1; a0 reserve 1 0 WERO";
    check_good(&[
        (HELD, "a0 move 1 5 to=b0", "a0=1 b0=5* WERO g2", ""),
        (
            HELD,
            "a0 move 1 5 to=b0 unreg aptpl",
            "b0=5* WERO g2 aptpl",
            "",
        ),
        (
            "a0 register 0 1 aptpl; b0 register 0 2 aptpl; a0 reserve 1 0 EA",
            "a0 move 1 5 to=b0",
            "a0=1 b0=5* EA g3",
            "",
        ),
        (HELD, "a0 move 1 1 to=a0 port=2", "a0=1 a0@2=1* WERO g2", ""),
    ]);
    check_refused(&[
        ("", "a0 move 0 5 to=b0", CONFLICT),
        (HELD, "b0 move 0 5 to=b0", CONFLICT),
        (HELD, "a0 move 2 5 to=b0", CONFLICT),
        ("a0 register 0 1", "a0 move 1 5 to=b0", BAD_CDB),
        (
            "a0 register 0 1; b0 register 0 2; a0 reserve 1 0 WERO",
            "b0 move 2 5 to=a0",
            CONFLICT,
        ),
        (
            "a0 register 0 1; a0 reserve 1 0 WEAR",
            "a0 move 1 5 to=b0",
            CONFLICT,
        ),
        (
            "a0 register 0 1; a0 reserve 1 0 EAAR",
            "a0 move 1 5 to=b0",
            CONFLICT,
        ),
        (HELD, "a0 move 1 0 to=b0", BAD_LIST),
        (HELD, "a0 move 1 5 to=a0", BAD_LIST),
        (HELD, "a0 move 1 5 to=b0 port=3", BAD_LIST),
        (HELD, "a0 move 1 5 to=b0 len=47", BAD_LENGTH),
        (HELD, "a0 move 1 5 to=b0 len=52", BAD_LENGTH),
        (HELD, "a0 move 1 5 port=1", BAD_LIST),
    ]);
    // A Fibre Channel port cannot sit behind a SAS target port.
    let mut unit = unit();
    prepare(&mut unit, HELD);
    let (sender, cdb, mut list) = encode("a0 move 1 5 to=b0");
    list[24] = 0;
    let outcome = unit.execute(&sender, &cdb, &list);
    assert_eq!(outcome.to_string(), BAD_LIST);
}

#[test]
fn what_the_unit_cannot_do_is_refused() {
    let mut config = Config::new("x");
    config.persist_capable = false;
    config.all_tg_pt_capable = false;
    config.spec_i_pt_capable = false;
    config.maximum_registrations = 2;
    check_refused_by(
        config,
        &[
            ("", "a0 register 0 1 aptpl", BAD_LIST),
            ("", "a0 ignore 0 1 aptpl", BAD_LIST),
            ("", "a0 register 0 1 all", BAD_LIST),
            ("", "a0 register 0 1 spec=b0", BAD_LIST),
            (
                "a0 register 0 1; a0 reserve 1 0 WE",
                "a0 move 1 5 to=b0 aptpl",
                BAD_LIST,
            ),
            (
                "a0 register 0 1; a1 register 0 1",
                "b0 register 0 2",
                "CHECK CONDITION 05/55/04",
            ),
        ],
    );
}

#[test]
fn nothing_replaces_what_is_never_lost() {
    check_refused(&[
        ("", "a0 replace 0 1 WE", BAD_LIST),
        ("a0 register 0 1", "a0 replace 1 1 WE", BAD_LIST),
    ]);
}
