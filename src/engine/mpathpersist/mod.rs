//! PERSISTENT RESERVE OUT on a map through libmpathpersist, in a worker that
//! may die.
//!
//! The library ends its process on some errors, hangs on dead paths, swaps
//! signal handlers and leaks descriptors. So each unit that uses it has a
//! process of its own for it ([`Worker`]), started when it is first needed,
//! with one command at a time. A worker that dies or does not answer in time
//! (it is killed then) costs that one command, whose fate is unknown, and
//! nothing more; the next one gets a new worker.

pub mod code;
mod log;
mod process;

pub use process::{CODE_BYTE, FLAG, PROBE};

use super::policy::{self, Choice, Operation, Version};
use crate::config::Engine;
use crate::device::TransportError;
use crate::scsi::{Outcome, PrOut, SenseCode};
use code::Code;
use process::{Lost, Process};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::process::Child;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// Where the library may be found instead; for tests.
pub const LIBRARY_VARIABLE: &str = "RESERVD_MPATHPERSIST";
/// Asking the library for its version takes milliseconds.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);
/// Pause after the first failure; each further one doubles it.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAXIMUM: Duration = Duration::from_secs(10);
/// A killed worker is waited for this long beyond its deadline.
const REAPING: Duration = Duration::from_millis(500);
/// A worker without work ends after this.
const IDLE: Duration = Duration::from_secs(60);

/// How workers are started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// A program of ours.
    pub program: PathBuf,
    /// Variables besides our own.
    pub environment: Vec<(OsString, OsString)>,
    /// Files, and directories of files, that the library reads once.
    pub configuration: Vec<PathBuf>,
}

impl Launch {
    /// Workers of this program, for multipath-tools' configuration.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Launch {
            program: program.into(),
            environment: Vec::new(),
            configuration: vec!["/etc/multipath.conf".into(), "/etc/multipath/conf.d".into()],
        }
    }
}

/// What the library says of itself, as the worker prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The version of multipath-tools, where it says so.
    pub version: Option<[u32; 3]>,
    /// It has the reservation code of before 0.13.
    pub has_update_map_pr: bool,
}

impl Probe {
    /// The version to decide by.
    pub fn effective_version(&self) -> Version {
        policy::effective_version(self.version, self.has_update_map_pr)
    }
}

/// Loads the library in a short-lived process and asks what it is.
///
/// # Errors
/// In words, why it cannot be used.
pub async fn probe(launch: &Launch) -> Result<Probe, String> {
    let mut command = process::command(launch);
    command
        .arg(PROBE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let run = async { command.output().await };
    let output = match timeout(PROBE_PATIENCE, run).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("{}: {error}", launch.program.display())),
        Err(_) => return Err("the library hangs when it is loaded".into()),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    // The library may have printed something before.
    let found = text
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok());
    match (output.status.success(), found) {
        (true, Some(probe)) => Ok(probe),
        _ => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            let reason = stderr.lines().last().unwrap_or("no reason given");
            Err(format!("{reason} ({})", output.status))
        }
    }
}

/// How often the library failed us.
#[derive(Debug, Default)]
pub struct Counters {
    /// Workers started.
    pub started: AtomicU64,
    /// Workers that ended by themselves.
    pub died: AtomicU64,
    /// Workers that were killed at the deadline of a command.
    pub hung: AtomicU64,
}

/// The engines of this host: what the units have in common.
#[derive(Debug)]
pub struct Engines {
    launch: Launch,
    library: Mutex<Option<Version>>,
    /// Failures so far.
    pub counters: Counters,
}

impl Default for Engines {
    /// Without the library.
    fn default() -> Self {
        Engines::new(Launch::new("/proc/self/exe"), None)
    }
}

impl Engines {
    /// With a library of this version.
    pub fn new(launch: Launch, library: Option<Version>) -> Self {
        Engines {
            launch,
            library: Mutex::new(library),
            counters: Counters::default(),
        }
    }

    /// Takes this library for the commands to come.
    pub fn set_library(&self, library: Option<Version>) {
        *lock(&self.library) = library;
    }

    /// The library's version, where it is there.
    pub fn library(&self) -> Option<Version> {
        *lock(&self.library)
    }

    /// How workers are started.
    pub fn launch(&self) -> &Launch {
        &self.launch
    }

