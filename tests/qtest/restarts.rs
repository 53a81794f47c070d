//! The daemon comes and goes while QEMU has commands for it.

use super::{keys, read_keys, register, register_command};
use crate::guest::Guest;
use crate::host::{DISKS, Frontend, Host};
use crate::target::Disk;
use nix::sys::signal::Signal;
use reservd::device::sim::{Fault, Stuck};
use reservd::scsi::SenseCode;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const RESTARTS: usize = 500;
/// Longer than a command takes on a healthy host.
const SOON: Duration = Duration::from_secs(5);

/// Two ways to the daemon: through a front-end, and by its own socket.
fn guests(host: &Host) -> (Frontend, [Guest; 2]) {
    let frontend = host.frontend("vm1");
    let relayed = host.guest("vm1", DISKS[0], &frontend.socket);
    let kept = host.guest("vm2", DISKS[1], &host.path("run/pr-helper.sock"));
    (frontend, [relayed, kept])
}

/// Lets go what hangs, and waits until it is gone.
fn release(disk: &Disk) {
    disk.path.release();
    while disk.path.hanging() > 0 {
        thread::sleep(Duration::from_millis(1));
    }
}

fn is_undisturbed(guest: &mut Guest) {
    assert!(guest.qemu.is_connected());
    assert_eq!(guest.qemu.status_changes(), [false; 0]);
}

#[test]
fn both_ways_to_the_daemon_outlive_it() {
    let mut host = Host::running(15_000);
    let (_frontend, mut guests) = guests(&host);
    let mut key = 0;
    for signal in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGTERM] {
        for guest in &mut guests {
            key += 1;
            assert!(register(guest, key).is_good());
            assert_eq!(keys(&read_keys(guest)), [key]);
        }
        host.manager.restart(signal);
    }
    for guest in &mut guests {
        key += 1;
        assert!(register(guest, key).is_good());
        assert_eq!(keys(&read_keys(guest)), [key]);
        is_undisturbed(guest);
    }
}

#[test]
fn a_command_in_flight_when_the_daemon_is_killed_is_answered_truthfully() {
    let mut host = Host::running(15_000);
    let (_frontend, mut guests) = guests(&host);
    for (guest, number) in guests.iter_mut().zip(DISKS) {
        let disk = host.target.disk(number).clone();
        assert!(register(guest, 1).is_good());

        // Executed, and the answer is on its way.
        disk.path.script([Fault::Hang(Stuck::After)]);
        let (cdb, parameters) = register_command(2);
        guest.submit(cdb.as_device_bytes(), &parameters, 0);
        assert!(disk.path.wait_until_hanging(SOON));
        host.manager.restart(Signal::SIGKILL);
        let unknown = guest.complete(0, SOON);
        let code = SenseCode::TIMEOUT_DURING_PROCESSING;
        assert_eq!(unknown.sense_code(), Some(code), "{unknown}");
        release(&disk);

        // The next process reads, whatever became of the first attempt.
        disk.path.script([Fault::Hang(Stuck::Never)]);
        guest.submit_read();
        assert!(disk.path.wait_until_hanging(SOON));
        host.manager.restart(Signal::SIGKILL);
        assert_eq!(keys(&guest.complete_read(SOON)), [2]);
        release(&disk);
        assert_eq!((disk.registered(1), disk.registered(2)), (1, 1));
        is_undisturbed(guest);
    }
}

#[test]
fn a_read_that_ends_the_daemon_each_time_does_not_do_so_for_ever() {
    let mut host = Host::running(15_000);
    let (_frontend, mut guests) = guests(&host);
    for (guest, number) in guests.iter_mut().zip(DISKS) {
        let disk = host.target.disk(number).clone();
        assert!(register(guest, 1).is_good());
        disk.path.script([Fault::Hang(Stuck::Never)]);
        guest.submit_read();
        for attempt in 1..=5 {
            assert!(disk.path.wait_until_hanging(SOON), "attempt {attempt}");
            host.manager.end(Signal::SIGKILL);
            release(&disk);
            disk.path.script([Fault::Hang(Stuck::Never)]);
            host.manager.start();
        }
        let given_up = guest.complete_read(SOON).sense_code();
        assert_eq!(given_up, Some(SenseCode::IO_PROCESS_TERMINATED));
        disk.path.set_fault(Fault::Up);
        assert_eq!(keys(&read_keys(guest)), [1]);
        is_undisturbed(guest);
    }
}

