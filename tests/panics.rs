//! A panic ends the process, but where it may not.

#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

use reservd::panics::{contain, persist};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::time::Duration;

const WHERE: &str = "RESERVD_TEST_PANICS";

/// What the other tests start: does nothing by itself.
#[test]
fn child() {
    let Ok(place) = std::env::var(WHERE) else {
        return;
    };
    contain();
    match place.as_str() {
        "thread" => drop(std::thread::spawn(|| panic!("on a thread")).join()),
        "task" => task(),
        _ => expendable(),
    }
    println!("survived");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

/// Its runtime would catch it.
fn task() {
    runtime().block_on(async {
        let task = tokio::spawn(async { panic!("in a task") });
        assert!(task.await.is_err());
    });
}

/// Panics by itself, then in a task; the third turn is the last.
fn expendable() {
    let mut turns = 0;
    let pauses = (Duration::from_millis(1), Duration::from_millis(10));
    persist(pauses, |alarm| {
        turns += 1;
        match turns {
            1 => panic!("at once"),
            2 => runtime().block_on(async {
                tokio::spawn(async { panic!("in a task") });
                alarm.rung().await;
            }),
            _ => {}
        }
    });
    assert_eq!(turns, 3);
}

fn run(place: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(WHERE, place)
        .output()
        .unwrap()
}

#[test]
fn a_panic_anywhere_ends_the_process() {
    for place in ["thread", "task"] {
        let output = run(place);
        let signal = output.status.signal();
        assert_eq!(signal, Some(nix::libc::SIGABRT), "{place}: {output:?}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("survived"));
    }
}

#[test]
fn a_panic_where_nobody_depends_on_it_does_not() {
    let output = run("expendable");
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("survived"));
}
