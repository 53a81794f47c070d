//! The helper socket: one task for each connection.
//!
//! A session ends when the client leaves or breaks the protocol, and for no
//! other reason: QEMU takes a lost connection for a lost helper. Everything
//! else is answered with sense.

pub mod clients;
mod origin;

pub use origin::Origin;

use crate::device::identity::Refusal;
use crate::lun::registry::{Registry, Target};
use crate::lun::unit::Write;
use crate::protocol::codec::{Decoder, Request, Violation, encode_reply, greeting};
use crate::scsi::cdb::Direction;
use crate::scsi::{Cdb, Command, Outcome, SenseCode};
use crate::socket::known_as;
use crate::sys::{fdpass, file};
use clients::{Attended, Clients, Peer};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

/// How long a client may stop in the middle of a request.
const HALF_REQUEST: Duration = Duration::from_secs(10);
/// Pause when the process is out of descriptors.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// What sessions need, and the bounds they keep.
#[derive(Debug)]
pub struct Service {
    /// Where devices are found.
    pub registry: Registry,
    /// Who is connected.
    pub clients: Clients,
    deadline: AtomicU64,
    /// Connections at a time on each socket; more wait to be accepted.
    connections: usize,
    /// A client that is still in the middle of a request after this is given
    /// up, as is one that takes no replies when the service is to end. Between
    /// requests it may be silent for ever.
    pub half_request: Duration,
    violations: RateLimit,
}

impl Service {
    /// A service with these bounds.
    pub fn new(registry: Registry, deadline: Duration, connections: usize) -> Self {
        Service {
            registry,
            clients: Clients::default(),
            deadline: AtomicU64::new(deadline.as_millis() as u64),
            connections,
            half_request: HALF_REQUEST,
            violations: RateLimit::default(),
        }
    }

    /// Every request that starts from now on is answered within this.
    pub fn set_deadline(&self, deadline: Duration) {
        self.deadline
            .store(deadline.as_millis() as u64, Ordering::Relaxed);
    }

    /// Accepts clients until `stop` turns true, then lets commands in flight
    /// end, each within its deadline.
    pub async fn serve(self: Arc<Self>, listener: UnixListener, mut stop: watch::Receiver<bool>) {
        let mut sessions = JoinSet::new();
        let mut number = 0u64;
        loop {
            let stream = tokio::select! {
                stream = self.accept(&listener), if sessions.len() < self.connections => stream,
                _ = stop.wait_for(|stop| *stop) => break,
                Some(_) = sessions.join_next() => continue,
            };
            number += 1;
            let (service, stop, session) = (Arc::clone(&self), stop.clone(), number);
            sessions.spawn(async move { service.attend(stream, session, stop).await });
        }
        drop(listener);
        while sessions.join_next().await.is_some() {}
    }

