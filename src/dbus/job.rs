//! `org.reservd1.Job`: a change at work, and for a minute after its end.

use super::announce::Announcer;
use super::caller::Caller;
use super::change::Change;
use super::desk::{DEADLINE, Desk};
use super::errand::Errand;
use super::error::Error;
use super::{ROOT, name};
use crate::lun::preview::Step;
use crate::lun::registry::{LunKey, Target};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, sleep, timeout_at};
use zbus::object_server::{InterfaceRef, SignalEmitter};
use zbus::{Connection, OwnedObjectPath, Variant, interface};

/// A job that has ended is there for so long.
const KEPT: Duration = Duration::from_secs(60);

/// How a change ends.
type End = oneshot::Receiver<Result<(), Error>>;

/// What has become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Done,
    Failed,
    Planned,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Running => "running",
            State::Done => "done",
            State::Failed => "failed",
            State::Planned => "planned",
        })
    }
}

/// A change on the bus.
#[derive(Debug)]
pub struct Job {
    verb: &'static str,
    device: OwnedObjectPath,
    started: SystemTime,
    reason: String,
    state: State,
    steps: Vec<Step>,
    error: String,
    /// As many jobs as there may be have one.
    _place: OwnedSemaphorePermit,
}

/// A step as the bus has it.
pub fn row(step: &Step) -> BTreeMap<&'static str, Variant<'static>> {
    let Step {
        cdb,
        path,
        what,
        risk,
    } = step.clone();
    BTreeMap::from([
        ("cdb", Variant::from(cdb)),
        ("path", Variant::from(path)),
        ("what", Variant::from(what)),
        ("risk", Variant::from(risk)),
    ])
}

