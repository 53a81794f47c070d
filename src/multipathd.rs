//! A client of multipathd: one connection for each command, a time-out for
//! each, and a pause after multipathd could not be reached.
//!
//! On Debian 12 connecting starts multipathd where it is stopped and its socket
//! is not. So nothing is asked before a registration on a map calls for it.

#![forbid(unsafe_code)]

use crate::protocol::multipath_conf::ReservationKeys;
use crate::protocol::multipathd::{
    HELP, LENGTH, Reply, Request, SHOW_CONFIGURATION, frame, reply_length, reply_text, version_in,
};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// Names another socket to multipath-tools 0.12 and later.
const ENVIRONMENT: &str = "MULTIPATH_SOCKET_NAME";
/// The socket of 0.12 and later.
const PATHNAME: &str = "/run/multipathd.socket";
/// The socket of every version, in the network namespace of multipathd.
const ABSTRACT: &str = "@/org/kernel/linux/storage/multipathd";
/// multipathd itself answers "timeout" after 4 s by default.
const TIMEOUT: Duration = Duration::from_secs(6);
/// Nothing is asked for this long after a connection was refused.
const PAUSE: Duration = Duration::from_secs(5);
/// Nothing is asked for this long after no answer came in time.
const PAUSE_AFTER_SILENCE: Duration = Duration::from_secs(30);
/// Commands at a time: multipathd runs them one after another anyway.
const CONCURRENT: usize = 4;

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For the answer to a command.
    pub answer: Duration,
    /// Before the next try, after a connection was refused or lost.
    pub refused: Duration,
    /// Before the next try, after an answer did not come.
    pub silent: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            answer: TIMEOUT,
            refused: PAUSE,
            silent: PAUSE_AFTER_SILENCE,
        }
    }
}

/// What has been asked, in numbers.
#[derive(Debug, Default)]
pub struct Counters {
    /// Commands that were answered.
    pub answered: AtomicU64,
    /// Commands that multipathd did not execute.
    pub refused: AtomicU64,
    /// Commands for which it could not be reached.
    pub unreachable: AtomicU64,
}

/// multipathd, as the units of this host share it.
#[derive(Debug)]
pub struct Multipathd {
    address: Option<PathBuf>,
    patience: Patience,
    breaker: Mutex<Breaker>,
    places: Semaphore,
    /// What has been asked.
    pub counters: Counters,
}

#[derive(Debug, Default)]
struct Breaker {
    /// Nothing is asked before.
    closed_until: Option<Instant>,
    /// That it cannot be reached has been said.
    announced: bool,
    /// Its version, as far as it was asked.
    version: Option<Option<String>>,
}

/// Why a command was not answered.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// Nobody listens: what multipathd knew is gone with it.
    #[error("not running: {0}")]
    Absent(io::Error),
    /// The connection failed or ended.
    #[error("{0}")]
    Lost(io::Error),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// It was one of these a moment ago, and was not asked again.
    #[error("not asked, for it could not be reached a moment ago")]
    Paused,
}

impl Default for Multipathd {
    fn default() -> Self {
        Multipathd::new(None, Patience::default())
    }
}

impl Multipathd {
    /// At this socket, or else where multipath-tools would look for it. A name
    /// that starts with `@` is an abstract one.
    pub fn new(address: Option<PathBuf>, patience: Patience) -> Self {
        Multipathd {
            address,
            patience,
            breaker: Mutex::default(),
            places: Semaphore::new(CONCURRENT),
            counters: Counters::default(),
        }
    }

    /// True while nothing is asked since the last try failed.
    pub fn is_paused(&self) -> bool {
        let closed_until = self.breaker().closed_until;
        closed_until.is_some_and(|until| Instant::now() < until)
    }

    /// When to try again, after a command was not answered.
    pub fn next_try(&self) -> Instant {
        let now = Instant::now();
        let closed_until = self.breaker().closed_until;
        closed_until.unwrap_or(now).max(now + self.patience.refused)
    }

    /// The version of multipath-tools that it is of, once it was asked.
    pub fn version(&self) -> Option<String> {
        self.breaker().version.clone().flatten()
    }

    /// True where it answers, and was not asked for its version yet.
    pub fn is_unmet(&self) -> bool {
        let answers = self.counters.answered.load(Ordering::Relaxed) > 0;
        answers && !self.is_paused() && self.breaker().version.is_none()
    }

