//! SIGHUP: all of the new configuration or none of it.

use crate::daemon::{Daemon, WWID};
use std::fs;

fn registers(daemon: &Daemon, key: &str) -> bool {
    let line = format!("pr register host-a {key} --ignore");
    daemon.command(&line).output().unwrap().status.success()
}

#[test]
fn a_mistake_in_any_file_changes_nothing() {
    let daemon = Daemon::start();
    assert!(registers(&daemon, "0xa2"), "any key will do");
    let fixed = format!("[[multipath]]\nwwid = \"{WWID}\"\nreservation_key = \"0xa1\"\n");
    daemon.configure(&fixed);
    let more = daemon.folder().join("conf.d");
    fs::create_dir(&more).unwrap();
    fs::write(more.join("bad.toml"), "[defaults]\nstrict = maybe\n").unwrap();
    let log = daemon.reload("the old one stays");
    assert!(log.contains("conf.d/bad.toml: line 2, column 10"), "{log}");
    assert!(registers(&daemon, "0xa3"), "any key does still");

    fs::write(more.join("bad.toml"), "[defaults]\nstrict = true\n").unwrap();
    daemon.reload("configuration reloaded");
    assert!(!registers(&daemon, "0xa2"));
    assert!(registers(&daemon, "0xa1"));

    fs::write(more.join("later.toml"), "[commands]\ndeadline-ms = 300\n").unwrap();
    daemon.configure("");
    daemon.reload("configuration reloaded");
    assert!(registers(&daemon, "0xa2"), "any key does again");
}

#[test]
fn the_engine_of_a_unit_in_use_changes() {
    let daemon = Daemon::start();
    assert!(registers(&daemon, "0xa1"));
    // Nobody can use the library for a simulated map.
    daemon.configure(&format!(
        "[[multipath]]\nwwid = \"{WWID}\"\nengine = \"mpathpersist\"\n"
    ));
    daemon.reload("configuration reloaded");
    assert!(!registers(&daemon, "0xa2"));
    daemon.configure("");
    daemon.reload("configuration reloaded");
    assert!(registers(&daemon, "0xa2"));
}

#[test]
fn settings_that_need_a_restart_are_named() {
    let daemon = Daemon::start();
    assert!(registers(&daemon, "0xa1"));
    let more = daemon.folder().join("conf.d");
    fs::create_dir(&more).unwrap();
    let text = "[helper]\nmax-connections = 7\nsocket = \"/nowhere\"\n\
                [defaults]\nmultipathd = \"observe\"\n";
    fs::write(more.join("helper.toml"), text).unwrap();
    let log = daemon.reload("configuration reloaded");
    for setting in [
        "setting=\"socket\"",
        "setting=\"max-connections\"",
        "multipathd",
    ] {
        assert!(log.contains(setting), "{setting} is not in: {log}");
    }
    assert!(!log.contains("\"mode\""), "{log}");
}
