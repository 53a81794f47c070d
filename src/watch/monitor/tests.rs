use super::*;
use std::io::Write;
use std::sync::{Arc, Mutex};
use tokio::time::timeout;

/// What is logged while `work` runs, on this thread.
fn logged<T>(work: impl FnOnce() -> T) -> (T, String) {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .finish();
    let result = tracing::subscriber::with_default(subscriber, work);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    (result, text)
}

fn denied() -> io::Result<Socket> {
    Err(io::ErrorKind::PermissionDenied.into())
}

#[tokio::test]
async fn without_netlink_there_is_one_line_and_no_batch() {
    let (mut monitor, log) = logged(|| Monitor::of(denied(), denied(), false));
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("WARN") && log.contains("kernel: permission denied"));
    assert!(log.contains("regular check"), "{log}");
    let waited = timeout(Duration::from_millis(50), monitor.next()).await;
    assert!(waited.is_err(), "{waited:?}");
}

#[tokio::test]
async fn a_future_that_is_dropped_loses_nothing() {
    let mut monitor = Monitor::of(denied(), denied(), false);
    monitor.pending.overflow = true;
    assert!(timeout(Duration::ZERO, monitor.next()).await.is_err());
    let batch = timeout(Duration::from_secs(5), monitor.next()).await;
    assert!(batch.expect("what was pending").overflow);
    assert!(monitor.pending.is_empty() && monitor.due.is_none());
}

#[tokio::test]
async fn what_is_missing_is_named() {
    for bytes in [4096, BUFFER] {
        let [Ok(kernel), Ok(udev)] = [Group::Kernel, Group::Udev].map(|group| open(group, bytes))
        else {
            return; // Nothing but the test above here.
        };
        let (_, log) = logged(|| Monitor::of(Ok(kernel), Ok(udev), true));
        assert_eq!(log, "");
    }
    let kernel = || open(Group::Kernel, BUFFER);
    let udev = || open(Group::Udev, BUFFER);
    for (make, words) in [
        (
            &(|| Monitor::of(kernel(), denied(), true)) as &dyn Fn() -> Monitor,
            "none from udev",
        ),
        (
            &|| Monitor::of(denied(), udev(), true),
            "none from the kernel",
        ),
        (
            &|| Monitor::of(kernel(), udev(), false),
            "udevd does not run",
        ),
    ] {
        let (_, log) = logged(make);
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.contains(words), "{log}");
    }
}

/// Messages of other subsystems, and silence, cost no time.
#[tokio::test]
async fn an_idle_monitor_waits() {
    let mut monitor = Monitor::start();
    let before = processor_time();
    let _ = timeout(Duration::from_millis(300), monitor.next()).await;
    let used = processor_time() - before;
    assert!(used < Duration::from_millis(100), "{used:?}");
}

fn processor_time() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)
        .unwrap()
        .into()
}

/// What a task of the daemon needs.
#[test]
fn its_future_moves_between_threads() {
    fn check<T: Send>(_: &impl FnOnce(Monitor) -> T) {}
    check(&|mut monitor: Monitor| async move { monitor.next().await });
}