    async fn accept(&self, listener: &UnixListener) -> UnixStream {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) => {
                    if self.violations.allow() {
                        tracing::warn!(%error, "client not accepted");
                    }
                    sleep(EXHAUSTED).await;
                }
            }
        }
    }

    /// Serves one client until it leaves or breaks the protocol, or until `stop`
    /// turns true between two requests. `session` is its number in the log.
    pub async fn attend(&self, stream: UnixStream, session: u64, stop: watch::Receiver<bool>) {
        let peer = stream.peer_cred().ok();
        let pid = peer.as_ref().and_then(tokio::net::unix::UCred::pid);
        let uid = peer.as_ref().map(tokio::net::unix::UCred::uid);
        tracing::debug!(session, pid, uid, "client connected");
        let address = stream.local_addr().ok();
        let socket = address.as_ref().and_then(|address| address.as_pathname());
        let attended = self.clients.welcome(Peer {
            pid: pid.and_then(|pid| pid.try_into().ok()).unwrap_or_default(),
            uid: uid.unwrap_or_default(),
            socket: socket.map_or_else(String::new, |path| known_as(path).display().to_string()),
        });
        let end = self.converse(stream, stop, &attended).await;
        match &end {
            Err(SessionError::Violation(_) | SessionError::Stalled) => {
                if self.violations.allow() {
                    let error = end.as_ref().err().map(ToString::to_string);
                    tracing::warn!(session, pid, uid, error, "connection closed");
                }
            }
            Err(SessionError::Io(error)) => tracing::debug!(session, pid, %error, "client lost"),
            Ok(()) => tracing::debug!(session, pid, "client left"),
        }
    }

    async fn converse(
        &self,
        mut stream: UnixStream,
        mut stop: watch::Receiver<bool>,
        attended: &Attended<'_>,
    ) -> Result<(), SessionError> {
        stream.write_all(&greeting()).await?;
        let mut decoder = Decoder::default();
        loop {
            let request = tokio::select! {
                biased;
                () = attended.client.ended() => {
                    tracing::info!(client = attended.client.number, "disconnected, as demanded");
                    return Ok(());
                }
                request = self.receive(&stream, &mut decoder) => request?,
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            };
            let Some(Request {
                cdb,
                parameters,
                device,
            }) = request
            else {
                return Ok(());
            };
            let (outcome, target) = self.answer(cdb, parameters, device).await;
            attended.answered(&self.registry, cdb, target, &outcome);
            let reply = encode_reply(&cdb, &outcome);
            tokio::select! {
                biased;
                written = stream.write_all(&reply) => written?,
                () = self.patience_after(&mut stop) => return Err(SessionError::Stalled),
            }
            // There may always be one more request.
            if *stop.borrow() {
                return Ok(());
            }
        }
    }

    /// At the end, a client that does not take its reply is not waited for.
    async fn patience_after(&self, stop: &mut watch::Receiver<bool>) {
        // Nobody to tell us is as good as being told.
        let _ = stop.wait_for(|stop| *stop).await;
        sleep(self.half_request).await;
    }

    /// Reads up to the end of a request; `None` when the client has left.
    async fn receive(
        &self,
        stream: &UnixStream,
        decoder: &mut Decoder<OwnedFd>,
    ) -> Result<Option<Request<OwnedFd>>, SessionError> {
        let mut buffer = [0; 1024];
        let mut patience = None;
        loop {
            let length = decoder.wanted().min(buffer.len());
            let chunk = async {
                let window = &mut buffer[..length];
                stream
                    .async_io(Interest::READABLE, || {
                        fdpass::receive(stream.as_fd(), window)
                    })
                    .await
            };
            let received = if decoder.is_idle() {
                patience = None;
                chunk.await?
            } else {
                let until = *patience.get_or_insert_with(|| Instant::now() + self.half_request);
                timeout_at(until, chunk)
                    .await
                    .map_err(|_| SessionError::Stalled)??
            };
            if received.truncated {
                return Err(Violation::ExtraDescriptor.into());
            }
            if received.length == 0 {
                return Ok(None);
            }
            let request = decoder.feed(&buffer[..received.length], received.descriptors)?;
            if request.is_some() {
                return Ok(request);
            }
        }
    }

    /// The outcome of one request; always there within the deadline.
    async fn answer(
        &self,
        cdb: Cdb,
        parameters: Vec<u8>,
        device: OwnedFd,
    ) -> (Outcome, Option<Target>) {
        let deadline = Duration::from_millis(self.deadline.load(Ordering::Relaxed));
        let until = Instant::now() + deadline;
        // A client that may only read the device may not change its reservations,
        // and one that only knows its name may not read them.
        let (permitted, refusal) = match cdb.direction() {
            // What an ioctl on such a descriptor comes to.
            Direction::In => (
                file::is_usable(device.as_fd()),
                SenseCode::IO_PROCESS_TERMINATED,
            ),
            Direction::Out => (file::is_writable(device.as_fd()), SenseCode::INVALID_OPCODE),
        };
        if !permitted.unwrap_or(false) {
            return (Outcome::check(refusal), None);
        }
        let target = match self.registry.resolve(device) {
            Ok(target) => target,
            Err(refusal) => return (self.refuse(&refusal), None),
        };
        let outcome = match cdb.command(&parameters) {
            Ok(Command::In(command)) => target.lun.read(&target.route, command, until).await,
            Ok(Command::Out(command)) => {
                let write = Write {
                    command,
                    cdb,
                    parameters,
                };
                let route = target.route.clone();
                target.lun.write(route, write, until).await
            }
            Err(code) => Outcome::check(code),
        };
        (outcome, Some(target))
    }

    fn refuse(&self, refusal: &Refusal) -> Outcome {
        if self.violations.allow() {
            tracing::warn!(%refusal, "device refused");
        }
        Outcome::check(refusal.sense())
    }
}

/// Why a session ended early.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("client {0}")]
    Violation(#[from] Violation),
    #[error("client stopped in the middle of a request or a reply")]
    Stalled,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Lets through one event a second, so that no client can flood the log.
#[derive(Debug, Default)]
struct RateLimit(AtomicU64);

impl RateLimit {
    fn allow(&self) -> bool {
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
            .map_or(1, |time| time.tv_sec() as u64 + 1);
        self.0.swap(now, Ordering::Relaxed) != now
    }
}
