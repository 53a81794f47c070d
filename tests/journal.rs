//! The journal in a process of its own, which is killed or gets no space.
//!
//! SIGKILL shows that every moment leaves a whole record, and that what was
//! acknowledged is there. What the disk itself would lose with the power is not
//! shown: for that the journal flushes the file, then renames it, then flushes
//! the directory.

#![allow(clippy::unwrap_used, reason = "a test may end at once")]

use caps::{CapSet, Capability};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use reservd::journal::{Journal, Keeper, Loaded};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const FOLDER: &str = "JOURNAL_FOLDER";
const WWIDS: [&str; 3] = ["360014051ab000010000000000000000", "odd/.wwid", ""];

/// This program again, with only one test, which is none.
fn child(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped());
    command
}

fn folder() -> PathBuf {
    std::env::var_os(FOLDER)
        .expect("started by another test")
        .into()
}

/// Of a length of its own, so that no two could be mixed unnoticed.
fn record(number: u64) -> Value {
    json!({ "number": number, "text": "x".repeat((number * 911 % 20_000) as usize) })
}

fn load(folder: &Path) -> Vec<Loaded<Value>> {
    let mut journal = Journal::open(folder).unwrap();
    let (records, damaged) = journal.load_all::<Value>().unwrap();
    assert_eq!(damaged, []);
    records
}

/// The number of a record that must be whole.
fn number(loaded: &Loaded<Value>) -> u64 {
    let number = loaded.record["number"].as_u64().unwrap();
    assert_eq!(loaded.record, record(number));
    number
}

#[test]
#[ignore = "is killed by another test"]
fn saves_for_ever() {
    let folder = folder();
    let start = load(&folder).iter().map(number).max().map_or(1, |n| n + 1);
    let keeper = Keeper::start(Journal::open(&folder).unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        // The second may take the place of the first while that one waits.
        for number in (start..).step_by(2) {
            let saves: Vec<_> = [number, number + 1]
                .into_iter()
                .flat_map(|number| WWIDS.map(|wwid| keeper.save(wwid, record(number))))
                .collect();
            for save in saves {
                save.await.unwrap();
            }
            println!("\nsaved {}", number + 1);
        }
    });
}

/// Kills the child some time after its first acknowledgement; the last one.
fn kill(mut child: Child, after: Duration) -> u64 {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut saved = || {
        lines.find_map(|line| {
            let line = line.unwrap();
            line.strip_prefix("saved ")?.parse::<u64>().ok()
        })
    };
    let mut last = saved().expect("a first acknowledgement");
    std::thread::sleep(after);
    child.kill().unwrap();
    while let Some(next) = saved() {
        last = next;
    }
    child.wait().unwrap();
    last
}

#[test]
fn a_kill_at_any_moment_leaves_what_was_acknowledged_or_newer() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("reservd");
    let (mut interrupted, mut newer) = (0, 0);
    for round in 0..50 {
        let child = child("saves_for_ever", &folder).spawn().unwrap();
        let last = kill(child, Duration::from_micros(round * 7919 % 30_000));
        let stale = |entry: &fs::DirEntry| entry.path().extension().unwrap() == "tmp";
        let entries = fs::read_dir(&folder).unwrap().map(Result::unwrap);
        interrupted += entries.filter(stale).count();
        let records = load(&folder);
        assert_eq!(records.len(), WWIDS.len());
        for loaded in &records {
            let number = number(loaded);
            assert!(
                (last..=last + 2).contains(&number),
                "{number}, {last} was acknowledged"
            );
            newer += usize::from(number > last);
        }
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            WWIDS.len(),
            "nothing stale"
        );
    }
    println!("{interrupted} of 50 kills left a file half-written, {newer} records were newer");
}

#[test]
#[ignore = "limits its whole process, for another test"]
fn finds_no_space() {
    let folder = folder();
    let mut journal = Journal::open(&folder).unwrap();
    journal.save("a", &record(1)).unwrap();
    // Writing beyond the limit is an error where the signal is blocked.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    signals.thread_block().unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, 64, hard).unwrap();
    let error = journal.save("a", &record(2)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no rest of it");

    // Its thread takes on which signals are blocked.
    let keeper = Keeper::start(journal).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let save = |number| runtime.block_on(keeper.save("a", record(number)));
    for number in 3..6 {
        let error = save(number).unwrap_err();
        assert_eq!(error.error().kind(), std::io::ErrorKind::FileTooLarge);
    }
    assert_eq!(number(&load(&folder)[0]), 1, "the last one that was saved");
    setrlimit(Resource::RLIMIT_FSIZE, soft, hard).unwrap();
    save(6).unwrap();
    assert_eq!(number(&load(&folder)[0]), 6);
    std::io::stdout().write_all(b"\nended well\n").unwrap();
}

#[test]
#[ignore = "gives up a capability of its thread, for another test"]
fn may_not_write() {
    let folder = folder();
    let mut journal = Journal::open(&folder).unwrap();
    journal.save("a", &record(1)).unwrap();
    fs::write(folder.join("a.tmp"), "").unwrap();
    let allow = |mode| fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
    caps::drop(None, CapSet::Effective, Capability::CAP_DAC_OVERRIDE).unwrap();
    allow(0o500);
    // What is there can be read nevertheless.
    let mut journal = Journal::open(&folder).unwrap();
    for result in [journal.save("b", &record(2)), journal.remove("a")] {
        assert_eq!(
            result.unwrap_err().kind(),
            std::io::ErrorKind::PermissionDenied
        );
    }
    assert_eq!(number(&load(&folder)[0]), 1);
    allow(0o700);
    journal.save("a", &record(3)).unwrap();
    assert_eq!(number(&load(&folder)[0]), 3);
    std::io::stdout().write_all(b"\nended well\n").unwrap();
}

#[test]
fn a_directory_without_permission_is_read_and_not_written() {
    ends_well("may_not_write");
}

#[test]
fn without_space_the_last_record_stays_and_later_ones_are_saved() {
    ends_well("finds_no_space");
}

#[track_caller]
fn ends_well(test: &str) {
    let parent = tempfile::tempdir().unwrap();
    let output = child(test, parent.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("\nended well\n"), "{text}");
}
