//! Threads for commands that block: a bounded number for each path.
//!
//! Work waits in the lane, not in front of it, so that a busy thread goes from
//! one command to the next without the event loop between them. A command that
//! never returns keeps its thread; the lane goes on with the others, if it may
//! have others.

use crate::device::TransportError;
use crate::scsi::Outcome;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// A thread without work ends after this.
const IDLE: Duration = Duration::from_secs(10);
/// The stack of a thread: an ioctl needs little.
const STACK: usize = 128 * 1024;

/// How a command ended on its path.
pub type Ended = Result<Outcome, TransportError>;
/// The result of a command that was given up on.
pub type Pending = oneshot::Receiver<Ended>;

/// Why there is no result in time.
#[derive(Debug)]
pub enum Overdue {
    /// The command was never started, and will not be.
    NotStarted,
    /// It was, and its result may still come.
    Running(Pending),
}

/// Runs blocking work on at most so many threads, which end with it.
#[derive(Debug, Clone)]
pub struct Lane(Arc<Owner>);

/// Those who may still submit work. The threads hold only what is shared.
#[derive(Debug)]
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_all();
    }
}

#[derive(Debug)]
struct Shared {
    limit: usize,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

struct Job {
    work: Box<dyn FnOnce() -> Ended + Send>,
    stage: Arc<AtomicU8>,
    reply: oneshot::Sender<Ended>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("stage", &self.stage).finish()
    }
}

const WAITING: u8 = 0;
const STARTED: u8 = 1;
const WITHDRAWN: u8 = 2;

/// Leaves WAITING for another stage; `false` where somebody was faster.
fn leave_waiting(stage: &AtomicU8, next: u8) -> bool {
    stage
        .compare_exchange(WAITING, next, Ordering::AcqRel, Ordering::Acquire)
        .is_ok()
}

impl Lane {
    /// A lane of at most `limit` threads; none is started yet.
    pub fn new(limit: usize) -> Self {
        Lane(Arc::new(Owner(Arc::new(Shared {
            limit,
            state: Mutex::default(),
            wake: Condvar::new(),
        }))))
    }

    /// Runs `work` when its turn comes.
    ///
    /// # Errors
    /// [`Overdue`] when `until` passes first, or no thread can be had. Work
    /// whose caller is gone is not started.
    pub async fn run(
        &self,
        work: impl FnOnce() -> Ended + Send + 'static,
        until: Instant,
    ) -> Result<Ended, Overdue> {
        let stage = Arc::new(AtomicU8::new(WAITING));
        let (reply, mut pending) = oneshot::channel();
        self.submit(Job {
            work: Box::new(work),
            stage: Arc::clone(&stage),
            reply,
        });
        match timeout_at(until, &mut pending).await {
            Ok(Ok(ended)) => Ok(ended),
            // Dropped unstarted, for want of a thread.
            Ok(Err(_)) => Err(Overdue::NotStarted),
            Err(_) if leave_waiting(&stage, WITHDRAWN) => Err(Overdue::NotStarted),
            Err(_) => Err(Overdue::Running(pending)),
        }
    }

    fn submit(&self, job: Job) {
        let shared = &self.0.0;
        let mut state = shared.lock();
        state.queue.push_back(job);
        if state.idle >= state.queue.len() {
            drop(state);
            shared.wake.notify_one();
        } else if state.threads < shared.limit {
            state.threads += 1;
            drop(state);
            self.start_thread();
        }
    }

    fn start_thread(&self) {
        let shared = Arc::clone(&self.0.0);
        let started = thread::Builder::new()
            .name("path".into())
            .stack_size(STACK)
            .spawn(move || shared.work());
        if let Err(error) = started {
            tracing::error!(%error, "no thread for a command");
            let mut state = self.0.0.lock();
            state.threads -= 1;
            if state.threads == 0 {
                state.queue.clear();
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a thread.
    fn work(&self) {
        while let Some(job) = self.next() {
            if !job.reply.is_closed() && leave_waiting(&job.stage, STARTED) {
                // Whoever waited may have gone meanwhile.
                let _ = job.reply.send((job.work)());
            }
        }
    }

    /// The next job; `None` when there was nothing to do for long, or will never be.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            let (woken, waited) = self
                .wake
                .wait_timeout(state, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    #[tokio::test]
    async fn work_that_hangs_holds_its_thread_and_no_more() {
        let lane = Lane::new(2);
        let (release, hung) = mpsc::channel::<()>();
        let stuck = lane.run(
            move || {
                let _ = hung.recv();
                Ok(Outcome::conflict())
            },
            soon(),
        );
        let Err(Overdue::Running(pending)) = stuck.await else {
            panic!("it hangs")
        };
        let until = Instant::now() + Duration::from_secs(5);
        let other = lane.run(|| Ok(Outcome::good(vec![])), until).await;
        assert!(other.is_ok(), "the second thread serves");
        release.send(()).unwrap();
        assert_eq!(pending.await, Ok(Ok(Outcome::conflict())));
    }

    #[tokio::test]
    async fn its_threads_end_with_a_lane() {
        let lane = Lane::new(2);
        let until = Instant::now() + Duration::from_secs(5);
        assert!(lane.run(|| Ok(Outcome::conflict()), until).await.is_ok());
        let shared = Arc::downgrade(&lane.0.0);
        drop(lane);
        while shared.strong_count() > 0 {
            assert!(Instant::now() < until, "a thread stays, and is idle");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn work_that_waits_too_long_is_never_started() {
        static STARTS: AtomicUsize = AtomicUsize::new(0);
        let lane = Lane::new(1);
        let (release, hung) = mpsc::channel::<()>();
        let busy = move || {
            let _ = hung.recv();
            Ok(Outcome::conflict())
        };
        assert!(matches!(
            lane.run(busy, soon()).await,
            Err(Overdue::Running(_))
        ));
        let count = || {
            STARTS.fetch_add(1, Ordering::Relaxed);
            Ok(Outcome::conflict())
        };
        assert!(matches!(
            lane.run(count, soon()).await,
            Err(Overdue::NotStarted)
        ));
        release.send(()).unwrap();
        let until = Instant::now() + Duration::from_secs(5);
        assert!(lane.run(|| Ok(Outcome::conflict()), until).await.is_ok());
        assert_eq!(STARTS.load(Ordering::Relaxed), 0);
    }
}
