//! Real libvirt, with a guest that boots once and sees it all.

use super::lab::*;
use super::virt::*;
use nix::unistd::Pid;
use std::path::Path;
use std::time::Instant;

const KEY: u64 = 0xabc1;

#[test]
fn domains_have_helpers_and_their_guests_see_no_restart() {
    let mut lab = lab();
    let started = Instant::now();
    let step = |what: &str| println!("{:6.1} s  {what}", started.elapsed().as_secs_f32());
    let libvirt = Libvirt::start();
    step("libvirt is up");
    let (map, plain) = (lab.env("MAP").to_owned(), lab.env("PLAIN").to_owned());
    let managed = disk("sda", &map, Server::Managed);
    let system = disk("sdb", &plain, Server::System);
    let domain = Domain::start("node", false, &[managed.clone(), system]);
    step("domain with both kinds of disks started");
    let helper = domain.helper();
    domains_beside(&lab, &libvirt, &domain);
    step("domains beside it came and went");
    assert_eq!(domain.helper(), helper);

    let mut guest = Guest::wait(&domain);
    step("its guest has booted");
    guest.until("[ -b /dev/sda -a -b /dev/sdb ]");
    commands(&lab, &mut guest, "sda", 2);
    commands(&lab, &mut guest, "sdb", 1);
    step("commands of the guest");
    hotplug(&lab, &domain, &mut guest, &managed);
    step("disk unplugged and plugged");
    let disks = ["sda", "sdb"];
    for disk in disks {
        guest.start_node(disk);
    }
    guest.next_rounds(&disks);
    step("loops run");
    libvirt.restart();
    guest.next_rounds(&disks);
    step("libvirt restarted");
    let usual = "engine = \"auto\"\n";
    for _ in 0..3 {
        lab.end("TERM");
        lab.start_with(usual);
        guest.next_rounds(&disks);
    }
    step("reservd restarted three times");
    kill_helper(&domain);
    guest.next_rounds(&disks);
    step("helper killed");
    libvirt.restart();
    guest.next_rounds(&disks);
    guest.good(": >/run/stop");
    for disk in disks {
        let node = guest.node(disk);
        println!("{disk}: {} rounds, slowest {:?}", node.rounds, node.longest);
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
fn hotplug(lab: &Lab, domain: &Domain, guest: &mut Guest, managed: &str) {
    let system = disk("sda", lab.env("MAP"), Server::System);
    for (leaves, comes, helpers) in [(managed, system.as_str(), 0), (&system, managed, 1)] {
        domain.detach(leaves);
        guest.until("[ ! -b /dev/sda ]");
        assert_eq!(domain.helpers().len(), 0, "no disk needs it now");
        domain.attach(comes);
        guest.until("[ -b /dev/sda ]");
        assert_eq!(domain.helpers().len(), helpers);
        commands(lab, guest, "sda", 2);
    }
}

/// Kills the domain's helper while no command is on its way: one that is gets
/// lost, and QEMU says so to the guest.
fn kill_helper(domain: &Domain) {
    let before = domain.helper();
    virsh(&["suspend", domain.name]);
    let process = Pid::from_raw(before as i32);
    nix::sys::signal::kill(process, nix::sys::signal::SIGKILL).unwrap();
    await_some("the helper has gone", || {
        (!Path::new(&format!("/proc/{before}")).exists()).then_some(())
    });
    virsh(&["resume", domain.name]);
    let after = await_some("libvirt starts it again", || {
        domain.helpers().first().copied()
    });
    assert_ne!(after, before);
}