#[test]
fn an_orderly_restart_finishes_what_is_in_flight() {
    let mut host = Host::running(15_000);
    let (_frontend, mut guests) = guests(&host);
    for (guest, number) in guests.iter_mut().zip(DISKS) {
        let disk = host.target.disk(number).clone();
        disk.path.script([Fault::Hang(Stuck::Before)]);
        let (cdb, parameters) = register_command(7);
        guest.submit(cdb.as_device_bytes(), &parameters, 0);
        assert!(disk.path.wait_until_hanging(SOON));
        host.manager.signal(Signal::SIGTERM);
        thread::sleep(Duration::from_millis(200));
        disk.path.release();
        assert!(guest.complete(0, SOON).is_good());
        host.manager.end(Signal::SIGTERM);
        host.manager.start();
        host.manager.ready();
        assert_eq!(keys(&read_keys(guest)), [7]);
        assert_eq!(disk.registered(7), 1);
        is_undisturbed(guest);
    }
}

#[test]
fn what_comes_while_the_daemon_is_away_waits_for_it() {
    let mut host = Host::running(15_000);
    let (_frontend, mut guests) = guests(&host);
    host.manager.end(Signal::SIGKILL);
    let (cdb, parameters) = register_command(9);
    for guest in &mut guests {
        guest.submit(cdb.as_device_bytes(), &parameters, 0);
    }
    thread::sleep(Duration::from_secs(2));
    assert!(DISKS.iter().all(|n| host.target.disk(*n).registers() == 0));
    host.manager.start();
    for (guest, number) in guests.iter_mut().zip(DISKS) {
        assert!(guest.complete(0, SOON).is_good());
        assert_eq!(host.target.disk(number).registered(9), 1);
        is_undisturbed(guest);
    }
}

#[test]
fn deadlines_hold_with_a_slow_unit_and_without_a_daemon() {
    let mut host = Host::running(1_500);
    let (_frontend, mut guests) = guests(&host);
    let [relayed, kept] = &mut guests;
    for (guest, number) in [(&mut *relayed, DISKS[0]), (kept, DISKS[1])] {
        let disk = host.target.disk(number).clone();
        disk.path.set_delay(Duration::from_millis(700));
        assert!(register(guest, 1).is_good(), "slow, but in time");
        disk.path.set_delay(Duration::ZERO);
        disk.path.script([Fault::Hang(Stuck::Never)]);
        let started = Instant::now();
        let outcome = register(guest, 2);
        let code = outcome.sense_code();
        assert_eq!(code, Some(SenseCode::TIMEOUT_DURING_PROCESSING));
        let took = started.elapsed();
        assert!(took < Duration::from_millis(2_400), "{took:?}");
        disk.path.release();
        assert_eq!(disk.registered(2), 0);
        is_undisturbed(guest);
    }
    // A daemon that is there and does not answer, then one that is not there.
    let before = host.target.disk(DISKS[0]).registers();
    for (signal, code) in [
        (Signal::SIGSTOP, SenseCode::TIMEOUT_DURING_PROCESSING),
        (Signal::SIGKILL, SenseCode::TIMEOUT_BEFORE_PROCESSING),
    ] {
        host.manager.signal(signal);
        let started = Instant::now();
        let outcome = register(relayed, 3);
        let took = started.elapsed();
        assert_eq!(outcome.sense_code(), Some(code), "{signal}");
        assert!(took < Duration::from_millis(3_500), "{took:?}");
        is_undisturbed(relayed);
    }
    host.manager.restart(Signal::SIGKILL);
    assert_eq!(keys(&read_keys(relayed)), [1]);
    assert_eq!(host.target.disk(DISKS[0]).registers(), before);
}

/// What one guest was told.
struct Told {
    good: u64,
    unknown: u64,
    /// Not executed, after five daemons that were killed before or while they did.
    given_up: u64,
    reads: u64,
}

