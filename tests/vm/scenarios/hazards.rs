//! What goes wrong elsewhere (the numbers are those of docs/known-bugs.md), and
//! what it ends in here, as other hosts see it.

use super::lab::*;
use reservd::scsi::OutAction;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const K1_TWICE: [u64; 2] = [K1.0, K1.0];

fn map(lab: &Lab) -> (String, [String; 2], String) {
    (
        lab.env("MAP").to_owned(),
        lab.paths(),
        lab.env("HOST_B").to_owned(),
    )
}

#[test]
fn b1_a_release_by_a_non_holder_leaves_the_holder_alone() {
    let mut lab = lab();
    let (map, _, other) = map(&lab);
    lab.good(&map, &register(NONE, K1));
    lab.other_reserves();
    lab.good(&map, &act(OutAction::Release, K1, NONE));
    assert_eq!(holder_key(&other), Some(B.0));
    assert_eq!(keys(&other), [K1.0, K1.0, B.0]);
}

#[test]
fn b2_forty_registrants_are_read_in_full() {
    let mut lab = lab();
    let (map, _, other) = map(&lab);
    lab.good(&map, &register(NONE, K1));
    run("/rig/registrants.sh", &["40"]);
    let status = lab.read_full_status(&map);
    let expected = rows(&other);
    run("/rig/registrants.sh", &["undo"]);
    assert!(status.complete);
    assert_eq!(expected.len(), 42);
    let mut seen: Vec<_> = status
        .descriptors
        .iter()
        .map(|row| {
            let name = row.nexus.transport_id.to_string();
            (row.key.0, name.replace("sas:", "0x"))
        })
        .collect();
    seen.sort();
    let expected: Vec<_> = expected
        .into_iter()
        .map(|row| (row.key, row.initiator))
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn b3_a_key_change_with_one_odd_path_converges() {
    let mut lab = lab();
    let (map, paths, other) = map(&lab);
    for odd in paths {
        lab.good(&map, &ignore(K1));
        witness(&["-o", "-G", "-K", "0xa1", "-S", "0"], &odd);
        lab.good(&map, &register(K1, K2));
        assert_eq!(keys(&other), [K2.0, K2.0], "odd path {odd}");
        lab.good(&map, &register(K2, NONE));
    }
}

#[test]
fn b9_reserving_again_and_releasing_with_the_holder_path_lost() {
    let mut lab = lab();
    let (map, _, other) = map(&lab);
    lab.good(&map, &register(NONE, K1));
    lab.good(&map, &act(OutAction::Reserve, K1, NONE));
    lab.lose_holder();
    lab.good(&map, &act(OutAction::Reserve, K1, NONE));
    assert_eq!(holder_key(&other), Some(K1.0));
    lab.good(&map, &act(OutAction::Release, K1, NONE));
    assert_eq!(holder_key(&other), None);
    assert!(write_block(&other), "nothing keeps the other host out");
}

#[test]
fn b10_a_fenced_host_does_not_come_back_with_an_old_key() {
    let mut lab = lab();
    let (map, paths, other) = map(&lab);
    lab.good(&map, &register(NONE, K1));
    lab.other_reserves();
    set_state(&paths[1], "offline");
    lab.good(&map, &register(K1, K2));
    witness(&["-o", "-P", "-K", "0xb1", "-S", "0xa2", "-T", "5"], &other);
    assert_eq!(
        keys(&other),
        [K1.0, B.0],
        "the lost path still has the old key"
    );
    set_state(&paths[1], "running");
    await_some("the old key is gone", || {
        (keys(&other) == [B.0]).then_some(())
    });
    assert!(!write_block(&map), "fenced stays fenced");
}

/// Writes to the map until told to stop; counts failures.
pub fn writer(map: &str, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<(usize, usize)> {
    let (map, stop) = (map.to_owned(), Arc::clone(stop));
    std::thread::spawn(move || {
        let (done, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        while !stop.load(Ordering::Relaxed) {
            let counter = if write_block(&map) { &done } else { &failed };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        (done.into_inner(), failed.into_inner())
    })
}

#[test]
fn b13_preempting_the_own_key_disturbs_no_path_and_no_writer() {
    let mut lab = lab();
    let (map, _, other) = map(&lab);
    lab.good(&map, &register(NONE, K1));
    witness(&["-o", "-G", "-S", "0xb1"], &other);
    lab.good(&map, &act(OutAction::Reserve, K1, NONE));
    let stop = Arc::new(AtomicBool::new(false));
    let writer = writer(&map, &stop);
    for _ in 0..20 {
        lab.good(&map, &act(OutAction::Preempt, K1, K1));
        assert_eq!(keys(&other), [K1.0, K1.0, B.0]);
        assert_eq!(holder_key(&other), Some(K1.0));
    }
    stop.store(true, Ordering::Relaxed);
    let (done, failed) = writer.join().unwrap();
    assert!(done > 0);
    assert_eq!(failed, 0, "of {done} writes");
    let suspended = run(
        "dmsetup",
        &["info", "-c", "--noheadings", "-o", "suspended", &map],
    );
    assert_eq!(suspended.trim(), "Active");
}

#[test]
fn registering_with_a_path_down_registers_the_others() {
    let mut lab = lab();
    let (map, paths, other) = map(&lab);
    for down in paths {
        set_state(&down, "offline");
        lab.good(&map, &register(NONE, K1));
        assert_eq!(keys(&other), [K1.0]);
        lab.good(&map, &register(K1, NONE));
        assert_eq!(keys(&other), [0; 0]);
        set_state(&down, "running");
    }
}

#[test]
fn unregistering_with_a_path_down_is_finished_when_it_returns() {
    let mut lab = lab();
    let (map, paths, other) = map(&lab);
    for down in paths {
        lab.good(&map, &register(NONE, K1));
        assert_eq!(keys(&other), K1_TWICE);
        set_state(&down, "offline");
        lab.good(&map, &register(K1, NONE));
        assert_eq!(keys(&other), [K1.0], "the lost path cannot be asked yet");
        set_state(&down, "running");
        await_some("the key is gone", || keys(&other).is_empty().then_some(()));
    }
}

#[test]
fn a_second_host_with_our_key_keeps_it_when_we_release_and_leave() {
    let mut lab = lab();
    let (map, _, other) = map(&lab);
    lab.good(&map, &register(NONE, K1));
    lab.good(&map, &act(OutAction::Reserve, K1, NONE));
    witness(&["-o", "-G", "-S", "0xa1"], &other);
    lab.lose_holder();
    // Taking over would need a PREEMPT of a key that is not ours alone.
    assert!(!lab.out(&map, &act(OutAction::Release, K1, NONE)).is_good());
    assert_eq!(keys(&other), [K1.0, K1.0, K1.0]);
}
