use super::*;
use crate::scsi::pr::{OutParameters, RegisterFlags};
use crate::scsi::{OutAction, PrOut, ReservationKey, ScopeType, SenseCode};

fn refused(text: &str) -> String {
    format!("{:#}", Config::parse(text).unwrap_err())
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(Config::parse("").unwrap(), Config::default());
}

#[test]
fn what_is_shipped_is_the_default() {
    let text = include_str!("../../conf/reservd.toml");
    let mut config = Config::parse(text).unwrap();
    config.defaults.key_place = None;
    assert_eq!(config, Config::default());
}

#[test]
fn the_control_socket_is_at_its_place_unless_the_helpers_is_moved() {
    let control = |text: &str| Config::parse(text).unwrap().helper.control();
    let path = |path: &str| Some(PathBuf::from(path));
    assert_eq!(control(""), path("/run/reservd/control.sock"));
    assert_eq!(control("[helper]\nsocket = \"/x\"\n"), None);
    let text = "[helper]\nsocket = \"/x\"\ncontrol-socket = \"/y\"\n";
    assert_eq!(control(text), path("/y"));
}

#[test]
fn mistakes_are_shown() {
    let texts = [
        "[helper\n",
        "[helper]\nsocet = \"/x\"\n",
        "[helper]\nsocket = \"run/x\"\n",
        "[helper]\nmode = \"0888\"\n",
        "[helper]\nmax-connections = 0\n",
        "[commands]\n\ndeadline-ms = 5\n",
        "[defaults]\nengine = \"libmpathpersist\"\n",
        "[defaults]\nmultipathd = \"x\"\n",
        "[defaults]\nreservation-key = \"file\"\n",
        "[defaults]\nreservation_key = 0x123abc\n",
        "[defaults]\nreservation_key = \"123abc\"\n",
        "[defaults]\nreservation_key = \"0x0\"\n",
        "[defaults]\nreservation_key = \"0x1:aptlp\"\n",
        "[defaults]\nall_tg_pt = \"yes\"\n",
        "[defaults]\npath_repair = \"never\"\n",
        "[defaults]\npoll-interval-ms = 100\n",
        "[defaults]\nwwid = \"3600\"\n",
        "[multipath]\nwwid = \"3600\"\n",
        "# above\n[[multipath]]\nreservation_key = \"0x1\"\n",
        "[[multipath]]\nwwid = \"3600\"\nalias = \"mpatha\"\n",
        "[[multipath]]\nwwid = \"\"\n",
        "[hosts]\nnode1 = \"a1\"\n",
        "[hosts]\nnode1 = \"0xa1\"\nnode2 = [\"0xa2\", \"0xa1\"]\n",
        "[[multipath]]\nwwid = \"3600\"\npoll-interval-ms = 1000\n",
        "[[multipath]]\nalias = \"ä\"\n[[multipath]]\n\talias = \"ä\"\nstrict = true\n",
        "[simulator]\n",
        "[simulator]\ndirectory = \"/x\"\n[[simulator.lun]]\nname = \"../etc\"\nwwid = \"3\"\n",
        "[simulator]\ndirectory = \"/x\"\nlun = [{ name = \"a\", wwid = \"3\", paths = 17 }]\n",
        "[simulator]\ndirectory = \"/x\"\nlun = [{ name = \"a\", wwid = \"3\", hosts = [\"b\", \"c/d\"] }]\n",
        "[simulator]\ndirectory = \"/x\"\n[[simulator.lun]]\nname = \"a\"\nwwid = \"3\"\n\
         [[simulator.lun]]\nname = \"a\"\nwwid = \"4\"\n",
    ];
    let shown: Vec<_> = texts.iter().map(|text| refused(text)).collect();
    insta::assert_snapshot!(shown.join("\n\n"), @r#"
    configuration: line 1, column 8: unclosed table, expected `]`
      |
    1 | [helper
      |        ^

    configuration: line 2, column 1: unknown field `socet`, expected one of `socket`, `mode`, `control-socket`, `max-connections`
      |
    2 | socet = "/x"
      | ^^^^^

    configuration: line 2, column 10: an absolute path is needed
      |
    2 | socket = "run/x"
      |          ^^^^^^^

    configuration: line 2, column 8: a mode is an octal string from "0000" to "0777"
      |
    2 | mode = "0888"
      |        ^^^^^^

    configuration: line 2, column 19: max-connections is at least 1
      |
    2 | max-connections = 0
      |                   ^

    configuration: line 3, column 15: from 100 to 600000 milliseconds
      |
    3 | deadline-ms = 5
      |               ^

    configuration: line 2, column 10: unknown variant `libmpathpersist`, expected one of `auto`, `mpathpersist`, `direct`
      |
    2 | engine = "libmpathpersist"
      |          ^^^^^^^^^^^^^^^^^

    configuration: line 2, column 14: unknown variant `x`, expected one of `coordinate`, `observe`, `exclusive`
      |
    2 | multipathd = "x"
      |              ^^^

    configuration: line 2, column 1: unknown field `reservation-key`, expected one of `reservation_key`, `all_tg_pt`, `multipathd`, `engine`, `path_repair`, `strict`, `poll-interval-ms`
      |
    2 | reservation-key = "file"
      | ^^^^^^^^^^^^^^^

    configuration: line 2, column 19: invalid type: integer `1194684`, expected a string: "file", "0x123abc" or "0x123abc:aptpl"
      |
    2 | reservation_key = 0x123abc
      |                   ^^^^^^^^

    configuration: line 2, column 19: a reservation key starts with 0x; or "file", for the key that a client registers
      |
    2 | reservation_key = "123abc"
      |                   ^^^^^^^^

    configuration: line 2, column 19: 0x0 is no reservation key
      |
    2 | reservation_key = "0x0"
      |                   ^^^^^

    configuration: line 2, column 19: unknown suffix ":aptlp": only ":aptpl" may follow a reservation key
      |
    2 | reservation_key = "0x1:aptlp"
      |                   ^^^^^^^^^^^

    configuration: line 2, column 13: invalid type: string "yes", expected a boolean
      |
    2 | all_tg_pt = "yes"
      |             ^^^^^

    configuration: line 2, column 15: unknown variant `never`, expected `repair` or `observe`
      |
    2 | path_repair = "never"
      |               ^^^^^^^

    configuration: line 2, column 20: from 200 to 600000 milliseconds
      |
    2 | poll-interval-ms = 100
      |                    ^^^

    configuration: line 2, column 1: unknown field `wwid`, expected one of `reservation_key`, `all_tg_pt`, `multipathd`, `engine`, `path_repair`, `strict`, `poll-interval-ms`
      |
    2 | wwid = "3600"
      | ^^^^

    configuration: line 1, column 1: invalid type: map, expected sections [[multipath]], in double brackets
      |
    1 | [multipath]
      | ^^^^^^^^^^^

    configuration: line 2, column 1: a [[multipath]] section needs a wwid or an alias
      |
    2 | [[multipath]]
      | ^^^^^^^^^^^^^

    configuration: line 3, column 9: a [[multipath]] section names its unit by wwid or alias, not by both
      |
    3 | alias = "mpatha"
      |         ^^^^^^^^

    configuration: line 2, column 8: a wwid or an alias is one word, without blanks
      |
    2 | wwid = ""
      |        ^^

    configuration: line 2, column 9: a reservation key starts with 0x
      |
    2 | node1 = "a1"
      |         ^^^^

    configuration: line 3, column 9: 0xa1 is the key of "node1" already
      |
    3 | node2 = ["0xa2", "0xa1"]
      |         ^^^^^^^^^^^^^^^^

    configuration: line 3, column 1: unknown field `poll-interval-ms`, expected one of `wwid`, `alias`, `reservation_key`, `all_tg_pt`, `multipathd`, `engine`, `path_repair`, `strict`
      |
    3 | poll-interval-ms = 1000
      | ^^^^^^^^^^^^^^^^

    configuration: line 4, column 10: alias "ä" has a section already: configuration: line 2, column 9
      |
    4 |  alias = "ä"
      |          ^^^

    configuration: line 1, column 1: missing field `directory`
      |
    1 | [simulator]
      | ^^^^^^^^^^^

    configuration: line 4, column 8: "../etc" is not a name of letters, digits, '-' and '_'
      |
    4 | name = "../etc"
      |        ^^^^^^^^

    configuration: line 3, column 42: a host has 1 to 16 paths
      |
    3 | lun = [{ name = "a", wwid = "3", paths = 17 }]
      |                                          ^^

    configuration: line 3, column 48: "c/d" is not a name of letters, digits, '-' and '_'
      |
    3 | lun = [{ name = "a", wwid = "3", hosts = ["b", "c/d"] }]
      |                                                ^^^^^

    configuration: line 6, column 1: lun "a" is there twice
      |
    6 | [[simulator.lun]]
      | ^^^^^^^^^^^^^^^^^
    "#);
}

fn text(name: &str, text: &str) -> Text {
    Text::new(name, text)
}

#[test]
fn mistakes_across_files_name_both_places() {
    let first = text(
        "a.toml",
        "[[multipath]]\nwwid = \"3600a\"\n[simulator]\ndirectory = \"/x\"\n",
    );
    let again = text("b.toml", "\n[[multipath]]\nwwid = \"3600a\"\n");
    let error = Config::from_texts(&[first.clone(), again]).unwrap_err();
    insta::assert_snapshot!(error, @r#"b.toml: line 3, column 8: wwid "3600a" has a section already: a.toml: line 2, column 8"#);
    let again = text("b.toml", "[simulator]\ndirectory = \"/y\"\n");
    let error = Config::from_texts(&[first, again]).unwrap_err();
    insta::assert_snapshot!(error, @r"b.toml: line 1, column 1: there is a simulator already: a.toml: line 3, column 1");
}

#[test]
fn later_files_count_setting_by_setting() {
    let first = text(
        "a.toml",
        "[helper]\nmode = \"0600\"\nmax-connections = 7\n\
         [defaults]\nreservation_key = \"0xa1\"\nengine = \"direct\"\n",
    );
    let second = text(
        "b.toml",
        "[helper]\nmax-connections = 8\n\
         [defaults]\nreservation_key = \"0xb1:aptpl\"\nstrict = true\n\
         [[multipath]]\nalias = \"mpatha\"\n",
    );
    let config = Config::from_texts(&[first, second]).unwrap();
    assert_eq!(
        (config.helper.mode, config.helper.max_connections),
        (0o600, 8)
    );
    assert_eq!(config.defaults.engine, Engine::Direct);
    assert_eq!(config.defaults.reservation_key.to_string(), "0xb1:aptpl");
    let place = config.defaults.key_place.as_ref().unwrap().to_string();
    assert_eq!(place, "b.toml: line 4, column 19");
    assert!(config.defaults.strict);
    assert_eq!(config.multipath.len(), 1);
}

#[test]
fn the_section_of_a_wwid_counts_before_that_of_an_alias() {
    let config = Config::parse(
        "[defaults]\nstrict = true\npoll-interval-ms = 200\n\
         [[multipath]]\nalias = \"mpatha\"\nreservation_key = \"0xa1\"\nengine = \"direct\"\n\
         [[multipath]]\nwwid = \"3600a\"\nreservation_key = \"0xb1:aptpl\"\nall_tg_pt = true\n",
    )
    .unwrap();
    let unit = config.unit("3600a", Some("mpatha"));
    assert_eq!(unit.reservation_key.to_string(), "0xb1:aptpl");
    assert_eq!((unit.engine, unit.strict), (Engine::Direct, true));
    assert_eq!(unit.poll_interval, Duration::from_millis(200));
    let flags = RegisterFlags {
        all_tg_pt: true,
        aptpl: true,
        spec_i_pt: false,
    };
    assert_eq!(unit.flags(), flags);
    assert_eq!(config.unit("3600a", None).engine, Engine::Auto);
    let other = config.unit("3600b", Some("mpatha"));
    assert_eq!(other.reservation_key.to_string(), "0xa1");
    assert_eq!(other.flags(), RegisterFlags::default());
    assert_eq!(config.unit("3600b", Some("mpathb")), config.defaults);
    // A WWID is no alias.
    assert_eq!(config.unit("mpatha", Some("3600a")), config.defaults);
}

#[test]
fn only_registrations_with_other_keys_are_kept_out() {
    let command = |action, key, service_action_key| PrOut {
        action,
        scope_type: ScopeType(0),
        parameters: OutParameters {
            key: ReservationKey(key),
            service_action_key: ReservationKey(service_action_key),
            flags: RegisterFlags::default(),
            transport_ids: Vec::new(),
            moved: None,
        },
    };
    let config = Config::parse("[defaults]\nreservation_key = \"0xa1\"\n").unwrap();
    let (fixed, open) = (config.unit("3", None), Unit::default());
    let refused = Err(SenseCode::INVALID_FIELD_IN_PARAMETER_LIST);
    for action in [OutAction::Register, OutAction::RegisterAndIgnore] {
        for (new, answer) in [(0xa1, Ok(())), (0, Ok(())), (0xb1, refused)] {
            for key in [0, 0xa1, 0xb1] {
                assert_eq!(fixed.admits(&command(action, key, new)), answer);
                assert_eq!(open.admits(&command(action, key, new)), Ok(()));
            }
        }
    }
    for action in [
        OutAction::Reserve,
        OutAction::Release,
        OutAction::Clear,
        OutAction::Preempt,
        OutAction::PreemptAndAbort,
        OutAction::RegisterAndMove,
    ] {
        assert_eq!(fixed.admits(&command(action, 0xb1, 0xb1)), Ok(()));
    }
}

#[test]
fn settings_that_need_a_restart_are_known() {
    let started = Config::parse("").unwrap();
    let new = "[helper]\nmode = \"0600\"\n[commands]\ndeadline-ms = 100\n[simulator]\ndirectory = \"/x\"\n";
    let new = Config::parse(new).unwrap();
    assert_eq!(new.held_up(&started), ["mode", "simulator"]);
    assert!(started.held_up(&started).is_empty());
}

proptest::proptest! {
    #[test]
    fn no_text_is_too_odd(text in "[\\[\\]a-z_=\"' \n0x#{},ä-]{0,80}") {
        if let Err(error) = Config::parse(&text) {
            let shown = format!("{error:#}");
            proptest::prop_assert!(shown.contains("line "), "{}", shown);
        }
    }
}

#[test]
fn hosts_have_one_key_or_several() {
    let texts = [
        text("a", "[hosts]\nnode1 = \"0xa1\"\n"),
        text(
            "b",
            "[hosts]\nnode2 = [\"0xb1\", \"0xB2\"]\nnode1 = [\"0xa2\"]\n",
        ),
    ];
    let hosts = Config::from_texts(&texts).unwrap().hosts;
    let name = |key| hosts.name_of(ReservationKey(key));
    assert_eq!(
        [0xa1, 0xa2, 0xb1, 0xb2, 0xc1].map(name),
        [
            Some("node1"),
            Some("node1"),
            Some("node2"),
            Some("node2"),
            None
        ]
    );
    let again = text("c", "[hosts]\nnode3 = \"0xb2\"\n");
    let [a, b] = texts;
    let error = Config::from_texts(&[a, b, again]).unwrap_err();
    assert!(error.to_string().starts_with("c: line 2"), "{error}");
}