/// Registers one key after another and reads what is registered, until told to
/// stop. Every answer is held against what the unit did.
fn load(mut guest: Guest, disk: &Disk, stop: &AtomicBool) -> (Guest, Told) {
    let mut told = Told {
        good: 0,
        unknown: 0,
        given_up: 0,
        reads: 0,
    };
    let mut key = 0u64;
    let mut generation = 0;
    while !stop.load(Ordering::Relaxed) {
        key += 1;
        let outcome = register(&mut guest, key);
        let executed = disk.registered(key);
        match outcome.sense_code() {
            None => {
                assert!(outcome.is_good(), "key {key}: {outcome}");
                assert_eq!(executed, 1, "key {key} is registered");
                told.good += 1;
            }
            Some(SenseCode::TIMEOUT_DURING_PROCESSING) => told.unknown += 1,
            Some(SenseCode::IO_PROCESS_TERMINATED) if executed == 0 => told.given_up += 1,
            _ => panic!("key {key}, executed {executed} times: {outcome}"),
        }
        let read = read_keys(&mut guest);
        if read.sense_code() == Some(SenseCode::IO_PROCESS_TERMINATED) {
            told.given_up += 1;
            continue;
        }
        let now = keys(&read);
        // What was in flight may come late.
        let expected = match executed {
            1 => vec![key],
            _ => now.clone(),
        };
        assert_eq!(now, expected, "after key {key}: {outcome}");
        assert!(now.iter().all(|seen| *seen <= key));
        let seen = u32::from_be_bytes(read.data[..4].try_into().expect("PRGENERATION"));
        assert!(seen >= generation && seen <= disk.lun.generation());
        generation = seen;
        told.reads += 1;
    }
    for key in 1..=key {
        let times = disk.registered(key);
        assert!(times <= 1, "key {key} was registered {times} times");
    }
    assert_eq!(disk.lun.generation(), disk.registers());
    let registers = u64::from(disk.registers());
    assert!(registers >= told.good && registers <= told.good + told.unknown);
    (guest, told)
}

#[test]
fn hundreds_of_restarts_under_load_lose_double_and_mistake_nothing() {
    let mut host = Host::running(15_000);
    let (_frontend, [relayed, kept]) = guests(&host);
    let stop = AtomicBool::new(false);
    let disks = DISKS.map(|number| host.target.disk(number).clone());
    let restarts = more_restarts();
    let started = Instant::now();
    let ended = thread::scope(|scope| {
        let (stop, disks) = (&stop, &disks);
        let first = scope.spawn(move || load(relayed, &disks[0], stop));
        let second = scope.spawn(move || load(kept, &disks[1], stop));
        for round in 0..restarts {
            // Now and then before it is up.
            if round % 10 != 0 {
                host.manager.ready();
            }
            thread::sleep(Duration::from_micros(round as u64 * 7919 % 60_000));
            let signal = match round % 4 {
                0 => Signal::SIGTERM,
                _ => Signal::SIGKILL,
            };
            host.manager.end(signal);
            host.manager.start();
            if first.is_finished() || second.is_finished() {
                break;
            }
        }
        host.manager.ready();
        thread::sleep(Duration::from_millis(200));
        stop.store(true, Ordering::Relaxed);
        [first, second].map(|thread| thread.join())
    });
    for (way, ended) in ["front-end", "fd store"].into_iter().zip(ended) {
        let (mut guest, told) = ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        println!(
            "{way}: {restarts} restarts in {:.0?}: {} REGISTERs GOOD, {} of unknown fate, \
             {} reads, {} given up",
            started.elapsed(),
            told.good,
            told.unknown,
            told.reads,
            told.given_up
        );
        // Five kills within one command are rare, even so.
        assert!(told.given_up <= restarts as u64 / 50);
        assert!(told.good > restarts as u64, "there was hardly any load");
        is_undisturbed(&mut guest);
    }
}

/// `RESERVD_RESTARTS` for a longer run.
fn more_restarts() -> usize {
    let wanted = std::env::var("RESERVD_RESTARTS").ok();
    wanted.map_or(RESTARTS, |text| text.parse().expect("a number"))
}

#[test]
fn clients_of_the_old_path_are_served_and_kept_too() {
    let mut host = Host::running(15_000);
    let compat: PathBuf = host.path("run/qemu-pr-helper.sock");
    let mut guest = host.guest("vm3", DISKS[0], &compat);
    assert!(register(&mut guest, 5).is_good());
    assert_eq!(host.manager.stored().len(), 2, "a socket and its ledger");
    host.manager.restart(Signal::SIGKILL);
    assert_eq!(keys(&read_keys(&mut guest)), [5]);
    assert!(host.log().contains("taken over from the process before"));
    assert!(host.manager.status().starts_with("serving "));
    is_undisturbed(&mut guest);
    drop(guest);
    let until = Instant::now() + SOON;
    while !host.manager.stored().is_empty() {
        assert!(Instant::now() < until, "a client that left is forgotten");
        thread::sleep(Duration::from_millis(10));
    }
    assert!(host.manager.watchdogs() > 0);
}