    /// Who runs this command on a map of a unit with this setting.
    pub fn choose(&self, setting: Engine, command: &PrOut) -> Choice {
        policy::decide(setting, *lock(&self.library), Operation::of(command))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What became of a command in the library.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The answer to the client.
    pub outcome: Outcome,
    code: Code,
}

impl Reply {
    /// True where the library did nothing, and the unit is to judge.
    ///
    /// It sends nothing where multipathd has another key than the one the client
    /// says it is registered with; the unit answers that with a RESERVATION
    /// CONFLICT, as clusters expect. And it takes the conflict of one path for
    /// the unit's, also of a path that is back and not registered yet; a client
    /// would think that it was fenced. New registrations are another matter:
    /// there multipath.conf is wrong, or the client.
    pub fn is_for_the_unit(&self, command: &PrOut) -> bool {
        let registers = matches!(
            Operation::of(command),
            Operation::Register | Operation::RegisterAndIgnore
        );
        matches!(self.code, Code::SYNTAX_ERROR | Code::CONFLICT) && !registers
    }
}

/// The library for one unit.
#[derive(Debug)]
pub struct Worker {
    engines: Arc<Engines>,
    process: Option<(Process, Fingerprint)>,
    /// Killed, but still in the kernel.
    dying: Option<Child>,
    failures: u32,
    not_before: Option<Instant>,
    used: Instant,
}

impl Worker {
    /// Nothing is started yet.
    pub fn new(engines: Arc<Engines>) -> Self {
        Worker {
            engines,
            process: None,
            dying: None,
            failures: 0,
            not_before: None,
            used: Instant::now(),
        }
    }

    /// The engines it belongs to.
    pub fn engines(&self) -> &Engines {
        &self.engines
    }

    /// The worker's process id, where one runs.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().and_then(|(process, _)| process.id())
    }

    /// As [`Worker::ask`], without the library's own words.
    ///
    /// # Errors
    /// As [`Worker::ask`].
    pub async fn run(
        &mut self,
        map: BorrowedFd<'_>,
        command: &PrOut,
        until: Instant,
    ) -> Result<Outcome, TransportError> {
        let reply = self.ask(map, command, until).await?;
        Ok(reply.outcome)
    }

    /// Runs one command on the map behind `map`; answers shortly after `until`
    /// at the latest.
    ///
    /// # Errors
    /// [`TransportError::NotSent`] where no worker could be had,
    /// [`TransportError::Unknown`] where it died or was killed on the way.
    pub async fn ask(
        &mut self,
        map: BorrowedFd<'_>,
        command: &PrOut,
        until: Instant,
    ) -> Result<Reply, TransportError> {
        self.settle(until).await?;
        let mut process = self.ready(until).await?;
        let fingerprint = process.1;
        let end = timeout_at(until, process.0.run(map, command)).await;
        self.used = Instant::now();
        match end {
            Ok(Ok((outcome, code))) => {
                self.failures = 0;
                self.process = Some((process.0, fingerprint));
                let reply = Reply { outcome, code };
                report(command, &reply);
                Ok(reply)
            }
            Ok(Err(Lost::Before(error))) => {
                self.failed(process.0, &error, Failure::Died).await;
                Err(TransportError::not_sent(SenseCode::COMMUNICATION_FAILURE))
            }
            Ok(Err(Lost::After(error))) => {
                self.failed(process.0, &error, Failure::Died).await;
                Err(TransportError::unknown(SenseCode::IO_PROCESS_TERMINATED))
            }
            Err(_elapsed) => {
                let error = io::ErrorKind::TimedOut.into();
                self.failed(process.0, &error, Failure::Hung).await;
                Err(TransportError::unknown(
                    SenseCode::TIMEOUT_DURING_PROCESSING,
                ))
            }
        }
    }

    /// Waits until a worker that was killed is gone: until then its command may
    /// still be on its way to the unit.
    ///
    /// # Errors
    /// [`TransportError::NotSent`] where it is not gone by `until`.
    pub async fn settle(&mut self, until: Instant) -> Result<(), TransportError> {
        if let Some(child) = &mut self.dying {
            if timeout_at(until, child.wait()).await.is_err() {
                return Err(TransportError::not_sent(
                    SenseCode::TIMEOUT_BEFORE_PROCESSING,
                ));
            }
            self.dying = None;
        }
        Ok(())
    }

    /// When there will have been nothing to do for long enough.
    pub fn idle_at(&self) -> Option<Instant> {
        self.process.as_ref().map(|_| self.used + IDLE)
    }

    /// Ends the worker, which has nothing to do.
    pub fn end(&mut self) {
        if let Some((process, _)) = self.process.take() {
            self.dying = Some(process.kill());
        }
    }