    /// Asks for its version. There is no command for that: what is said to one
    /// that does not exist begins with it.
    pub async fn meet(&self) {
        if let Ok(text) = self.send(&frame(HELP)).await {
            self.breaker().version = Some(version_in(&text));
        }
    }

    /// Sends a command about a map and waits for the answer.
    ///
    /// # Errors
    /// [`Unreachable`], at once while [`Multipathd::is_paused`].
    pub async fn ask(&self, request: &Request) -> Result<Reply, Unreachable> {
        let text = self.send(&request.encode()).await?;
        let reply = request.parse(&text);
        tracing::debug!(%request, ?reply, "multipathd");
        if matches!(reply, Reply::Refused(_)) {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
        Ok(reply)
    }

    /// Asks which keys multipath.conf has; `None` where multipathd does not
    /// show it.
    ///
    /// # Errors
    /// As [`Multipathd::ask`].
    pub async fn reservation_keys(&self) -> Result<Option<ReservationKeys>, Unreachable> {
        let text = self.send(&frame(SHOW_CONFIGURATION)).await?;
        Ok(ReservationKeys::parse(&text))
    }

    async fn send(&self, request: &[u8]) -> Result<String, Unreachable> {
        // The semaphore is never closed.
        let _place = self.places.acquire().await;
        if self.is_paused() {
            return Err(Unreachable::Paused);
        }
        let answer = match timeout(self.patience.answer, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(Unreachable::Silent(self.patience.answer)),
        };
        match &answer {
            Ok(_) => {
                self.counters.answered.fetch_add(1, Ordering::Relaxed);
                self.reached();
            }
            Err(error) => {
                self.counters.unreachable.fetch_add(1, Ordering::Relaxed);
                self.missed(error);
            }
        }
        answer
    }

    async fn exchange(&self, request: &[u8]) -> Result<String, Unreachable> {
        let mut stream = self.connect().await?;
        let lost = Unreachable::Lost;
        stream.write_all(request).await.map_err(lost)?;
        let mut length = [0; LENGTH];
        stream.read_exact(&mut length).await.map_err(lost)?;
        let length = reply_length(length).ok_or_else(|| {
            lost(io::Error::new(
                io::ErrorKind::InvalidData,
                "a reply of impossible length",
            ))
        })?;
        let mut text = vec![0; length];
        stream.read_exact(&mut text).await.map_err(lost)?;
        Ok(reply_text(&text))
    }

    async fn connect(&self) -> Result<UnixStream, Unreachable> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for name in self.names() {
            match UnixStream::connect(address_of(&name)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        match last.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Err(Unreachable::Absent(last))
            }
            _ => Err(Unreachable::Lost(last)),
        }
    }

    /// Where it may listen, in the order of multipath-tools.
    fn names(&self) -> Vec<PathBuf> {
        if let Some(address) = &self.address {
            return vec![address.clone()];
        }
        names(std::env::var_os(ENVIRONMENT))
    }

    fn reached(&self) {
        let mut breaker = self.breaker();
        breaker.closed_until = None;
        if std::mem::take(&mut breaker.announced) {
            tracing::info!("multipathd answers again");
        }
    }

    fn missed(&self, error: &Unreachable) {
        let pause = match error {
            Unreachable::Silent(_) => self.patience.silent,
            _ => self.patience.refused,
        };
        let mut breaker = self.breaker();
        // It may be another one that comes back.
        breaker.version = None;
        breaker.closed_until = Some(Instant::now() + pause);
        if !std::mem::replace(&mut breaker.announced, true) {
            tracing::warn!(%error, "multipathd cannot be reached: commands work, but nobody \
                registers a path that returns before it is used");
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn names(environment: Option<OsString>) -> Vec<PathBuf> {
    match environment.filter(|name| !name.is_empty()) {
        Some(name) => vec![name.into()],
        None => vec![PATHNAME.into(), ABSTRACT.into()],
    }
}

/// The address as the kernel has it: an abstract name starts with a NUL.
fn address_of(name: &Path) -> PathBuf {
    match name.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(rest) => OsString::from_vec([b"\0", rest].concat()).into(),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides_where_multipathd_is() {
        assert_eq!(names(Some("@x".into())), [PathBuf::from("@x")]);
        for unset in [None, Some(OsString::new())] {
            let names = names(unset);
            assert_eq!(names[0], Path::new("/run/multipathd.socket"));
            assert_eq!(
                address_of(&names[1]).as_os_str().as_bytes(),
                b"\0/org/kernel/linux/storage/multipathd"
            );
        }
    }
}
