//! Real libvirt, with a guest that boots once and sees it all.

use super::lab::*;
use super::package::{Installed, PRESENT, USER, dpkg, main_process};
use super::paths::Away;
use super::virt::*;
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

const KEY: u64 = 0xabc1;
/// What is installed; a package of the same program with a lower version.
const PREVIOUS: &str = "/payload/reservd-previous.deb";

/// QEMU's user, in the group that may use the daemon's socket.
struct Member;

impl Member {
    fn new() -> Self {
        run("usermod", &["--append", "--groups", "reservd", USER]);
        Member
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        run("gpasswd", &["--delete", USER, "reservd"]);
    }
}

#[test]
fn domains_have_helpers_and_their_guests_see_no_restart() {
    let mut lab = lab();
    let _installed = Installed::new(&mut lab);
    let _member = Member::new();
    let started = Instant::now();
    let step = |what: &str| println!("{:6.1} s  {what}", started.elapsed().as_secs_f32());
    let libvirt = Libvirt::start();
    step("libvirt is up");
    let (map, plain) = (lab.env("MAP").to_owned(), lab.env("PLAIN").to_owned());
    let managed = disk("sda", &map, Server::Managed);
    let system = disk("sdb", &plain, Server::System);
    let domain = Domain::start("node", false, &[managed.clone(), system]);
    step("domain with both kinds of disks started");
    let first = domain.helper();
    domains_beside(&lab, &libvirt, &domain);
    step("domains beside it came and went");
    assert_eq!(domain.helper(), first);

    let mut guest = Guest::wait(&domain);
    step("its guest has booted");
    guest.until("lun 0 && lun 1");
    commands(&lab, &mut guest, "lun0", 2);
    commands(&lab, &mut guest, "lun1", 1);
    step("commands of the guest");
    hotplug(&mut lab, &domain, &mut guest, &managed);
    step("disk unplugged and plugged");
    late_path(&mut lab, &domain, &mut guest, &managed);
    step("path that came late");
    let helper = domain.helper();
    let disks = ["lun0", "lun1"];
    for disk in disks {
        guest.start_node(disk);
    }
    guest.goes_on(&disks);
    step("loops run");
    libvirt.restart();
    guest.goes_on(&disks);
    step("libvirt restarted");
    for what in ["restart", "kill", "upgrade", "downgrade"] {
        let before = main_process();
        match what {
            "kill" => kill_daemon(&domain),
            "upgrade" => dpkg(&["--install", PRESENT]),
            "downgrade" => dpkg(&["--install", PREVIOUS]),
            _ => drop(run("systemctl", &["restart", "reservd.service"])),
        }
        assert_ne!(main_process(), before, "{what}");
        guest.goes_on(&disks);
        assert_eq!(domain.helper(), helper, "QEMU has not lost it");
        step(&format!("reservd: {what}"));
    }
    lost_socket(&domain);
    kill_helper(&domain);
    guest.goes_on(&disks);
    step("helper killed");
    libvirt.restart();
    guest.goes_on(&disks);
    guest.good(": >/run/stop");
    for disk in disks {
        let node = guest.node(disk);
        println!(
            "{disk}: {} commands, slowest {:?}",
            node.commands, node.longest
        );
        assert_eq!(guest.errors(disk), "", "{disk}");
    }
    guest.good("wait");
    assert!(domain.is_running());
    domain.destroy();
    assert_eq!(helpers(), []);
    step("end");
}

/// Other domains, whose guests get no time: each has a helper of its own or
/// none, which restarts of libvirt do not change, and leaves nothing.
fn domains_beside(lab: &Lab, libvirt: &Libvirt, domain: &Domain) {
    let (map, plain) = (lab.env("MAP"), lab.env("PLAIN"));
    let own = Domain::start("own", true, &[disk("sda", plain, Server::Managed)]);
    let system = Domain::start("system", true, &[disk("sda", map, Server::System)]);
    let seen = || [domain, &own, &system].map(|domain| domain.helpers());
    let before = seen();
    assert_eq!(before.each_ref().map(Vec::len), [1, 1, 0]);
    libvirt.restart();
    assert_eq!(seen(), before);
    for domain in [domain, &own, &system] {
        for (name, connected) in domain.connections() {
            assert!(connected, "{name} of {}", domain.name);
        }
    }
    own.destroy();
    system.destroy();
    assert_eq!(helpers().len(), 1);
    let left = run(
        "find",
        &[
            "/run/libvirt/qemu",
            "/var/lib/libvirt/qemu",
            "-name",
            "*pr-helper*",
        ],
    );
    assert_eq!(left.lines().count(), 2, "a pid file and a socket: {left}");
}

