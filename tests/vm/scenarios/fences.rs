//! What was taken away stays away: none of our paths gets its key back, whatever
//! comes back, and the log says once what happened.

use super::journal::record_of;
use super::lab::*;
use super::multipathd::{WithoutMultipathd, await_armed};
use super::paths::{Away, CHECKED, repairs};
use super::power::{OnOwnLun, lose_power};
use reservd::lun::state::Loss;
use reservd::scsi::OutAction;
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
/// How often the daemon asks in these tests, in milliseconds.
const POLL: u64 = 500;
/// Beyond that, for a look under emulation.
const GRACE: Duration = Duration::from_secs(1);
const GONE: &str = "our registration is gone";

const PREEMPT: &[&str] = &["-o", "-P", "-K", "0xb1", "-S", "0xa1", "-T", "5"];
const CLEAR: &[&str] = &["-o", "-C", "-K", "0xb1"];

/// The map with our registration, and what the log had before.
struct Stage<'a> {
    lab: &'a mut Lab,
    map: String,
    other: String,
    position: usize,
    repairs: usize,
}

impl<'a> Stage<'a> {
    /// Registered on all paths that are up; the other host is registered too.
    fn new(lab: &'a mut Lab) -> Self {
        Stage::polled(lab, POLL)
    }

    fn polled(lab: &'a mut Lab, poll: u64) -> Self {
        let map = lab.env("MAP").to_owned();
        let other = lab.env("HOST_B").to_owned();
        lab.use_defaults(&polled(poll));
        lab.good(&map, &ignore(K1));
        witness(&["-o", "-I", "-S", "0xb1"], &other);
        Stage {
            lab,
            map,
            other,
            position: log_since(0, GONE).1,
            repairs: repairs(),
        }
    }

    /// From here on no path of ours may be brought in line.
    fn start_here(&mut self) {
        self.repairs = repairs();
    }

    fn is_said(&self) -> bool {
        !log_since(self.position, GONE).0.is_empty()
    }

