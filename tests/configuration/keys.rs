//! A configured key is the only one that clients may register.

use crate::daemon::{Daemon, WWID};

#[test]
fn other_keys_than_the_configured_one_never_reach_the_unit() {
    let daemon = Daemon::start_with(&format!(
        "[[multipath]]\nwwid = \"{WWID}\"\nreservation_key = \"0xa1\"\n"
    ));
    let seen = daemon.session(&[
        "pr register host-a 0xa2",
        "pr register host-a.0 0xa2 --ignore",
        "pr keys host-a",
        "pr register host-a 0xa1",
        "pr register host-a 0xa2 --key 0xa1",
        "pr reserve host-a --key 0xa1 --type WERO",
        "pr unregister host-a --key 0xa1",
        "pr keys host-a",
    ]);
    insta::assert_snapshot!(seen, @r"
    $ pr register host-a 0xa2
    ! reservctl: REGISTER: CHECK CONDITION 05/26/00: a flag that the device does not support, or a key that it or reservd.toml does not want here
    [exit 4]
    $ pr register host-a.0 0xa2 --ignore
    ! reservctl: REGISTER AND IGNORE EXISTING KEY: CHECK CONDITION 05/26/00: a flag that the device does not support, or a key that it or reservd.toml does not want here
    [exit 4]
    $ pr keys host-a
    generation 0
    no keys
    $ pr register host-a 0xa1
    registered 0xa1
    $ pr register host-a 0xa2 --key 0xa1
    ! reservctl: REGISTER: CHECK CONDITION 05/26/00: a flag that the device does not support, or a key that it or reservd.toml does not want here
    [exit 4]
    $ pr reserve host-a --key 0xa1 --type WERO
    reserved WERO with 0xa1
    $ pr unregister host-a --key 0xa1
    unregistered 0xa1
    $ pr keys host-a
    generation 4
    no keys
    ");
    let log = daemon.log();
    let said: Vec<_> = log
        .lines()
        .filter(|line| line.contains("another key is configured"))
        .collect();
    assert_eq!(said.len(), 3, "{log}");
    let place = format!(
        "{}/reservd.toml: line 10, column 19",
        daemon.folder().display()
    );
    assert!(said.iter().all(|line| line.contains(&place)), "{said:?}");
}

#[test]
fn a_default_key_is_for_the_units_without_a_section() {
    let daemon = Daemon::start_with(&format!(
        "[defaults]\nreservation_key = \"0xa1\"\n\
         [[multipath]]\nwwid = \"{WWID}\"\nreservation_key = \"file\"\n"
    ));
    daemon.prepare(&["pr register host-a 0xa2"]);
    daemon.configure("[defaults]\nreservation_key = \"0xa1\"\n");
    daemon.reload("configuration reloaded");
    let refused = daemon.command("pr register host-b 0xb2").output().unwrap();
    assert_eq!(refused.status.code(), Some(4));
    // What is registered stays, and may go.
    daemon.prepare(&["pr unregister host-a --key 0xa2"]);
}
