//! A thread that saves, for those who must not wait for a disk.

use super::Journal;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use tokio::sync::oneshot;

/// Why an intent is not on the disk.
#[derive(Debug, Clone, thiserror::Error)]
#[error("not saved: {0}")]
pub struct NotSaved(Arc<io::Error>);

impl NotSaved {
    fn new(error: io::Error) -> Self {
        NotSaved(Arc::new(error))
    }

    /// What the file system said.
    pub fn error(&self) -> &io::Error {
        &self.0
    }
}

type Reply = oneshot::Sender<Result<(), NotSaved>>;

/// The owner of a [`Journal`]. While its disk is slow, only the newest intent
/// for a unit waits, and takes the place of those before it.
///
/// A failure is logged and given to those who wait, and is not tried again: what
/// is on the disk is then older than what was asked. When the keeper is dropped
/// its thread does what was asked before, and ends.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    /// At most one for each unit, the longest waiting first.
    jobs: VecDeque<Job>,
    closed: bool,
}

#[derive(Debug)]
struct Job {
    wwid: String,
    /// What is to be saved; `None` removes.
    record: Option<Value>,
    /// Those who asked for this, or for what this replaced.
    waiting: Vec<Reply>,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the system has no thread left.
    pub fn start(mut journal: Journal) -> io::Result<Self> {
        Keeper::start_with(move |wwid, record| match record {
            Some(record) => journal.save(wwid, record),
            None => journal.remove(wwid),
        })
    }

    fn start_with(
        write: impl FnMut(&str, Option<&Value>) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let keeper = Keeper {
            shared: shared.clone(),
        };
        thread::Builder::new()
            .name("journal".into())
            .spawn(move || run(&shared, write))?;
        Ok(keeper)
    }

    /// Asks for a record to be saved. The future ends when that one, or a newer
    /// one, is on the disk, or failed to get there; it need not be waited for.
    pub fn save(
        &self,
        wwid: &str,
        record: Value,
    ) -> impl Future<Output = Result<(), NotSaved>> + Send + use<> {
        outcome(self.submit(wwid, Some(record)))
    }

    /// Asks for the record of a unit to be removed; as [`Keeper::save`].
    pub fn remove(&self, wwid: &str) -> impl Future<Output = Result<(), NotSaved>> + Send + use<> {
        outcome(self.submit(wwid, None))
    }