    /// A worker that waits for a command: the one there is, or a new one.
    async fn ready(&mut self, until: Instant) -> Result<(Process, Fingerprint), TransportError> {
        let now = Fingerprint::take(&self.engines.launch);
        if let Some((mut process, fingerprint)) = self.process.take() {
            let ended = process.ended();
            if ended.is_none() && fingerprint == now {
                return Ok((process, fingerprint));
            }
            match ended {
                Some(status) => {
                    self.engines.counters.died.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%status, "the worker for libmpathpersist ended without work");
                }
                None => tracing::info!("multipath.conf changed; libmpathpersist is started anew"),
            }
            self.dying = Some(process.kill());
            self.settle(until).await?;
        }
        let not_sent = TransportError::not_sent(SenseCode::TIMEOUT_BEFORE_PROCESSING);
        if let Some(at) = self.not_before.take() {
            if at >= until {
                self.not_before = Some(at);
                return Err(not_sent);
            }
            sleep_until(at).await;
        }
        self.engines
            .counters
            .started
            .fetch_add(1, Ordering::Relaxed);
        let mut process = match Process::start(&self.engines.launch) {
            Ok(process) => process,
            Err(error) => {
                self.pause();
                tracing::error!(%error, "no worker for libmpathpersist");
                return Err(TransportError::not_sent(SenseCode::COMMUNICATION_FAILURE));
            }
        };
        match timeout_at(until, process.greet()).await {
            Ok(Ok(())) => Ok((process, now)),
            Ok(Err(error)) => {
                self.failed(process, &error, Failure::Died).await;
                Err(TransportError::not_sent(SenseCode::COMMUNICATION_FAILURE))
            }
            Err(_elapsed) => {
                let error = io::ErrorKind::TimedOut.into();
                self.failed(process, &error, Failure::Hung).await;
                Err(not_sent)
            }
        }
    }

    /// Counts a worker out and waits a moment for its end.
    async fn failed(&mut self, process: Process, error: &io::Error, failure: Failure) {
        let worker = process.id();
        let counter = match failure {
            Failure::Died => &self.engines.counters.died,
            Failure::Hung => &self.engines.counters.hung,
        };
        let count = counter.fetch_add(1, Ordering::Relaxed) + 1;
        self.pause();
        let mut child = process.kill();
        match timeout(REAPING, child.wait()).await {
            Ok(Ok(status)) => {
                tracing::error!(worker, %status, %error, count, "libmpathpersist {failure}");
            }
            _ => {
                tracing::error!(worker, %error, count, "libmpathpersist {failure}; \
                    its worker cannot be killed yet");
                self.dying = Some(child);
            }
        }
    }

    /// Puts the next start off.
    fn pause(&mut self) {
        let pause = PAUSE * 2u32.saturating_pow(self.failures.min(16));
        self.not_before = Some(Instant::now() + pause.min(PAUSE_MAXIMUM));
        self.failures += 1;
    }
}

#[derive(Debug, Clone, Copy)]
enum Failure {
    Died,
    Hung,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Failure::Died => "ended its process",
            Failure::Hung => "did not answer in time and was killed",
        })
    }
}

/// Says what the library did with a command, and what its code leaves out.
fn report(command: &PrOut, reply: &Reply) {
    let (parameters, code) = (&command.parameters, reply.code);
    tracing::info!(action = %command.action, code = code.0, "libmpathpersist answered");
    if reply.is_for_the_unit(command) {
        tracing::info!(action = %command.action, key = %parameters.key,
            "libmpathpersist knows another key, or asked a path that has none; sent directly");
    } else if code == Code::SYNTAX_ERROR {
        tracing::error!(
            action = %command.action,
            key = %parameters.key,
            service_action_key = %parameters.service_action_key,
            "libmpathpersist refused the key: put the line `reservation_key file` into the section \
             `defaults` of /etc/multipath.conf and run `multipathd reconfigure`; where it is there, \
             multipathd has another key for this map: `multipathd setprkey map NAME key KEY`"
        );
    } else if !matches!(code, Code::SUCCESS | Code::CONFLICT) {
        tracing::warn!(action = %command.action, code = code.0, "libmpathpersist: {}", code.meaning());
    }
}

/// The state of multipath.conf when a worker read it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fingerprint(Vec<(PathBuf, Option<SystemTime>, u64)>);

impl Fingerprint {
    fn take(launch: &Launch) -> Self {
        let mut files = launch.configuration.clone();
        for folder in &launch.configuration {
            // Most are files, and a missing one is as good as an empty one.
            let entries = std::fs::read_dir(folder).into_iter().flatten();
            files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
        }
        files.sort();
        let states = files.into_iter().filter_map(|path| {
            let metadata = std::fs::metadata(&path).ok()?;
            Some((path, metadata.modified().ok(), metadata.len()))
        });
        Fingerprint(states.collect())
    }
}
