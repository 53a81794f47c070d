//! What is shown, and to whom.

use crate::daemon::{Daemon, transcript};
use std::process::{Command, Stdio};

#[test]
fn an_untouched_unit() {
    let seen = Daemon::start().session(&[
        "pr keys host-a",
        "pr reservation host-a",
        "pr full-status host-a",
        "pr capabilities host-a",
    ]);
    insta::assert_snapshot!(seen, @r#"
    $ pr keys host-a
    generation 0
    no keys
    $ pr reservation host-a
    generation 0
    no reservation
    $ pr full-status host-a
    generation 0
    no registrations
    $ pr capabilities host-a
    types                            WE EA WERO EARO WEAR EAAR
    aptpl                            yes, not active
    all-tg-pt                        yes
    spec-i-pt                        yes
    replace lost reservation         no
    compatible reservation handling  no
    allow commands                   1
    "#);
}

#[test]
fn an_untouched_unit_as_json() {
    let seen = Daemon::start().session(&[
        "pr keys host-a --json",
        "pr reservation host-a --json",
        "pr full-status host-a --json",
        "pr capabilities host-a --json",
    ]);
    insta::assert_snapshot!(seen, @r#"
    $ pr keys host-a --json
    {"generation":0,"complete":true,"keys":[]}
    $ pr reservation host-a --json
    {"generation":0,"reservation":null}
    $ pr full-status host-a --json
    {"generation":0,"complete":true,"registrations":[]}
    $ pr capabilities host-a --json
    {"types":["WE","EA","WERO","EARO","WEAR","EAAR"],"aptpl_capable":true,"aptpl_active":false,"all_tg_pt":true,"spec_i_pt":true,"replace_lost_reservation":false,"compatible_reservation_handling":false,"allow_commands":1}
    "#);
}

#[test]
fn a_unit_attention_is_noted_and_passed() {
    let daemon = Daemon::start();
    daemon.prepare(&[
        "pr register host-a.0 0xa1",
        "pr register host-b.0 0xb1",
        "pr clear host-b.0 --key 0xb1",
    ]);
    let seen = daemon.session(&["pr keys host-a.0 --json", "pr keys host-a.0 --json"]);
    insta::assert_snapshot!(seen, @r#"
    $ pr keys host-a.0 --json
    {"generation":3,"complete":true,"keys":[]}
    ! reservctl: note: UNIT ATTENTION 06/2A/03; READ KEYS sent again
    $ pr keys host-a.0 --json
    {"generation":3,"complete":true,"keys":[]}
    "#);
}

#[test]
fn a_closed_standard_output_is_no_error() {
    let daemon = Daemon::start();
    for line in ["pr keys host-a", "pr keys host-a --json", "--help"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = daemon
            .command(line)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn();
        let output = child.unwrap().wait_with_output().unwrap();
        assert_eq!(transcript(&output), "", "{line}");
    }
}

#[test]
fn help_documents_the_exit_codes() {
    for arguments in [&["--help"][..], &["pr", "--help"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_reservctl"))
            .args(arguments)
            .output()
            .unwrap();
        let help = transcript(&output);
        assert!(help.contains("3  RESERVATION CONFLICT"), "{help}");
    }
}