#[interface(name = "org.reservd1.Job", introspection_docs = false)]
impl Job {
    #[zbus(property(emits_changed_signal = "const"))]
    fn verb(&self) -> &'static str {
        self.verb
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn device(&self) -> OwnedObjectPath {
        self.device.clone()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn started_u_sec(&self) -> u64 {
        let since = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn reason(&self) -> String {
        self.reason.clone()
    }

    #[zbus(property)]
    fn state(&self) -> String {
        self.state.to_string()
    }

    #[zbus(property)]
    fn steps(&self) -> Vec<BTreeMap<&'static str, Variant<'static>>> {
        self.steps.iter().map(row).collect()
    }

    #[zbus(property)]
    fn error(&self) -> String {
        self.error.clone()
    }

    #[zbus(signal)]
    async fn completed(
        emitter: &SignalEmitter<'_>,
        success: bool,
        message: &str,
    ) -> zbus::Result<()>;
}

/// Which unit is to be changed.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// One in use.
    Unit(&'a LunKey),
    /// Any, by one of its names.
    Device(&'a str),
}

/// Has a change made, for whom that is allowed, and waits for its end, but not
/// longer than callers do. Returns the job.
///
/// # Errors
/// Why the change was not made, or not allowed; [`Error::Timeout`], with the job's
/// name, where it goes on; [`Error::Busy`].
pub async fn change(
    caller: Caller<'_>,
    desk: &Arc<Desk>,
    which: Which<'_>,
    change: Change,
) -> Result<OwnedObjectPath, Error> {
    let mut patience = Instant::now() + DEADLINE;
    let device = match which {
        Which::Unit((wwid, _)) => wwid.as_str(),
        Which::Device(device) => device,
    };
    let verb = change.verb.name();
    let uid = caller.may(change.action(), verb, device).await?;
    if caller.lets_us_ask() {
        patience = Instant::now() + DEADLINE;
    }
    let target = match which {
        Which::Unit(key) => {
            let key = key.clone();
            let find = |errand: Errand| async move { errand.unit(&key).await };
            desk.run_until(patience, find).await?
        }
        Which::Device(device) => {
            let device = device.to_owned();
            let find = |errand: Errand| async move { errand.resolve(&device).await };
            desk.run_until(patience, find).await?
        }
    };
    let no_wait = change.options.no_wait;
    let (path, end) = start(caller.connection, desk, uid, target, change).await?;
    if no_wait {
        return Ok(path);
    }
    match timeout_at(patience, end).await {
        Ok(Ok(end)) => end.map(|()| path),
        Ok(Err(_)) => Err(Error::Aborted("reservd is stopping".into())),
        Err(_) => Err(Error::Timeout(format!(
            "no end within {} s: {path} goes on",
            DEADLINE.as_secs()
        ))),
    }
}

/// Starts a change; its end comes later.
async fn start(
    connection: &Connection,
    desk: &Arc<Desk>,
    uid: u32,
    target: Target,
    change: Change,
) -> Result<(OwnedObjectPath, End), Error> {
    let (number, place) = desk.open_job()?;
    let key = desk.key_of(&target);
    let path = format!("{ROOT}/job/{number}");
    let path = OwnedObjectPath::try_from(path)?;
    let server = connection.object_server();
    let job = Job {
        verb: change.verb.name(),
        device: key.as_ref().map(name::object).unwrap_or_default(),
        started: SystemTime::now(),
        reason: change.options.reason.clone(),
        state: State::Running,
        steps: Vec::new(),
        error: String::new(),
        _place: place,
    };
    server.at(&path, job).await?;
    let work = Work {
        connection: connection.clone(),
        desk: Arc::clone(desk),
        path: path.clone(),
        job: server.interface(&path).await?,
        uid,
        target,
    };
    let (ended, end) = oneshot::channel();
    tokio::spawn(work.run(change, ended));
    Ok((path, end))
}

/// A job at work.
struct Work {
    connection: Connection,
    desk: Arc<Desk>,
    path: OwnedObjectPath,
    job: InterfaceRef<Job>,
    uid: u32,
    target: Target,
}

impl Work {
    async fn run(self, change: Change, ended: oneshot::Sender<Result<(), Error>>) {
        let told = Announcer::new(self.job.clone()).await;
        let end = self.change(&change).await;
        let state = match (&end, change.options.dry_run) {
            (Ok(()), false) => State::Done,
            (Ok(()), true) => State::Planned,
            (Err(_), _) => State::Failed,
        };
        let error = end.as_ref().err().map(ToString::to_string);
        let error = error.unwrap_or_default();
        if let Err(problem) = self.end(told, state, &error).await {
            tracing::debug!(%problem, "the end of a job is not told");
        }
        // Who gave up looks at the job.
        let _ = ended.send(end);
        sleep(KEPT).await;
        let server = self.connection.object_server();
        if let Err(problem) = server.remove::<Job, _>(&self.path).await {
            tracing::debug!(%problem, "a job stays");
        }
    }

    async fn change(&self, change: &Change) -> Result<(), Error> {
        let options = &change.options;
        let until = Instant::now() + options.timeout;
        let (target, wanted) = (self.target.clone(), change.clone());
        let work = |errand: Errand| async move {
            let deed = errand.deed(&target, &wanted).await?;
            let steps = errand.steps(&target, &deed, wanted.options.dry_run).await;
            Ok((deed, steps))
        };
        let prepared = self.desk.run_until(until, work).await;
        let dry_run = options.dry_run;
        let (uid, verb, reason) = (self.uid, change.verb.name(), &options.reason);
        let device = self.target.name.to_string();
        let (deed, steps) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                tracing::info!(uid, verb, device, reason, %error, "asked for over D-Bus");
                return Err(error);
            }
        };
        self.job.get_mut().await.steps = steps;
        if dry_run {
            return Ok(());
        }
        let (target, reason) = (self.target.clone(), reason.clone());
        let work = |errand: Errand| async move {
            let end = errand.carry_out(&target, deed).await;
            let error = end.as_ref().err().map(tracing::field::display);
            tracing::info!(uid, verb, device, reason, error, "asked for over D-Bus");
            end
        };
        self.desk.run_until(until, work).await
    }

    async fn end(
        &self,
        told: zbus::Result<Announcer<Job>>,
        state: State,
        error: &str,
    ) -> zbus::Result<()> {
        {
            let mut job = self.job.get_mut().await;
            job.state = state;
            job.error = error.to_owned();
        }
        told?.announce().await?;
        let message = match error.is_empty() {
            true => state.to_string(),
            false => error.to_owned(),
        };
        let success = state != State::Failed;
        Job::completed(self.job.signal_emitter(), success, &message).await
    }
}
