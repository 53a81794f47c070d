//! A thousand units with four paths each: what it costs to see them all.

use crate::bus::{Bus, DEVICE, MANAGER, PROPERTIES, ROOT, guest, plain};
use crate::daemon::Daemon;
use crate::signals::signals;
use futures_core::Stream;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use reservd::scsi::pr::RegisterFlags;
use reservd::scsi::{PrOut, ReservationKey};
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};
use zbus::fdo::ManagedObjects;
use zbus::{MessageStream, OwnedVariant};

const UNITS: usize = 1000;
const PATHS: usize = 4;
/// The daemon has all objects together within this much of a processor's time:
/// the clock on the wall also shows what else the machine does. As it is built for
/// tests, it is slower.
fn limit() -> Duration {
    match cfg!(debug_assertions) && std::env::var_os("RESERVD_MEASURED").is_none() {
        true => Duration::from_millis(1500),
        false => Duration::from_millis(250),
    }
}
/// A registered unit takes less of the daemon's memory than this, in KiB, and the
/// objects of it and its paths no more than that.
const EACH: u64 = 250;
const OBJECTS: u64 = 60;

fn configuration() -> String {
    let mut text = String::new();
    for number in 0..UNITS {
        let _ = write!(
            text,
            "[[simulator.lun]]\nname = \"u{number}\"\nwwid = \"36001405{number:025x}\"\n\
             hosts = [\"host-a\"]\npaths = {PATHS}\n"
        );
    }
    text + "[defaults]\npoll-interval-ms = 1500\n"
}

/// Resident memory of the daemon in KiB.
fn resident(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().trim().split(' ').next().unwrap();
    number.parse().unwrap()
}

/// Processor time that the daemon has used so far.
fn used(daemon: &Daemon) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    // Behind the name, which may have blanks: utime and stime are the 14th and
    // the 15th field (proc(5)), in hundredths of a second.
    let mut fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11);
    let mut ticks = || fields.next().unwrap().parse::<u64>().unwrap();
    Duration::from_millis((ticks() + ticks()) * 10)
}

fn open(daemon: &Daemon, number: usize) -> File {
    let path = daemon.folder().join(format!("u{number}/host-a"));
    File::options().read(true).write(true).open(path).unwrap()
}

fn command(from: u64, to: u64) -> PrOut {
    let flags = RegisterFlags::default();
    PrOut::register(ReservationKey(from), ReservationKey(to), flags)
}

/// Whose properties changed, until nothing comes for a while.
async fn changes(stream: &mut MessageStream, quiet: Duration) -> Vec<String> {
    let mut paths = Vec::new();
    loop {
        let next =
            std::future::poll_fn(|context| match Pin::new(&mut *stream).poll_next(context) {
                Poll::Ready(message) => Poll::Ready(message),
                Poll::Pending => Poll::Pending,
            });
        match tokio::time::timeout(quiet, next).await {
            Ok(Some(Ok(message))) => {
                paths.extend(message.header().path().map(ToString::to_string));
            }
            _ => return paths,
        }
    }
}

/// Registers with every unit, as a guest would; KiB that each takes.
fn register_all(daemon: &Daemon) -> u64 {
    let before = resident(daemon);
    let started = Instant::now();
    let mut guest = guest(daemon);
    for number in 0..UNITS {
        let (cdb, parameters) = command(0, 0xa1).encode();
        let device = open(daemon, number);
        let outcome = guest.run(device.as_fd(), &cdb, &parameters).unwrap();
        assert!(outcome.is_good(), "{outcome}");
    }
    println!("registered after {:?}", started.elapsed());
    // They are looked at once more.
    std::thread::sleep(Duration::from_secs(3));
    (resident(daemon) - before) / UNITS as u64
}

#[tokio::test]
async fn a_thousand_units_are_seen_at_once_and_only_changes_are_told() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let off = configuration() + "[dbus]\nenabled = false\n";
    let off = register_all(&Daemon::start_with(&off));

    let bus = Bus::started();
    let daemon = Daemon::start_on(&bus.address(), &configuration());
    let client = bus.client().await;
    let started = Instant::now();
    let on = register_all(&daemon);
    println!("{off} KiB for each unit, {on} KiB with its objects");
    loop {
        let states = client.property(ROOT, MANAGER, "DevicesByState").await;
        let states = HashMap::<String, u32>::try_from(states.unwrap()).unwrap();
        if states.get("ok") == Some(&(UNITS as u32)) {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(120), "{states:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("shown after {:?}", started.elapsed());
    let mut told = signals(&client, PROPERTIES, "PropertiesChanged").await;
    // The last of it.
    changes(&mut told, Duration::from_secs(2)).await;

    let manager = "org.freedesktop.DBus.ObjectManager";
    let mut times = Vec::new();
    let mut count = 0;
    for _ in 0..5 {
        let (started, before) = (Instant::now(), used(&daemon));
        let reply = client
            .call(ROOT, manager, "GetManagedObjects", &())
            .await
            .unwrap();
        println!("{:?}, {} bytes", started.elapsed(), reply.body().len());
        times.push(used(&daemon) - before);
        let objects: ManagedObjects = reply.body().deserialize().unwrap();
        let devices = objects.values().filter(|has| has.contains_key(DEVICE));
        assert_eq!(devices.count(), UNITS);
        let paths = objects
            .values()
            .filter(|has| has.contains_key("org.reservd1.Path"));
        assert_eq!(paths.count(), UNITS * PATHS);
        count = objects.values().filter(|has| !has.is_empty()).count();
    }
    times.sort();
    println!("{count} objects in {times:?} of processor time");
    assert!(on < EACH, "{on} KiB for each unit");
    assert!(
        on.saturating_sub(off) < OBJECTS,
        "{on} KiB, {off} without objects"
    );
    let median = times[times.len() / 2];
    assert!(median < limit(), "{count} objects in {times:?}");

    // Every unit is asked for its generation meanwhile, and nothing is told.
    let idle = changes(&mut told, Duration::from_secs(4)).await;
    assert!(idle.is_empty(), "{idle:?}");
    let (cdb, parameters) = command(0xa1, 0).encode();
    let mut guest = guest(&daemon);
    let device = open(&daemon, 7);
    assert!(
        guest
            .run(device.as_fd(), &cdb, &parameters)
            .unwrap()
            .is_good()
    );
    let changed = changes(&mut told, Duration::from_secs(2)).await;
    let who: BTreeSet<_> = changed.iter().map(String::as_str).collect();
    let unit = format!("36001405{:025x}_40host_2da", 7);
    let others = who
        .iter()
        .filter(|path| !path.contains(&unit) && **path != ROOT);
    assert_eq!(others.count(), 0, "{who:?}");
    println!("one unregistration: {} signals", changed.len());
    // The unit, its paths and the manager, some of them twice.
    assert!(changed.len() <= 2 * (2 + PATHS), "{changed:#?}");
    let seen: OwnedVariant = client
        .property(&format!("/org/reservd1/device/w{unit}"), DEVICE, "State")
        .await
        .unwrap();
    assert_eq!(plain(&seen), "unregistered");
}
