//! The helper socket and the control socket: one task for each connection.
//!
//! A session ends when the client leaves or breaks the protocol, and for no
//! other reason: QEMU takes a lost connection for a lost helper. Everything
//! else is answered with sense. Where the service manager keeps descriptors, a
//! client of the helper socket does not notice that the process is another one.

mod caller;
pub mod clients;
mod end;
mod ledger;
pub(crate) mod line;
mod origin;
pub mod store;

pub use origin::Origin;

use crate::device::identity::Refusal;
use crate::lun::registry::{Registry, Target};
use crate::lun::unit::Write;
use crate::protocol::codec::Request;
use crate::scsi::cdb::Direction;
use crate::scsi::{Command, Outcome, SenseCode};
use crate::sys::file;
use caller::Caller;
use clients::{Attended, Clients, Peer};
use end::End;
pub(crate) use end::SessionError;
use line::{Incoming, Line};
use nix::unistd::geteuid;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use store::{Kept, Store};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

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
    /// Where connections are kept for the next process.
    store: Option<Store>,
    violations: RateLimit,
}

/// By which socket a client comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// That of the helper protocol.
    Helper,
    /// That for relays.
    Control,
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
            store: None,
            violations: RateLimit::default(),
        }
    }

    /// Keeps connections in this store.
    pub fn keep_in(&mut self, store: Store) {
        self.store = Some(store);
    }

    /// Every request that starts from now on is answered within this.
    pub fn set_deadline(&self, deadline: Duration) {
        self.deadline
            .store(deadline.as_millis() as u64, Ordering::Relaxed);
    }

    /// Every request is answered within this.
    pub fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline.load(Ordering::Relaxed))
    }

    /// Accepts clients of the helper socket until `stop` turns true, then lets
    /// commands in flight end, each within its deadline.
    pub async fn serve(self: Arc<Self>, listener: UnixListener, stop: watch::Receiver<bool>) {
        self.serve_door(listener, Door::Helper, stop).await;
    }

    /// As [`Service::serve`], for either socket.
    pub async fn serve_door(
        self: Arc<Self>,
        listener: UnixListener,
        door: Door,
        mut stop: watch::Receiver<bool>,
    ) {
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
            sessions.spawn(async move { service.admit(stream, door, session, stop).await });
        }
        drop(listener);
        while sessions.join_next().await.is_some() {}
    }

    /// Goes on with clients that an earlier process has left, until `stop` turns
    /// true.
    pub async fn resume(self: Arc<Self>, kept: Vec<Kept>, stop: watch::Receiver<bool>) {
        let mut sessions = JoinSet::new();
        for Kept {
            number,
            stream,
            ledger,
        } in kept
        {
            let (service, stop) = (Arc::clone(&self), stop.clone());
            sessions.spawn(async move {
                let opened = stream
                    .set_nonblocking(true)
                    .and_then(|()| UnixStream::from_std(stream));
                match opened {
                    Ok(stream) => {
                        let caller = Caller::of(&stream, number);
                        let opening = async {
                            let peer = caller.peer(&stream);
                            let line = Line::resume(stream, ledger, service.half_request).await?;
                            Ok((line, peer))
                        };
                        service.host(opening, Some(number), caller, stop).await;
                    }
                    Err(error) => tracing::error!(%error, "client not taken over"),
                }
            });
        }
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

    /// Serves one client of the helper socket until it leaves or breaks the
    /// protocol, or until `stop` turns true between two requests. `session` is its
    /// number in the log.
    pub async fn attend(&self, stream: UnixStream, session: u64, stop: watch::Receiver<bool>) {
        self.admit(stream, Door::Helper, session, stop).await;
    }

    async fn admit(
        &self,
        stream: UnixStream,
        door: Door,
        session: u64,
        stop: watch::Receiver<bool>,
    ) {
        let caller = Caller::of(&stream, session);
        let Caller { pid, uid, .. } = caller;
        tracing::debug!(session, pid, uid, "client connected");
        let opening = async {
            let peer = caller.peer(&stream);
            match (door, &self.store) {
                (Door::Control, _) => self.greet_relay(stream, caller, peer.socket).await,
                (Door::Helper, Some(_)) => {
                    let line = Line::kept(stream, self.half_request).await?;
                    Ok((line, peer))
                }
                (Door::Helper, None) => {
                    let line = Line::plain(stream, self.half_request).await?;
                    Ok((line, peer))
                }
            }
        };
        self.host(opening, None, caller, stop).await;
    }

    /// Only root's relays, and those of our own user, may say for whom they speak.
    async fn greet_relay(
        &self,
        stream: UnixStream,
        Caller { session, uid, .. }: Caller,
        socket: String,
    ) -> Result<(Line, Peer), SessionError> {
        if !uid.is_some_and(|uid| uid == 0 || uid == geteuid().as_raw()) {
            return Err(SessionError::Stranger);
        }
        let (line, origin) = Line::relayed(stream, self.deadline(), self.half_request).await?;
        tracing::info!(
            session,
            pid = origin.pid,
            uid = origin.uid,
            machine = origin.machine,
            "relay connected"
        );
        let peer = Peer {
            pid: origin.pid,
            uid: origin.uid,
            socket,
            machine: origin.machine,
        };
        Ok((line, peer))
    }

    /// Serves one client from its `opening` on; `stored` is its number in the
    /// store, if it is there already.
    async fn host(
        &self,
        opening: impl Future<Output = Result<(Line, Peer), SessionError>>,
        stored: Option<u64>,
        Caller { session, pid, uid }: Caller,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut stored = stored;
        let end = self
            .open_and_converse(opening, &mut stored, &mut stop)
            .await;
        let stays = matches!(end, Ok(End::Stopped));
        if let (false, Some(store), Some(number)) = (stays, &self.store, stored) {
            store.forget(number);
        }
        match &end {
            Err(SessionError::Io(error)) => tracing::debug!(session, pid, %error, "client lost"),
            Err(error) if self.violations.allow() => {
                tracing::warn!(session, pid, uid, %error, "connection closed");
            }
            Err(_) => {}
            Ok(_) => tracing::debug!(session, pid, "client left"),
        }
    }

    async fn open_and_converse(
        &self,
        opening: impl Future<Output = Result<(Line, Peer), SessionError>>,
        stored: &mut Option<u64>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<End, SessionError> {
        let (line, peer) = tokio::select! {
            biased;
            opened = opening => opened?,
            _ = stop.wait_for(|stop| *stop) => return Ok(End::Stopped),
        };
        if let (None, Some(store), Some(keepsake)) = (&stored, &self.store, line.keepsake()) {
            *stored = store
                .keep(keepsake)
                .inspect_err(|error| tracing::warn!(%error, "a restart will lose a client"))
                .ok();
        }
        let attended = self.clients.welcome(peer);
        self.converse(line, &attended, stored, stop).await
    }

    async fn converse(
        &self,
        mut line: Line,
        attended: &Attended<'_>,
        stored: &mut Option<u64>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<End, SessionError> {
        loop {
            let incoming = tokio::select! {
                biased;
                () = attended.client.ended() => {
                    tracing::info!(client = attended.client.number, "disconnected, as demanded");
                    return Ok(End::Left);
                }
                incoming = line.receive() => incoming?,
                _ = stop.wait_for(|stop| *stop) => return Ok(End::Stopped),
            };
            let Some(Incoming { request, age }) = incoming else {
                return Ok(End::Left);
            };
            if line.keepsake().is_none()
                && let (Some(store), Some(number)) = (&self.store, stored.take())
            {
                store.forget(number);
            }
            let cdb = request.cdb;
            line.begin(cdb).await?;
            let until = Instant::now() + self.deadline().saturating_sub(age);
            let (outcome, target) = self.answer(request, until).await;
            attended.answered(&self.registry, cdb, target, &outcome);
            tokio::select! {
                biased;
                written = line.reply(&cdb, &outcome) => written?,
                () = self.patience_after(stop) => return match line.keepsake() {
                    // The next process sends the rest.
                    Some(_) => Ok(End::Stopped),
                    None => Err(SessionError::Stalled),
                },
            }
            // There may always be one more request.
            if *stop.borrow() {
                return Ok(End::Stopped);
            }
        }
    }

    /// At the end, a client that does not take its reply is not waited for.
    async fn patience_after(&self, stop: &mut watch::Receiver<bool>) {
        // Nobody to tell us is as good as being told.
        let _ = stop.wait_for(|stop| *stop).await;
        sleep(self.half_request).await;
    }

    /// The outcome of one request, and where it went; always there by `until`.
    pub async fn answer(
        &self,
        request: Request<OwnedFd>,
        until: Instant,
    ) -> (Outcome, Option<Target>) {
        let Request {
            cdb,
            parameters,
            device,
        } = request;
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
