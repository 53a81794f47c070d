//! One worker, or two, spoken to without a service around them.

use crate::{engines, fake, launch, worker};
use reservd::device::{Answer, TransportError};
use reservd::engine::mpathpersist::{Worker, probe};
use reservd::engine::policy::Version;
use reservd::scsi::pr::RegisterFlags;
use reservd::scsi::{OutAction, Outcome, PrOut, ReservationKey, ScopeType, SenseCode, Status};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(700);
/// What a busy machine, and the end of a process, may add to a deadline.
const SLACK: Duration = Duration::from_millis(1500);

fn register() -> PrOut {
    let flags = RegisterFlags {
        aptpl: true,
        ..Default::default()
    };
    PrOut::register(ReservationKey::ZERO, ReservationKey(0xa1), flags)
}

async fn run(worker: &mut Worker, limit: Duration) -> Result<Outcome, TransportError> {
    let device = File::open("/dev/null").expect("/dev/null");
    worker
        .run(device.as_fd(), &register(), Instant::now() + limit)
        .await
}

fn is_unknown(result: &Result<Outcome, TransportError>, code: SenseCode) -> bool {
    matches!(result, Err(TransportError::Unknown(Answer::Check(found))) if *found == code)
}

#[tokio::test]
async fn every_code_has_its_answer() {
    let mut expected = vec![
        ("0", Ok(Status::Good)),
        ("11", Ok(Status::ReservationConflict)),
        ("1", Err("05/26/00")),
        ("2", Err("02/04/00")),
        ("3", Err("03/11/00")),
        ("4", Err("04/44/00")),
        ("5", Err("05/26/00")),
        ("6", Err("06/29/00")),
        ("7", Err("05/20/00")),
    ];
    for code in [
        "-1", "8", "9", "10", "12", "13", "14", "15", "16", "17", "4711",
    ] {
        expected.push((code, Err("0B/08/00")));
    }
    let words: Vec<_> = expected.iter().map(|(word, _)| *word).collect();
    let mut worker = worker(&words.join(" "));
    for (word, answer) in expected {
        let outcome = run(&mut worker, LONG).await.expect(word);
        match answer {
            Ok(status) => assert_eq!(outcome.status, status, "{word}"),
            Err(sense) => {
                let code = outcome.sense_code().expect(word);
                assert_eq!(code.to_string(), sense, "{word}");
            }
        }
    }
    let counters = &worker.engines().counters;
    assert_eq!(counters.started.load(Ordering::Relaxed), 1);
    assert_eq!(counters.died.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn the_library_gets_what_the_client_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let mut launch = launch("0");
    let variable = ("RESERVD_FAKE_LOG".into(), log.clone().into());
    launch.environment.push(variable);
    let mut worker = Worker::new(engines(launch));
    let device = File::open("/dev/null").expect("/dev/null");
    let key = ReservationKey;
    let flags = RegisterFlags {
        all_tg_pt: true,
        aptpl: true,
        ..Default::default()
    };
    let preempt = PrOut::basic(OutAction::Preempt, ScopeType(6), key(0xa1), key(0xb2));
    for command in [PrOut::register(key(0), key(0xa1), flags), preempt] {
        let until = Instant::now() + LONG;
        let outcome = worker.run(device.as_fd(), &command, until).await;
        assert!(outcome.expect("an outcome").is_good());
    }
    assert_eq!(
        std::fs::read_to_string(log).expect("a log"),
        "0 0 0 000000000000000000000000000000a10000000005000000\n\
         4 0 6 00000000000000a100000000000000b20000000000000000\n"
    );
}

#[tokio::test]
async fn what_the_library_cannot_express_does_not_reach_it() {
    let mut worker = worker("0");
    let device = File::open("/dev/null").expect("/dev/null");
    let key = ReservationKey(1);
    let command = PrOut::basic(OutAction::ReplaceLostReservation, ScopeType(0), key, key);
    let until = Instant::now() + LONG;
    let outcome = worker.run(device.as_fd(), &command, until).await;
    let code = outcome.expect("an outcome").sense_code();
    assert_eq!(code, Some(SenseCode::INVALID_FIELD_IN_CDB));
}

/// The first worker does `word`; the next command, in a new one, works.
async fn dies(word: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut launch = launch(word);
    let once = (
        "RESERVD_FAKE_ONCE".into(),
        folder.path().join("once").into(),
    );
    launch.environment.push(once);
    let mut worker = Worker::new(engines(launch));
    let started = Instant::now();
    let result = run(&mut worker, LONG).await;
    assert!(
        is_unknown(&result, SenseCode::IO_PROCESS_TERMINATED),
        "{word}: {result:?}"
    );
    let next = run(&mut worker, LONG).await;
    assert!(next.expect("an outcome").is_good(), "{word}");
    assert!(started.elapsed() < Duration::from_secs(5), "{word}");
    let counters = &worker.engines().counters;
    assert_eq!(counters.started.load(Ordering::Relaxed), 2, "{word}");
    assert_eq!(counters.died.load(Ordering::Relaxed), 1, "{word}");
}

#[tokio::test]
async fn a_library_that_ends_the_process_costs_one_command() {
    for word in ["exit", "abort", "kill"] {
        dies(word).await;
    }
}

/// The first worker does `word`, which takes for ever; meanwhile another works.
async fn hangs(word: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut launch = launch(word);
    let once = (
        "RESERVD_FAKE_ONCE".into(),
        folder.path().join("once").into(),
    );
    launch.environment.push(once);
    let mut bad = Worker::new(engines(launch));
    let mut good = worker("0");
    assert!(run(&mut good, LONG).await.expect("an outcome").is_good());

    let started = Instant::now();
    let (hung, waited, worked) = {
        let other = async {
            let mut count = 0;
            while started.elapsed() < SHORT / 2 {
                assert!(run(&mut good, LONG).await.expect("an outcome").is_good());
                count += 1;
            }
            count
        };
        let hung = async {
            let result = run(&mut bad, SHORT).await;
            (result, started.elapsed())
        };
        let ((result, waited), worked) = tokio::join!(hung, other);
        (result, waited, worked)
    };
    assert!(
        is_unknown(&hung, SenseCode::TIMEOUT_DURING_PROCESSING),
        "{word}: {hung:?}"
    );
    assert!(waited >= SHORT && waited < SHORT + SLACK, "{waited:?}");
    assert!(worked > 5, "only {worked} commands of the other worker");
    let next = run(&mut bad, LONG).await;
    assert!(next.expect("an outcome").is_good(), "{word}");
    let counters = &bad.engines().counters;
    assert_eq!(counters.hung.load(Ordering::Relaxed), 1, "{word}");
}

#[tokio::test]
async fn a_library_that_hangs_is_killed_at_the_deadline() {
    for word in ["sleep", "stop"] {
        hangs(word).await;
    }
}

#[tokio::test]
async fn a_worker_that_is_killed_without_work_is_not_noticed() {
    let mut worker = worker("0");
    assert!(run(&mut worker, LONG).await.expect("an outcome").is_good());
    let first = worker.id().expect("a worker") as i32;
    let pid = nix::unistd::Pid::from_raw(first);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("our own child");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(run(&mut worker, LONG).await.expect("an outcome").is_good());
    assert_ne!(worker.id(), Some(first as u32));
}

#[tokio::test]
async fn a_library_that_fails_again_and_again_is_tried_less_often() {
    let mut launch = launch("0");
    let variable = ("RESERVD_FAKE_NO_INIT".into(), "1".into());
    launch.environment.push(variable);
    let mut worker = Worker::new(engines(launch));
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        let result = run(&mut worker, SHORT).await;
        assert!(matches!(result, Err(TransportError::NotSent(_))));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let attempts = worker.engines().counters.started.load(Ordering::Relaxed);
    assert!((2..=6).contains(&attempts), "{attempts} attempts");
}

#[tokio::test]
async fn garbage_does_not_block_the_worker() {
    let mut worker = worker("flood 0");
    let started = Instant::now();
    assert!(run(&mut worker, LONG).await.expect("an outcome").is_good());
    assert!(run(&mut worker, LONG).await.expect("an outcome").is_good());
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_worker_has_its_socket_its_output_and_the_map() {
    // Something for it to inherit, with and without close-on-exec.
    let leak = File::open("/dev/zero").expect("/dev/zero");
    let inherited = nix::unistd::dup(&leak).expect("a descriptor");
    nix::fcntl::fcntl(
        &inherited,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
    )
    .expect("no close-on-exec");
    // 0, 1, 2 and the map: the number comes back as code 4, three times over.
    let mut worker = worker("fds");
    for _ in 0..3 {
        let outcome = run(&mut worker, LONG).await.expect("an outcome");
        assert_eq!(outcome.sense_code(), Some(SenseCode::TARGET_FAILURE));
    }
}

#[tokio::test]
async fn the_library_has_limits_that_it_cannot_raise() {
    for word in ["limit", "memory", "confined"] {
        let outcome = run(&mut worker(word), LONG).await.expect("an outcome");
        assert!(outcome.is_good(), "{word}");
    }
}

#[tokio::test]
async fn a_changed_configuration_starts_the_library_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, parts) = (
        folder.path().join("multipath.conf"),
        folder.path().join("conf.d"),
    );
    std::fs::create_dir(&parts).expect("a folder");
    let mut launch = launch("0");
    launch.configuration = vec![file.clone(), parts.clone()];
    let mut worker = Worker::new(engines(launch));
    let part = parts.join("a.conf");
    let mut last = None;
    for (path, text) in [
        (&file, ""),
        (&file, "defaults {}\n"),
        (&part, "overrides {}\n"),
    ] {
        std::fs::write(path, text).expect("a file");
        for again in [false, true] {
            assert!(run(&mut worker, LONG).await.expect("an outcome").is_good());
            assert_eq!(worker.id() == last, again, "{path:?}");
            last = worker.id();
        }
    }
}