/// The guest registers, reserves and lets go of a disk that its host sees over
/// so many paths.
fn commands(lab: &Lab, guest: &mut Guest, disk: &str, paths: usize) {
    let (own, other) = match paths {
        2 => (lab.paths().to_vec(), lab.env("HOST_B")),
        _ => (vec![lab.env("PLAIN").to_owned()], lab.env("PLAIN_HOST_B")),
    };
    let witnesses = || own.iter().map(String::as_str).chain([other]);
    let mut pr = |arguments: &str| guest.good(&format!("sg_persist -n {arguments} /dev/{disk}"));
    pr("-o -G -S 0xabc1");
    pr("-o -R -K 0xabc1 -T 5");
    for witness in witnesses() {
        assert_eq!(keys(witness), vec![KEY; paths], "{witness}");
        assert_eq!(holder_key(witness), Some(KEY), "{witness}");
    }
    let status = pr("-i -s");
    assert_eq!(status.matches("Key=0xabc1").count(), paths, "{status}");
    pr("-o -L -K 0xabc1 -T 5");
    assert_eq!(holder_key(other), None);
    pr("-o -G -K 0xabc1");
    for witness in witnesses() {
        assert_eq!(keys(witness), [0; 0], "{witness}");
    }
}

/// The map leaves the guest and comes back, with its own helper, with the
/// system's daemon, and with its own again.
fn hotplug(lab: &mut Lab, domain: &Domain, guest: &mut Guest, managed: &str) {
    let system = disk("sda", lab.env("MAP"), Server::System);
    for (leaves, comes, helpers) in [(managed, system.as_str(), 0), (&system, managed, 1)] {
        domain.detach(leaves);
        guest.until("[ ! -b /dev/lun0 ]");
        assert_eq!(domain.helpers().len(), 0, "no disk needs it now");
        domain.attach(comes);
        guest.until("lun 0");
        assert_eq!(domain.helpers().len(), helpers);
        commands(lab, guest, "lun0", 2);
    }
}

/// A path that was not there when libvirt made the domain's /dev: the helper cannot
/// open it, but the daemon does.
fn late_path(lab: &mut Lab, domain: &Domain, guest: &mut Guest, managed: &str) {
    domain.detach(managed);
    guest.until("[ ! -b /dev/lun0 ]");
    lab.down("B", Away::Deleted);
    domain.attach(managed);
    guest.until("lun 0");
    guest.good("sg_persist -n -o -G -S 0xabc1 /dev/lun0");
    assert_eq!(keys(lab.env("HOST_B")), [KEY]);
    lab.up("B", Away::Deleted);
    await_some("the late path is registered", || {
        (keys(lab.env("HOST_B")) == [KEY; 2]).then_some(())
    });
    guest.good("sg_persist -n -o -G -K 0xabc1 /dev/lun0");
    assert_eq!(keys(lab.env("HOST_B")), [0; 0]);
}

/// Somebody takes the socket away, as libvirt does when it believes the helper dead:
/// it comes back for the same user. What the helper logs is in the journal, for
/// libvirt has closed its standard error.
fn lost_socket(domain: &Domain) {
    let socket = domain.socket();
    let access = |path: &Path| {
        fs::metadata(path)
            .ok()
            .map(|file| (file.uid(), file.mode()))
    };
    let before = access(&socket);
    fs::remove_file(&socket).unwrap();
    let after = await_some("the socket is made again", || access(&socket));
    assert_eq!(Some(after), before);
    await_some("the journal has it", || {
        let log = run("journalctl", &["--no-pager", "-t", "reservd-pr-helper"]);
        log.contains("socket made again").then_some(())
    });
}

/// Kills the domain's helper while no command is on its way: one that is gets
/// lost, and QEMU says so to the guest.
fn kill_helper(domain: &Domain) {
    let before = domain.helper();
    virsh(&["suspend", domain.name]);
    kill(Pid::from_raw(before as i32));
    virsh(&["resume", domain.name]);
    let after = await_some("libvirt starts it again", || {
        domain.helpers().first().copied()
    });
    assert_ne!(after, before);
}

/// Kills the daemon, also between two commands: what becomes of one that it has
/// begun nobody can know.
fn kill_daemon(domain: &Domain) {
    let before = main_process();
    virsh(&["suspend", domain.name]);
    kill(before);
    virsh(&["resume", domain.name]);
    await_some("reservd is started again", || {
        let now = main_process();
        (now != before && now != Pid::from_raw(0)).then_some(())
    });
}

fn kill(process: Pid) {
    nix::sys::signal::kill(process, nix::sys::signal::SIGKILL).unwrap();
    await_some("it has gone", || {
        (!Path::new(&format!("/proc/{process}")).exists()).then_some(())
    });
}
