//! multipathd is told of registrations, and only of those that stand.

use super::lab::*;
use reservd::scsi::OutAction;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const MAP: &str = "mpatha";

/// What multipathd says, without line feeds, which 0.9.4 sends or not.
fn multipathd(command: &str) -> String {
    run("multipathd", &[command, "map", MAP]).trim().to_owned()
}

pub fn is_armed() -> bool {
    matches!(multipathd("getprstatus").as_str(), "1" | "set")
}

pub fn await_armed(armed: bool) {
    await_some("multipathd is told", || (is_armed() == armed).then_some(()));
}

#[test]
fn a_registration_arms_multipathd_and_its_end_disarms_it() {
    let mut lab = lab();
    let map = lab.env("MAP").to_owned();
    for aptpl in [false, true] {
        let mut command = register(NONE, K1);
        command.parameters.flags.aptpl = aptpl;
        lab.good(&map, &command);
        assert!(is_armed());
        let key = if aptpl { "0xa1:aptpl" } else { "0xa1" };
        assert_eq!(multipathd("getprkey"), key);
        command.parameters.key = K1;
        command.parameters.service_action_key = K2;
        lab.good(&map, &command);
        assert!(multipathd("getprkey").starts_with("0xa2"));
        lab.good(&map, &register(K2, NONE));
        assert!(!is_armed());
        assert_eq!(multipathd("getprkey"), "none");
    }
    lab.good(&map, &register(NONE, K1));
    lab.good(&map, &act(OutAction::Clear, K1, NONE));
    assert!(!is_armed());
}

/// multipathd's checker has found the path usable, or not.
fn await_seen(disk: &str, up: bool) {
    let name = disk.trim_start_matches("/dev/");
    await_some("the checker sees the path", || {
        let paths = run("multipathd", &["show", "paths", "raw", "format", "%d %T"]);
        let line = paths
            .lines()
            .find(|line| line.split(' ').next() == Some(name));
        line.is_some_and(|line| line.contains("ready") == up)
            .then_some(())
    });
}

/// So quickly that multipathd's checker does not notice that it was away: then
/// nobody but reservd can register it.
#[test]
fn a_path_that_was_away_for_a_moment_is_registered_too() {
    let mut lab = lab();
    let map = lab.env("MAP").to_owned();
    let other = lab.env("HOST_B").to_owned();
    for away in lab.paths() {
        set_state(&away, "offline");
        lab.good(&map, &register(NONE, K1));
        set_state(&away, "running");
        let started = Instant::now();
        await_some("the path is registered", || {
            (keys(&other) == [K1.0, K1.0]).then_some(())
        });
        println!("registered {:?} after it was back", started.elapsed());
        lab.good(&map, &register(K1, NONE));
        assert_eq!(keys(&other), [0; 0]);
    }
}

#[test]
fn a_path_that_returns_is_registered_before_it_is_used() {
    let mut lab = lab();
    let map = lab.env("MAP").to_owned();
    let other = lab.env("HOST_B").to_owned();
    let paths = lab.paths();
    // One path is away when the registration is made: only multipathd can
    // register it before device-mapper uses it.
    let mut written = 0;
    for round in 0..20 {
        let away = &paths[round % 2];
        set_state(away, "offline");
        await_seen(away, false);
        lab.good(&map, &ignore(K1));
        lab.good(&map, &act(OutAction::Reserve, K1, NONE));
        assert!(write_block(&map), "round {round}, on the other path");
        let stop = Arc::new(AtomicBool::new(false));
        let writer = super::hazards::writer(&map, &stop);
        set_state(away, "running");
        await_some("the path is registered", || {
            (keys(&other) == [K1.0, K1.0]).then_some(())
        });
        await_some("the path is used", || {
            (active_paths(&map) == 2).then_some(())
        });
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        let (done, failed) = writer.join().unwrap();
        assert_eq!(failed, 0, "round {round}: of {done} writes");
        written += done;
        lab.good(&map, &act(OutAction::Release, K1, NONE));
        lab.good(&map, &register(K1, NONE));
        assert_eq!(keys(&other), [0; 0], "round {round}");
    }
    println!("{written} writes in 20 rounds, none failed");
}

#[test]
fn a_fence_disarms_multipathd() {
    let mut lab = lab();
    let map = lab.env("MAP").to_owned();
    let other = lab.env("HOST_B").to_owned();
    for read in [true, false] {
        lab.good(&map, &ignore(K1));
        await_armed(true);
        lab.other_reserves();
        witness(&["-o", "-P", "-K", "0xb1", "-S", "0xa1", "-T", "5"], &other);
        // The client's next command, whether the checker has taken the unit
        // attention before it or not.
        if read {
            lab.read_keys(&map);
        } else {
            assert!(!lab.out(&map, &act(OutAction::Reserve, K1, NONE)).is_good());
        }
        await_armed(false);
        let away = lab.env("PATH_B").to_owned();
        set_state(&away, "offline");
        std::thread::sleep(Duration::from_secs(3));
        set_state(&away, "running");
        std::thread::sleep(Duration::from_secs(5));
        assert_eq!(keys(&other), [B.0], "fenced stays fenced");
        witness(&["-o", "-C", "-K", "0xb1"], &other);
    }
}

fn services(verb: &str) {
    run(
        "systemctl",
        &[verb, "multipathd.service", "multipathd.socket"],
    );
}

/// multipathd does not run for as long as this lives.
pub struct WithoutMultipathd;

impl WithoutMultipathd {
    pub fn new() -> Self {
        services("stop");
        WithoutMultipathd
    }
}

impl Drop for WithoutMultipathd {
    fn drop(&mut self) {
        run("systemctl", &["start", "multipathd.service"]);
    }
}

#[test]
fn without_multipathd_commands_work_and_it_is_armed_when_it_is_back() {
    let mut lab = lab();
    let map = lab.env("MAP").to_owned();
    let other = lab.env("HOST_B").to_owned();
    services("stop");
    let started = Instant::now();
    lab.good(&map, &register(NONE, K1));
    lab.good(&map, &act(OutAction::Reserve, K1, NONE));
    assert!(started.elapsed() < Duration::from_secs(2), "{started:?}");
    assert_eq!(keys(&other), [K1.0, K1.0]);
    run("systemctl", &["start", "multipathd.service"]);
    let started = Instant::now();
    await_armed(true);
    println!("armed {:?} after multipathd was started", started.elapsed());
    await_some("the key", || {
        (multipathd("getprkey") == "0xa1").then_some(())
    });

    // Fenced while it is away: not armed.
    services("stop");
    witness(&["-o", "-G", "-S", "0xb1"], &other);
    witness(&["-o", "-P", "-K", "0xb1", "-S", "0xa1", "-T", "5"], &other);
    run("systemctl", &["start", "multipathd.service"]);
    std::thread::sleep(Duration::from_secs(8));
    assert!(!is_armed());
    assert!(!lab.out(&map, &act(OutAction::Reserve, K1, NONE)).is_good());
    assert_eq!(keys(&other), [B.0]);
}

/// Without `setprkey` in the way: what multipathd forgets it is told again.
#[test]
fn a_multipathd_that_forgot_is_told_again() {
    let mut lab = lab();
    let map = lab.env("MAP").to_owned();
    lab.good(&map, &register(NONE, K1));
    multipathd("unsetprstatus");
    assert!(!is_armed());
    let end = Instant::now() + Duration::from_secs(40);
    while !is_armed() {
        assert!(Instant::now() < end, "the check comes every 30 s");
        std::thread::sleep(Duration::from_millis(500));
    }
}
