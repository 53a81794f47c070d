//! Commands that change something, and what can be seen of it.

use crate::daemon::Daemon;

#[test]
fn keys_are_registered_changed_and_removed() {
    let seen = Daemon::start().session(&[
        "pr register host-a 0xa1 --aptpl",
        "pr register host-b.1 0xb1 --aptpl",
        "pr keys host-a",
        "pr capabilities host-a --json",
        "pr register host-a 0xa2 --key 0xa1",
        "pr register host-a 0xa3 --ignore",
        "pr keys host-a",
        "pr unregister host-a --key 0xa3",
        "pr unregister host-b.1 --ignore",
        "pr keys host-a",
    ]);
    insta::assert_snapshot!(seen, @r#"
    $ pr register host-a 0xa1 --aptpl
    registered 0xa1
    $ pr register host-b.1 0xb1 --aptpl
    registered 0xb1
    $ pr keys host-a
    generation 3
    0xa1  2 nexuses
    0xb1  1 nexus
    $ pr capabilities host-a --json
    {"types":["WE","EA","WERO","EARO","WEAR","EAAR"],"aptpl_capable":true,"aptpl_active":true,"all_tg_pt":true,"spec_i_pt":true,"replace_lost_reservation":false,"compatible_reservation_handling":false,"allow_commands":1}
    $ pr register host-a 0xa2 --key 0xa1
    registered 0xa2 in place of 0xa1
    $ pr register host-a 0xa3 --ignore
    registered 0xa3
    $ pr keys host-a
    generation 7
    0xa3  2 nexuses
    0xb1  1 nexus
    $ pr unregister host-a --key 0xa3
    unregistered 0xa3
    $ pr unregister host-b.1 --ignore
    unregistered
    $ pr keys host-a
    generation 10
    no keys
    "#);
}

#[test]
fn keys_go_to_every_target_port() {
    let seen = Daemon::start().session(&[
        "pr register host-a.0 0xa1 --all-tg-pt",
        "pr full-status host-a.0",
        "pr full-status host-a.0 --json",
    ]);
    insta::assert_snapshot!(seen, @r#"
    $ pr register host-a.0 0xa1 --all-tg-pt
    registered 0xa1
    $ pr full-status host-a.0
    generation 1
    KEY   HOLDER  INITIATOR             PORT
    0xa1  -       sas:5001405000010000  all
    0xa1  -       sas:5001405000010000  all
    $ pr full-status host-a.0 --json
    {"generation":1,"complete":true,"registrations":[{"key":"0xa1","holder":null,"initiator":"sas:5001405000010000","port":null,"all_tg_pt":true},{"key":"0xa1","holder":null,"initiator":"sas:5001405000010000","port":null,"all_tg_pt":true}]}
    "#);
}

#[test]
fn reservations_are_taken_shown_and_given_up() {
    let daemon = Daemon::start();
    daemon.prepare(&["pr register host-a 0xa1", "pr register host-b 0xb1"]);
    let seen = daemon.session(&[
        "pr reserve host-a --key 0xa1 --type WERO",
        "pr reservation host-b",
        "pr reservation host-b --json",
        "pr full-status host-b",
        "pr full-status host-b --json",
        "pr release host-a --key 0xa1 --type write-exclusive-registrants-only",
        "pr reserve host-a --key 0xa1 --type 7",
        "pr reservation host-a",
        "pr reservation host-a --json",
    ]);
    insta::assert_snapshot!(seen, @r#"
    $ pr reserve host-a --key 0xa1 --type WERO
    reserved WERO with 0xa1
    $ pr reservation host-b
    generation 4
    type       WERO (write-exclusive-registrants-only)
    holder     0xa1
    $ pr reservation host-b --json
    {"generation":4,"reservation":{"key":"0xa1","type":"WERO"}}
    $ pr full-status host-b
    generation 4
    KEY   HOLDER  INITIATOR             PORT
    0xa1  WERO    sas:5001405000010000  1
    0xa1  -       sas:5001405000010001  2
    0xb1  -       sas:5001405000020000  1
    0xb1  -       sas:5001405000020001  2
    $ pr full-status host-b --json
    {"generation":4,"complete":true,"registrations":[{"key":"0xa1","holder":"WERO","initiator":"sas:5001405000010000","port":1,"all_tg_pt":false},{"key":"0xa1","holder":null,"initiator":"sas:5001405000010001","port":2,"all_tg_pt":false},{"key":"0xb1","holder":null,"initiator":"sas:5001405000020000","port":1,"all_tg_pt":false},{"key":"0xb1","holder":null,"initiator":"sas:5001405000020001","port":2,"all_tg_pt":false}]}
    $ pr release host-a --key 0xa1 --type write-exclusive-registrants-only
    released WERO with 0xa1
    $ pr reserve host-a --key 0xa1 --type 7
    reserved WEAR with 0xa1
    $ pr reservation host-a
    generation 4
    type       WEAR (write-exclusive-all-registrants)
    holder     every registrant
    $ pr reservation host-a --json
    {"generation":4,"reservation":{"key":"0x0","type":"WEAR"}}
    "#);
}

#[test]
fn other_hosts_are_preempted_and_cleared() {
    let daemon = Daemon::start();
    daemon.prepare(&[
        "pr register host-a 0xa1",
        "pr register host-b 0xb1",
        "pr reserve host-a --key 0xa1 --type EARO",
    ]);
    let seen = daemon.session(&[
        "pr preempt host-b --key 0xb1 --victim 0xa1 --type EARO",
        "pr keys host-a",
        "pr register host-a 0xa1",
        "pr preempt host-b --key 0xb1 --victim 0xa1 --type EARO --abort",
        "pr reservation host-b",
        "pr clear host-b --key 0xb1",
        "pr keys host-b",
    ]);
    insta::assert_snapshot!(seen, @r#"
    $ pr preempt host-b --key 0xb1 --victim 0xa1 --type EARO
    preempted 0xa1
    $ pr keys host-a
    generation 5
    0xb1  2 nexuses
    ! reservctl: note: UNIT ATTENTION 06/2A/05; READ KEYS sent again
    $ pr register host-a 0xa1
    registered 0xa1
    $ pr preempt host-b --key 0xb1 --victim 0xa1 --type EARO --abort
    preempted 0xa1 and aborted its commands
    $ pr reservation host-b
    generation 8
    type       EARO (exclusive-access-registrants-only)
    holder     0xb1
    $ pr clear host-b --key 0xb1
    cleared with 0xb1
    $ pr keys host-b
    generation 9
    no keys
    "#);
}

#[test]
fn commands_that_change_something_as_json() {
    let seen = Daemon::start().session(&[
        "--json pr register host-a 0xa1",
        "--json pr register host-b 0xb1",
        "--json pr reserve host-a --key 0xa1 --type WE",
        "--json pr preempt host-a --key 0xa1 --victim 0xb1 --type WE --abort",
        "--json pr release host-a --key 0xa1 --type WE",
        "--json pr unregister host-a --key 0xa1",
        "--json pr register host-a 0xa2 --ignore",
        "--json pr clear host-a --key 0xa2",
    ]);
    insta::assert_snapshot!(seen, @r#"
    $ --json pr register host-a 0xa1
    {"done":"REGISTER","text":"registered 0xa1"}
    $ --json pr register host-b 0xb1
    {"done":"REGISTER","text":"registered 0xb1"}
    $ --json pr reserve host-a --key 0xa1 --type WE
    {"done":"RESERVE","text":"reserved WE with 0xa1"}
    $ --json pr preempt host-a --key 0xa1 --victim 0xb1 --type WE --abort
    {"done":"PREEMPT AND ABORT","text":"preempted 0xb1 and aborted its commands"}
    $ --json pr release host-a --key 0xa1 --type WE
    {"done":"RELEASE","text":"released WE with 0xa1"}
    $ --json pr unregister host-a --key 0xa1
    {"done":"REGISTER","text":"unregistered 0xa1"}
    $ --json pr register host-a 0xa2 --ignore
    {"done":"REGISTER AND IGNORE EXISTING KEY","text":"registered 0xa2"}
    $ --json pr clear host-a --key 0xa2
    {"done":"CLEAR","text":"cleared with 0xa2"}
    "#);
}