    /// The daemon finds it out by itself, in time.
    fn noticed(&self) {
        let started = Instant::now();
        let limit = Duration::from_millis(POLL) + GRACE;
        while !self.is_said() {
            assert!(started.elapsed() < limit, "not noticed within {limit:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        println!("noticed within {:?}", started.elapsed());
    }

    /// Nothing of ours is left or comes back, and the log has said why, once.
    fn stays_gone(self, states: &[&str]) {
        await_some("it is said", || self.is_said().then_some(()));
        let ours = || {
            let keys = ["A", "B"].map(|path| self.lab.key_of(path));
            keys.iter().flatten().any(|key| *key == K1.0)
        };
        // multipathd, told before it was over, may have put it on a path that
        // came back at that very moment.
        await_some("no path of ours has the key", || (!ours()).then_some(()));
        self.lab.all_used();
        let end = Instant::now() + Duration::from_millis(POLL) + GRACE;
        while Instant::now() < end {
            assert!(!ours(), "the key is back");
        }
        assert_eq!(repairs(), self.repairs, "a key was put back");
        let (lines, _) = log_since(self.position, GONE);
        assert_eq!(lines.len(), 1, "{lines:#?}");
        let is_said = |state: &&str| lines[0].contains(&format!("state={state} "));
        assert!(states.iter().any(is_said), "{lines:#?}");
        assert!(!write_block_as_fenced(&self.map, &self.other));
        self.lab.reset();
    }
}

/// `[defaults]` of a daemon that asks this often.
fn polled(milliseconds: u64) -> String {
    format!("poll-interval-ms = {milliseconds}\n")
}

/// Writes to the map while the other host keeps out all who are not registered.
fn write_block_as_fenced(map: &str, other: &str) -> bool {
    witness(&["-o", "-I", "-S", "0xb1"], other);
    witness(&["-o", "-R", "-K", "0xb1", "-T", "5"], other);
    write_block(map)
}

/// The other host fences us, or all.
fn by(fence: &[&str], stage: &Stage) {
    witness(fence, &stage.other);
}

#[test]
fn with_all_paths_up_it_is_noticed_without_any_command() {
    let mut lab = lab();
    for fence in [PREEMPT, CLEAR] {
        for _ in 0..ROUNDS {
            let stage = Stage::new(&mut lab);
            by(fence, &stage);
            stage.noticed();
            stage.stays_gone(&["fenced"]);
        }
    }
}

#[test]
fn with_a_path_down_it_holds_for_that_path_too() {
    let mut lab = lab();
    for (round, fence) in [PREEMPT, CLEAR].repeat(ROUNDS).into_iter().enumerate() {
        let path = ["A", "B"][round / 2 % 2];
        let away = [Away::State, Away::Transport][round / 4 % 2];
        let stage = Stage::new(&mut lab);
        await_armed(true);
        stage.lab.down(path, away);
        by(fence, &stage);
        // Noticed before the path is back, or not.
        if round / 2 % 2 == 0 {
            stage.noticed();
        }
        stage.lab.up(path, away);
        stage.stays_gone(&["fenced"]);
    }
}

/// The other host has the same key, and keeps it: nothing in READ KEYS tells.
#[test]
fn a_twin_that_keeps_the_key_is_no_reason_to_stay() {
    let mut lab = lab();
    for round in 0..ROUNDS {
        let path = ["A", "B"][round % 2];
        let mut stage = Stage::new(&mut lab);
        witness(&["-o", "-I", "-S", "0xa1"], &stage.other);
        // LIO spares the sender of a PREEMPT of its own key only where it holds
        // the reservation (Linux 6.1).
        witness(&["-o", "-R", "-K", "0xa1", "-T", "5"], &stage.other);
        stage.lab.down(path, Away::State);
        let preempt = ["-o", "-P", "-K", "0xa1", "-S", "0xa1", "-T", "5"];
        by(&preempt, &stage);
        stage.start_here();
        assert_eq!(keys(&stage.other), [K1.0], "the twin's");
        if round % 2 == 0 {
            stage.noticed();
        }
        stage.lab.up(path, Away::State);
        stage.stays_gone(&["handed-off"]);
    }
}

#[test]
fn a_twin_does_not_hide_that_all_was_cleared() {
    let mut lab = lab();
    for round in 0..ROUNDS {
        let path = ["A", "B"][round % 2];
        let stage = Stage::new(&mut lab);
        witness(&["-o", "-I", "-S", "0xa1"], &stage.other);
        stage.lab.down(path, Away::Transport);
        by(&["-o", "-C", "-K", "0xa1"], &stage);
        witness(&["-o", "-I", "-S", "0xa1"], &stage.other);
        stage.lab.up(path, Away::Transport);
        // By whether it was noticed before the twin was back.
        stage.stays_gone(&["handed-off", "fenced"]);
    }
}

/// multipathd sees the twin's key in the list, and takes it for ours.
#[test]
fn what_multipathd_puts_back_because_of_a_twin_is_taken_off() {
    let mut lab = lab();
    let mut times = 0;
    for round in 0..ROUNDS {
        let path = ["A", "B"][round % 2];
        let stage = Stage::polled(&mut lab, 10_000);
        await_armed(true);
        witness(&["-o", "-I", "-S", "0xa1"], &stage.other);
        stage.lab.down(path, Away::State);
        // Until multipathd knows, and the daemon has looked.
        std::thread::sleep(CHECKED);
        by(&["-o", "-C", "-K", "0xa1"], &stage);
        witness(&["-o", "-I", "-S", "0xa1"], &stage.other);
        stage.lab.up(path, Away::State);
        let mut put_back = false;
        await_some("it is said", || {
            put_back |= stage.lab.key_of(path) == Some(K1.0);
            stage.is_said().then_some(())
        });
        println!("round {round}: put back for a moment: {put_back}");
        times += usize::from(put_back);
        stage.stays_gone(&["fenced", "handed-off"]);
    }
    assert!(times > 0, "multipathd never did it");
}

#[test]
fn a_target_that_lost_power_is_not_registered_with_again() {
    let mut lab = lab();
    let mut own = OnOwnLun::new(&mut lab);
    for round in 0..ROUNDS {
        let stage = Stage::new(&mut own);
        let map = stage.map.clone();
        lose_power(stage.lab);
        println!("round {round}: lost power");
        stage.stays_gone(&["lost"]);
        let ended = record_of(&map).ended.unwrap();
        assert_eq!((ended.key, ended.loss), (K1, Loss::Lost));
    }
}

/// Fenced while no daemon runs, by which all of ours is to be found gone from
/// what the one before wrote down.
#[test]
fn a_fence_while_the_daemon_is_away_holds_when_it_is_back() {
    let mut lab = lab();
    for (round, fence) in [PREEMPT, CLEAR].repeat(2 * 2).into_iter().enumerate() {
        let signal = ["TERM", "KILL"][round / 2 % 2];
        let path = ["A", "B"][round / 4 % 2];
        let stage = Stage::new(&mut lab);
        // What the client was told is on the disk by then, or soon.
        std::thread::sleep(Duration::from_millis(200));
        stage.lab.end(signal);
        // A path that is away meanwhile, and is back before the daemon.
        let flaps = round / 4 > 0;
        if flaps {
            stage.lab.down(path, Away::State);
            std::thread::sleep(CHECKED);
        }
        by(fence, &stage);
        if flaps {
            stage.lab.up(path, Away::State);
            std::thread::sleep(CHECKED);
        }
        stage.lab.start_with(&polled(POLL));
        let map = stage.map.clone();
        stage.stays_gone(&["fenced"]);
        let ended = record_of(&map).ended.unwrap();
        assert_eq!((ended.key, ended.loss), (K1, Loss::Fenced));
    }
}

/// Somebody registered another key through our path. It is left alone, and our
/// registration stands on the other.
#[test]
fn a_path_that_returns_with_another_key_keeps_it() {
    let mut lab = lab();
    let _stopped = WithoutMultipathd::new();
    for round in 0..ROUNDS {
        let (path, stays) = [("A", "B"), ("B", "A")][round % 2];
        let stage = Stage::new(&mut lab);
        stage.lab.message("fail_path", path);
        witness(&["-o", "-I", "-S", "0xf0"], &stage.lab.disk(path));
        stage.lab.down(path, Away::State);
        std::thread::sleep(Duration::from_millis(500));
        stage.lab.up(path, Away::State);
        stage.lab.message("reinstate_path", path);
        std::thread::sleep(Duration::from_millis(POLL) + GRACE);
        assert_eq!(stage.lab.key_of(path), Some(0xf0));
        assert_eq!(stage.lab.key_of(stays), Some(K1.0));
        assert_eq!(repairs(), stage.repairs);
        assert!(!stage.is_said());
        stage.lab.good(&stage.map, &act(OutAction::Clear, K1, NONE));
    }
}
