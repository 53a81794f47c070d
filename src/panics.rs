//! What a panic comes to: the end of the process at once, so that no daemon is
//! left behind that only looks alive; but on threads that nobody depends on,
//! the end of what they were doing, which they start anew.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::process::abort;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

thread_local! {
    /// Present on a thread whose panics end nothing but its work.
    static ALARM: RefCell<Option<Arc<Alarm>>> = const { RefCell::new(None) };
}

/// Tells a thread that something on it has panicked: a task, for example, whose
/// panic its runtime has caught.
#[derive(Debug, Default)]
pub struct Alarm {
    rung: AtomicBool,
    notify: Notify,
}

impl Alarm {
    /// Returns after a panic.
    pub async fn rung(&self) {
        self.notify.notified().await;
    }

    /// Has panics on this thread ring it as well: one that works for the alarm's.
    pub fn guard_this_thread(self: &Arc<Self>) {
        ALARM.set(Some(Arc::clone(self)));
    }

    fn ring(&self) {
        self.rung.store(true, Ordering::Relaxed);
        self.notify.notify_one();
    }
}

/// From now on a panic ends the process, but on threads with an [`Alarm`].
pub fn contain() {
    contain_or(|| abort());
}

/// As [`contain`], with another end.
pub(crate) fn contain_or(end: fn()) {
    let report = take_hook();
    set_hook(Box::new(move |panic| {
        report(panic);
        let alarm = ALARM.try_with(|alarm| alarm.try_borrow().ok()?.clone());
        match alarm {
            Ok(Some(alarm)) => alarm.ring(),
            _ => end(),
        }
    }));
}

/// Does this on the present thread, and again after a pause where it panics. The
/// pause doubles from the first to the last; after a turn of twice the last, it
/// is short again.
pub fn persist(pauses: (Duration, Duration), mut work: impl FnMut(&Arc<Alarm>)) {
    let mut pause = pauses.0;
    loop {
        let alarm = Arc::new(Alarm::default());
        alarm.guard_this_thread();
        let started = Instant::now();
        let end = catch_unwind(AssertUnwindSafe(|| work(&alarm)));
        ALARM.set(None);
        if end.is_ok() && !alarm.rung.load(Ordering::Relaxed) {
            return;
        }
        if started.elapsed() > pauses.1 * 2 {
            pause = pauses.0;
        }
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        tracing::error!(
            thread = name,
            ?pause,
            "panicked; it starts anew, and nothing else ends"
        );
        sleep(pause);
        pause = (pause * 2).min(pauses.1);
    }
}