    fn submit(&self, wwid: &str, record: Option<Value>) -> oneshot::Receiver<Result<(), NotSaved>> {
        let (reply, outcome) = oneshot::channel();
        let mut queue = self.shared.queue();
        match queue.jobs.iter_mut().find(|job| job.wwid == wwid) {
            Some(job) => {
                job.record = record;
                job.waiting.retain(|reply| !reply.is_closed());
                job.waiting.push(reply);
            }
            None => queue.jobs.push_back(Job {
                wwid: wwid.to_owned(),
                record,
                waiting: vec![reply],
            }),
        }
        self.shared.changed.notify_one();
        outcome
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to do; `None` when there will be nothing more.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

async fn outcome(reply: oneshot::Receiver<Result<(), NotSaved>>) -> Result<(), NotSaved> {
    let gone = |_| NotSaved::new(io::Error::other("the journal's thread has ended"));
    reply.await.map_err(gone)?
}

fn run(shared: &Shared, mut write: impl FnMut(&str, Option<&Value>) -> io::Result<()>) {
    let mut failures = Failures::default();
    while let Some(job) = shared.next() {
        let result = write(&job.wwid, job.record.as_ref()).map_err(NotSaved::new);
        let kind = result.as_ref().err().map(|error| error.0.kind());
        match (failures.note(&job.wwid, kind), &result) {
            (Some(News::Failing), Err(error)) => tracing::warn!(
                wwid = job.wwid, error = %error.0, "what is intended cannot be saved, and would \
                 be forgotten with this process"
            ),
            (Some(News::Recovered), _) => tracing::info!("what is intended is saved again"),
            _ => {}
        }
        for reply in job.waiting {
            // Who does not wait does not mind.
            let _ = reply.send(result.clone());
        }
    }
}

/// The units whose last write failed, and why.
#[derive(Debug, Default)]
struct Failures(HashMap<String, io::ErrorKind>);

/// What is worth a line in the log.
#[derive(Debug, PartialEq, Eq)]
enum News {
    /// There is a cause of failure that was not there.
    Failing,
    /// There is none any more.
    Recovered,
}

impl Failures {
    fn note(&mut self, wwid: &str, failure: Option<io::ErrorKind>) -> Option<News> {
        match failure {
            Some(cause) => {
                let known = self.0.values().any(|other| *other == cause);
                self.0.insert(wwid.to_owned(), cause);
                (!known).then_some(News::Failing)
            }
            None => {
                let last = self.0.remove(wwid).is_some() && self.0.is_empty();
                last.then_some(News::Recovered)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind::{ReadOnlyFilesystem, StorageFull};
    use std::sync::mpsc;
    use std::time::Duration;
    use tokio::time::timeout;

    /// What the thread was asked to write.
    type Written = (String, Option<Value>);

    /// A keeper whose disk takes a write when it gets a result from the sender.
    fn on_slow_disk() -> (
        Keeper,
        mpsc::Receiver<Written>,
        mpsc::Sender<io::Result<()>>,
    ) {
        let (started, writes) = mpsc::channel();
        let (allow, allowed) = mpsc::channel::<io::Result<()>>();
        let keeper = Keeper::start_with(move |wwid, record| {
            started.send((wwid.to_owned(), record.cloned())).unwrap();
            allowed.recv().unwrap()
        });
        (keeper.unwrap(), writes, allow)
    }

    fn wrote(wwid: &str, record: Option<u64>) -> Written {
        (wwid.to_owned(), record.map(Value::from))
    }

    #[tokio::test]
    async fn the_newest_record_wins_and_nobody_is_told_too_soon() {
        let (keeper, writes, allow) = on_slow_disk();
        let mut first = Box::pin(keeper.save("a", 1.into()));
        assert_eq!(writes.recv().unwrap(), wrote("a", Some(1)));
        // The disk is at it: these have to wait for another write.
        let mut second = Box::pin(keeper.save("a", 2.into()));
        let other = keeper.save("b", 7.into());
        let third = keeper.save("a", 3.into());
        let soon = Duration::from_millis(20);
        assert!(timeout(soon, &mut first).await.is_err());
        allow.send(Ok(())).unwrap();
        first.await.unwrap();
        assert_eq!(writes.recv().unwrap(), wrote("a", Some(3)));
        assert!(timeout(soon, &mut second).await.is_err());
        allow.send(Ok(())).unwrap();
        second.await.unwrap();
        third.await.unwrap();
        assert_eq!(writes.recv().unwrap(), wrote("b", Some(7)));
        let removed = keeper.remove("b");
        allow.send(Ok(())).unwrap();
        other.await.unwrap();
        assert_eq!(writes.recv().unwrap(), wrote("b", None));
        allow.send(Ok(())).unwrap();
        removed.await.unwrap();
    }

    #[tokio::test]
    async fn a_failure_is_told_to_all_it_concerns_and_stops_nothing() {
        let (keeper, writes, allow) = on_slow_disk();
        let first = keeper.save("a", 1.into());
        writes.recv().unwrap();
        let (second, third) = (keeper.save("a", 2.into()), keeper.save("a", 3.into()));
        allow.send(Err(StorageFull.into())).unwrap();
        assert_eq!(first.await.unwrap_err().error().kind(), StorageFull);
        allow.send(Err(ReadOnlyFilesystem.into())).unwrap();
        for result in [second.await, third.await] {
            assert_eq!(result.unwrap_err().error().kind(), ReadOnlyFilesystem);
        }
        let fourth = keeper.save("a", 4.into());
        allow.send(Ok(())).unwrap();
        fourth.await.unwrap();
    }

    #[tokio::test]
    async fn what_waits_is_bounded_while_the_disk_hangs() {
        let (keeper, writes, allow) = on_slow_disk();
        drop(keeper.save("a", 0.into()));
        writes.recv().unwrap();
        for number in 0..10_000 {
            drop(keeper.save("a", number.into()));
        }
        let queue = keeper.shared.queue();
        assert_eq!(queue.jobs.len(), 1);
        assert!(queue.jobs[0].waiting.len() <= 2);
        drop(queue);
        // Dropped, it still does what was asked.
        drop(keeper);
        allow.send(Ok(())).unwrap();
        assert_eq!(writes.recv().unwrap(), wrote("a", Some(9_999)));
        allow.send(Ok(())).unwrap();
        assert!(writes.recv().is_err(), "and then ends");
    }

    #[test]
    fn a_cause_is_news_once() {
        let mut failures = Failures::default();
        for (wwid, failure, news) in [
            ("a", None, None),
            ("a", Some(StorageFull), Some(News::Failing)),
            ("a", Some(StorageFull), None),
            ("b", Some(StorageFull), None),
            ("c", None, None),
            ("b", Some(ReadOnlyFilesystem), Some(News::Failing)),
            ("a", Some(StorageFull), None),
            ("a", None, None),
            ("b", None, Some(News::Recovered)),
            ("b", None, None),
            ("b", Some(StorageFull), Some(News::Failing)),
        ] {
            assert_eq!(failures.note(wwid, failure), news, "{wwid} {failure:?}");
        }
    }
}
