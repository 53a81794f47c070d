//! The real bus and the real polkitd: who may look, and who may change what.

use super::lab::*;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::Command;
use std::sync::Once;

const MANAGER: [&str; 2] = ["/org/reservd1", "org.reservd1.Manager"];

/// A user of the machine, by name.
#[derive(Debug, Clone, Copy)]
enum User {
    /// In no group.
    Stranger,
    /// In the group `reservd`.
    Member,
    Root,
}

impl User {
    fn name(self) -> &'static str {
        match self {
            User::Stranger => "stranger",
            User::Member => "member",
            User::Root => "root",
        }
    }

    /// What `busctl` says to this user, and whether it ended well.
    fn busctl(self, words: &[&str]) -> (String, bool) {
        let name = self.name();
        let output = Command::new("setpriv")
            .args(["--reuid", name, "--regid", name, "--init-groups", "busctl"])
            .args(words)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8(text).unwrap(), output.status.success())
    }

    fn call(self, object: [&str; 2], words: &[&str]) -> (String, bool) {
        let [path, interface] = object;
        self.busctl(&[&["call", "org.reservd1", path, interface], words].concat())
    }

    fn may(self, object: [&str; 2], words: &[&str]) -> String {
        let (seen, well) = self.call(object, words);
        assert!(well, "{self:?} {words:?}: {seen}");
        seen
    }

    fn may_not(self, object: [&str; 2], words: &[&str]) {
        let (seen, well) = self.call(object, words);
        assert!(!well, "{self:?} {words:?}: {seen}");
        assert!(seen.contains("org.reservd1."), "{words:?}: {seen}");
    }
}

fn append(file: &str, text: &str) {
    let mut file = OpenOptions::new().append(true).open(file).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// As a package would install it, with the example for the group.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (from, to) in [
            ("org.reservd1.conf", "/usr/share/dbus-1/system.d"),
            ("org.reservd1.policy", "/usr/share/polkit-1/actions"),
            ("org.reservd1.rules", "/etc/polkit-1/rules.d"),
        ] {
            fs::create_dir_all(to).unwrap();
            fs::copy(format!("/payload/dbus/{from}"), format!("{to}/{from}")).unwrap();
        }
        append(
            "/etc/group",
            "stranger:x:7001:\nmember:x:7002:\nreservd:x:7003:member\n",
        );
        append(
            "/etc/passwd",
            "stranger:x:7001:7001::/:/bin/sh\nmember:x:7002:7002::/:/bin/sh\n",
        );
        run("systemctl", &["reload", "dbus.service"]);
        // Under emulation it starts more slowly than anybody waits.
        run("systemctl", &["restart", "polkit.service"]);
    });
}

/// The daemon on the bus, and the object of the map's unit.
fn on_the_bus(lab: &mut Lab) -> String {
    install();
    lab.end("TERM");
    lab.start_with("poll-interval-ms = 500\n");
    let map = lab.env("MAP").to_owned();
    await_some("reservd is on the bus", || {
        let (seen, well) = User::Root.call(MANAGER, &["FindDevice", "s", &map]);
        let path = seen.split('"').nth(1).map(str::to_owned);
        path.filter(|_| well)
    })
}

#[test]
fn everybody_looks_a_group_manages_and_root_does_all() {
    let mut lab = lab();
    let path = on_the_bus(&mut lab);
    let unit = [path.as_str(), "org.reservd1.Device"];
    let map = lab.env("MAP").to_owned();
    let other = lab.env("HOST_B").to_owned();
    witness(&["-o", "-G", "-S", "0xb1"], &other);

    let member = User::Member;
    member.may(
        unit,
        &[
            "Register",
            "sa{sv}",
            "0xa1",
            "1",
            "reason",
            "s",
            "for a test",
        ],
    );
    assert_eq!(keys(&other), [0xa1, 0xa1, 0xb1]);
    member.may(unit, &["Reserve", "sa{sv}", "WERO", "0"]);
    assert!(logged("for a test") > 0, "the reason is logged");

    let stranger = User::Stranger;
    let state = ["get-property", "org.reservd1", unit[0], unit[1], "State"];
    await_some("the state is shown to everybody", || {
        let (seen, well) = stranger.busctl(&state);
        (well && seen.contains("\"ok\"")).then_some(())
    });
    let (seen, well) = stranger.busctl(&["tree", "--list", "org.reservd1"]);
    assert!(well && seen.contains(unit[0]), "{seen}");
    stranger.may(MANAGER, &["FindDevice", "s", "mpatha"]);
    for words in [
        &["Register", "sa{sv}", "0xa2", "0"][..],
        &["Unregister", "a{sv}", "0"],
        &["Release", "a{sv}", "0"],
        &["Preempt", "ssa{sv}", "0xb1", "WERO", "0"],
        &["Clear", "a{sv}", "0"],
        &["Forget", "a{sv}", "0"],
        &["Refresh", "a{sv}", "0"],
    ] {
        stranger.may_not(unit, words);
    }
    for words in [
        &["Unregister", "s", &map][..],
        &["Clear", "s", &map],
        &["ReadKeys", "s", &map],
        &["Reload"],
    ] {
        stranger.may_not(MANAGER, words);
    }
    assert_eq!(keys(&other), [0xa1, 0xa1, 0xb1]);

    // The group manages this host, and takes nothing from others.
    member.may(MANAGER, &["ReadKeys", "s", &map]);
    member.may_not(unit, &["Clear", "a{sv}", "0"]);
    let planned = member.may(unit, &["Clear", "a{sv}", "1", "dry-run", "b", "true"]);
    let job = [planned.split('"').nth(1).unwrap(), "org.reservd1.Job"];
    let steps = ["get-property", "org.reservd1", job[0], job[1], "Steps"];
    let (seen, _) = stranger.busctl(&steps);
    assert!(
        seen.contains("removes from other hosts: 0xb1 on 1 nexus"),
        "{seen}"
    );
    assert_eq!(keys(&other), [0xa1, 0xa1, 0xb1]);
    User::Root.may(unit, &["Clear", "a{sv}", "0"]);
    assert_eq!(keys(&other), [0; 0]);
}

/// Of a disk without a map, whose registrations are its clients' own.
#[test]
fn a_single_disk_is_read_by_every_name() {
    let mut lab = lab();
    on_the_bus(&mut lab);
    let disk = lab.env("PLAIN").to_owned();
    witness(&["-o", "-G", "-S", "0xc1"], &disk);
    let name = disk.trim_start_matches("/dev/");
    let attribute = format!("/sys/block/{name}/device/wwid");
    let wwid = fs::read_to_string(attribute).unwrap();
    let wwid = wwid.trim().replace("naa.", "3");
    let link = fs::canonicalize(format!("/sys/block/{name}/device")).unwrap();
    let address = link.file_name().unwrap().to_str().unwrap();
    for name in [disk.as_str(), name, address, &major_minor(&disk), &wwid] {
        let seen = User::Root.may(MANAGER, &["ReadKeys", "s", name]);
        assert!(seen.contains("0xc1"), "{name}: {seen}");
    }
    let seen = User::Root.may(MANAGER, &["FindDevice", "s", &disk]);
    let unit = [seen.split('"').nth(1).unwrap(), "org.reservd1.Device"];
    User::Root.may(unit, &["Refresh", "a{sv}", "0"]);
    let (seen, well) = User::Root.call(unit, &["Register", "sa{sv}", "0xc2", "0"]);
    assert!(!well && seen.contains("single path"), "{seen}");
}
