//! What does not work: words and exit codes.

use crate::daemon::{Daemon, transcript};
use std::process::Command;

#[test]
fn conflicts_exit_with_3() {
    let daemon = Daemon::start();
    daemon.prepare(&[
        "pr register host-a 0xa1",
        "pr register host-b 0xb1",
        "pr reserve host-a --key 0xa1 --type WE",
    ]);
    let seen = daemon.session(&[
        "pr register host-b 0xb2",
        "pr unregister host-b --key 0xdead",
        "pr reserve host-b --key 0xb1 --type WE",
        "pr release host-b --key 0xdead --type WE",
        "pr clear host-b --key 0xdead",
        "pr preempt host-b --key 0xb1 --victim 0xdead --type WE",
        "pr reserve host-b --key 0xb1 --type WE --json",
    ]);
    insta::assert_snapshot!(seen, @r#"
    $ pr register host-b 0xb2
    ! reservctl: REGISTER: RESERVATION CONFLICT: the key of this host is not the one given with --key (without it: none)
    [exit 3]
    $ pr unregister host-b --key 0xdead
    ! reservctl: REGISTER: RESERVATION CONFLICT: the key of this host is not the one given with --key (without it: none)
    [exit 3]
    $ pr reserve host-b --key 0xb1 --type WE
    ! reservctl: RESERVE: RESERVATION CONFLICT: the key given is not the one registered for this host, or there is a reservation of another holder or type
    [exit 3]
    $ pr release host-b --key 0xdead --type WE
    ! reservctl: RELEASE: RESERVATION CONFLICT: the key given is not the one registered for this host
    [exit 3]
    $ pr clear host-b --key 0xdead
    ! reservctl: CLEAR: RESERVATION CONFLICT: the key given is not the one registered for this host
    [exit 3]
    $ pr preempt host-b --key 0xb1 --victim 0xdead --type WE
    ! reservctl: PREEMPT: RESERVATION CONFLICT: the key given is not the one registered for this host, or nobody has the victim's key
    [exit 3]
    $ pr reserve host-b --key 0xb1 --type WE --json
    {"error":"conflict","name":null,"status":"RESERVATION CONFLICT","sense":null,"text":"RESERVE: RESERVATION CONFLICT: the key given is not the one registered for this host, or there is a reservation of another holder or type"}
    [exit 3]
    "#);
}

#[test]
fn other_answers_exit_with_4() {
    let daemon = Daemon::start();
    daemon.prepare(&[
        "pr register host-a 0xa1",
        "pr reserve host-a --key 0xa1 --type WERO",
    ]);
    let seen = daemon.session(&[
        "pr release host-a --key 0xa1 --type WE",
        "pr release host-a --key 0xa1 --type WE --json",
        "pr keys /dev/null",
        "pr register /dev/null 0xa1 --json",
    ]);
    insta::assert_snapshot!(seen, @r#"
    $ pr release host-a --key 0xa1 --type WE
    ! reservctl: RELEASE: CHECK CONDITION 05/26/04: the reservation is of another type
    [exit 4]
    $ pr release host-a --key 0xa1 --type WE --json
    {"error":"status","name":null,"status":"CHECK CONDITION","sense":"05/26/04","text":"RELEASE: CHECK CONDITION 05/26/04: the reservation is of another type"}
    [exit 4]
    $ pr keys /dev/null
    ! reservctl: READ KEYS: CHECK CONDITION 0B/00/06: not a block device, or the helper gave up on it
    [exit 4]
    $ pr register /dev/null 0xa1 --json
    {"error":"status","name":null,"status":"CHECK CONDITION","sense":"0B/00/06","text":"REGISTER: CHECK CONDITION 0B/00/06: not a block device, or the helper gave up on it"}
    [exit 4]
    "#);
}

#[test]
fn wrong_arguments_exit_with_2() {
    let seen = Daemon::start().session(&[
        "pr register host-a a1",
        "pr register host-a 0x0",
        "pr register host-a 0xa1 --key 0xa2 --ignore",
        "pr unregister host-a",
        "pr reserve host-a --key 0xa1 --type exclusive",
        "pr clear host-a --key 0x12345678123456789",
    ]);
    insta::assert_snapshot!(seen, @r#"
    $ pr register host-a a1
    ! error: invalid value 'a1' for '<NEWKEY>': a reservation key starts with 0x
    !
    ! For more information, try '--help'.
    [exit 2]
    $ pr register host-a 0x0
    ! error: invalid value '0x0' for '<NEWKEY>': 0x0 is no key
    !
    ! For more information, try '--help'.
    [exit 2]
    $ pr register host-a 0xa1 --key 0xa2 --ignore
    ! error: the argument '--key <CURRENT>' cannot be used with '--ignore'
    !
    ! Usage: reservctl pr register --key <CURRENT> <DEVICE> <NEWKEY>
    !
    ! For more information, try '--help'.
    [exit 2]
    $ pr unregister host-a
    ! error: the following required arguments were not provided:
    !   --key <KEY>
    !
    ! Usage: reservctl pr unregister --key <KEY> <DEVICE>
    !
    ! For more information, try '--help'.
    [exit 2]
    $ pr reserve host-a --key 0xa1 --type exclusive
    ! error: invalid value 'exclusive' for '--type <TYPE>': a reservation type is one of WE, EA, WERO, EARO, WEAR, EAAR, their long names, or 1, 3, 5, 6, 7, 8
    !
    ! For more information, try '--help'.
    [exit 2]
    $ pr clear host-a --key 0x12345678123456789
    ! error: invalid value '0x12345678123456789' for '--key <KEY>': a reservation key has 1 to 16 hexadecimal digits after 0x
    !
    ! For more information, try '--help'.
    [exit 2]
    "#);
}

#[test]
fn what_is_out_of_reach_exits_with_1() {
    let daemon = Daemon::start();
    let seen = daemon.session(&[
        "pr keys host-c",
        "pr keys host-c --json",
        "pr register / 0xa1",
    ]);
    insta::assert_snapshot!(seen, @r#"
    $ pr keys host-c
    ! reservctl: DIR/lun0/host-c: No such file or directory (os error 2)
    [exit 1]
    $ pr keys host-c --json
    {"error":"device","name":null,"status":null,"sense":null,"text":"DIR/lun0/host-c: No such file or directory (os error 2)"}
    [exit 1]
    $ pr register / 0xa1
    ! reservctl: /: Is a directory (os error 21)
    [exit 1]
    "#);
}

#[test]
fn without_a_helper_the_exit_code_is_1() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = String::new();
    for json in [None, Some("--json")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reservctl"));
        command.args(["pr", "keys", "/dev/null", "--socket"]);
        command.arg(folder.path().join("socket")).args(json);
        seen += &transcript(&command.output().unwrap());
    }
    let seen = seen.replace(&folder.path().display().to_string(), "DIR");
    insta::assert_snapshot!(seen, @r#"
    ! reservctl: helper DIR/socket: No such file or directory (os error 2)
    [exit 1]
    {"error":"connection","name":null,"status":null,"sense":null,"text":"helper DIR/socket: No such file or directory (os error 2)"}
    [exit 1]
    "#);
}