#[tokio::test]
async fn a_probe_tells_the_version_and_the_code_behind_it() {
    let found = probe(&launch("0")).await.expect("the fake");
    assert_eq!(found.version, Some([0, 15, 1]));
    assert_eq!(found.effective_version(), Version(0, 15, 1));

    let mut missing = launch("0");
    missing.environment[0].1 = "/nonexistent/libmpathpersist.so.0".into();
    let error = probe(&missing).await.expect_err("no library");
    assert!(error.contains("/nonexistent/libmpathpersist"), "{error}");

    // Not a library at all.
    missing.environment[0].1 = fake().with_file_name("missing").into();
    assert!(probe(&missing).await.is_err());
}

/// A missing `reservation_key file` shows at the first command of a guest: it
/// gets an answer that nobody repeats, the administrator the line to add.
#[tokio::test]
async fn a_refused_key_is_not_to_be_retried_and_the_line_to_add_is_logged() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let outcome = run(&mut worker("1"), LONG).await.expect("an outcome");
    let code = outcome.sense_code().expect("sense");
    assert_eq!(code.to_string(), "05/26/00", "ILLEGAL REQUEST");
    let text = log.text();
    let mut errors = text.lines().filter(|line| line.contains("ERROR"));
    let error = errors.next().expect("an entry");
    for part in [
        "put the line `reservation_key file` into the section `defaults` of /etc/multipath.conf",
        "run `multipathd reconfigure`",
        "action=REGISTER",
        "service_action_key=0xa1",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert_eq!(errors.next(), None);
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        let bytes = self.0.lock().expect("the log").clone();
        String::from_utf8(bytes).expect("text")
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("the log").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
