//! `reservd-pr-helper`: what QEMU is connected to while the daemon comes and goes.
//!
//! libvirt starts one for each machine, in the machine's mount namespace and
//! cgroup, where paths of a disk that appear later cannot be opened. So the work is
//! the daemon's, and this process only stands in between: it holds QEMU's
//! connections, which must never break, and asks the daemon over its control socket
//! ([`protocol::control`](crate::protocol::control)), one link for each client.
//!
//! **What is never lost, doubled or answered wrongly.** Both sides take requests and
//! replies as a whole, never bytes. The daemon says that a PERSISTENT RESERVE OUT
//! begins before it runs it. So when a link breaks,
//!
//! - a request that the daemon did not begin is sent to the next one, and so is a
//!   PERSISTENT RESERVE IN in any case, but five times at most, in case it is what ends
//!   the daemon (0B/00/06 then);
//! - a PERSISTENT RESERVE OUT that was begun is answered at once with COMMAND TIMEOUT
//!   DURING PROCESSING (0B/2E/02): its fate is unknown, and it is not sent again.
//!
//! **How long it waits.** The daemon answers within its deadline, counted from when
//! the request came here; it tells the deadline when a link is made. Where no answer
//! comes within a second more, because no daemon is there or it hangs, the client
//! hears COMMAND TIMEOUT BEFORE PROCESSING (0B/2E/01) if the daemon never had the
//! whole request, else 0B/2E/02. With 15 seconds by default that is well before a
//! guest's own limit of 30.
//!
//! **Without a daemon** on the host the commands are run in this process. That is
//! decided at the start, by the path of the control socket, and ends when a daemon
//! appears ([`vacancy`](crate::vacancy)): commands in flight are finished, and all
//! others go to the daemon from then on.
//!
//! **The socket** appears by rename, when nothing can fail any more. libvirt unlinks
//! it where it believes this process dead; it is made again, with the same owner and
//! mode, as long as its directory is there and nobody else's socket is in its place.
//! When the directory is gone and nobody is connected, the process ends.

pub mod fate;
mod machine;
pub mod relay;

use crate::protocol::codec::{Decoder, encode_reply, greeting};
use crate::server::line::take;
use crate::server::{Service, SessionError};
use crate::socket::{BoundSocket, Standing};
use crate::vacancy::{self, Vacancy};
use fate::Progress;
use relay::Relay;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{RwLock, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, interval, sleep};

/// A client may stop in the middle of a request for this long.
const HALF_REQUEST: Duration = Duration::from_secs(10);
/// Pause when the process is out of descriptors.
const EXHAUSTED: Duration = Duration::from_millis(100);
/// How often the path of the socket, and that of the daemon's, are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// At the end, commands in flight have this long.
const LAST: Duration = Duration::from_millis(900);

/// The commands are run in this process.
#[derive(Debug)]
pub struct Local {
    /// What runs them.
    pub service: Arc<Service>,
    /// What else works for it; holds the service too.
    pub task: JoinHandle<()>,
    /// That no daemon does so.
    pub vacancy: Vacancy,
}

impl Local {
    /// Gives everything up, and then the right to it.
    async fn end(self) {
        self.task.abort();
        // It was cancelled, which is no news.
        let _ = self.task.await;
        drop(self.service);
        drop(self.vacancy);
    }
}

/// Where clients come in.
#[derive(Debug)]
pub struct Entrance {
    /// The listening socket.
    pub listener: UnixListener,
    /// Its path, where it is ours to look after.
    pub bound: Option<BoundSocket>,
}

/// The process between QEMU and the daemon.
#[derive(Debug)]
pub struct Frontend {
    control: PathBuf,
    local: RwLock<Option<Local>>,
}

impl Frontend {
    /// Relays to the daemon with this control socket, unless it may run commands
    /// itself for the time being.
    pub fn new(control: PathBuf, local: Option<Local>) -> Self {
        Frontend {
            control,
            local: RwLock::new(local),
        }
    }

    /// Serves until `stop` turns true, and then answers what is in flight; or until
    /// the socket's directory is gone and nobody is connected.
    pub async fn serve(self: Arc<Self>, mut entrance: Entrance, mut stop: watch::Receiver<bool>) {
        let mut sessions = JoinSet::new();
        let mut look = interval(LOOK);
        loop {
            let stream = tokio::select! {
                stream = accept(&entrance.listener) => stream,
                _ = stop.wait_for(|stop| *stop) => break,
                Some(_) = sessions.join_next() => continue,
                _ = look.tick() => {
                    self.give_way();
                    if !entrance.is_of_use() && sessions.is_empty() {
                        tracing::info!("the socket's directory is gone, and all clients are");
                        break;
                    }
                    continue;
                }
            };
            let (frontend, stop) = (Arc::clone(&self), stop.clone());
            sessions.spawn(async move { frontend.attend(stream, stop).await });
        }
        // Nobody finds us any more.
        drop(entrance);
        while sessions.join_next().await.is_some() {}
        if let Some(local) = self.local.write().await.take() {
            local.end().await;
        }
    }

    /// Hands over to a daemon that has appeared.
    fn give_way(self: &Arc<Self>) {
        let serves = self.local.try_read().is_ok_and(|local| local.is_some());
        if serves && vacancy::is_there(&self.control) {
            let frontend = Arc::clone(self);
            tokio::spawn(async move {
                // Waits for what is in flight; what comes now waits behind us.
                let mut local = frontend.local.write().await;
                if let Some(local) = local.take() {
                    local.end().await;
                    tracing::warn!("a daemon has appeared; commands go to it from now on");
                }
            });
        }
    }

    async fn attend(&self, stream: UnixStream, stop: watch::Receiver<bool>) {
        let origin = machine::origin(&stream);
        let pid = origin.pid;
        tracing::debug!(pid, machine = origin.machine, "client connected");
        let relay = Relay::new(self.control.clone(), origin);
        match self.converse(stream, relay, stop).await {
            Err(SessionError::Io(error)) => tracing::debug!(pid, %error, "client lost"),
            Err(error) => tracing::warn!(pid, %error, "connection closed"),
            Ok(()) => tracing::debug!(pid, "client left"),
        }
    }

    async fn converse(
        &self,
        mut stream: UnixStream,
        mut relay: Relay,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), SessionError> {
        stream.write_all(&greeting()).await?;
        let mut decoder = Decoder::default();
        loop {
            let request = tokio::select! {
                biased;
                request = take(&stream, &mut decoder, HALF_REQUEST) => request?,
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                () = self.idle(&mut relay) => continue,
            };
            let Some(request) = request else {
                return Ok(());
            };
            let cdb = request.cdb;
            let local = self.local.read().await;
            let outcome = match &*local {
                Some(local) => {
                    let until = Instant::now() + local.service.deadline();
                    tokio::select! {
                        biased;
                        (outcome, _) = local.service.answer(request, until) => outcome,
                        () = enough(&mut stop) => fate::after_silence(Progress::Begun),
                    }
                }
                None => relay.answer(&request, enough(&mut stop)).await,
            };
            drop(local);
            let reply = encode_reply(&cdb, &outcome);
            tokio::select! {
                biased;
                written = stream.write_all(&reply) => written?,
                () = enough(&mut stop) => return Err(SessionError::Stalled),
            }
            // There may always be one more request.
            if *stop.borrow() {
                return Ok(());
            }
        }
    }

    /// Lets the daemon know of a client that asks nothing. Never ends.
    async fn idle(&self, relay: &mut Relay) {
        while self.local.read().await.is_some() {
            sleep(LOOK).await;
        }
        relay.idle().await;
    }
}

impl Entrance {
    /// Sees to it that the path leads here; false where there can be none.
    fn is_of_use(&mut self) -> bool {
        let Some(bound) = &mut self.bound else {
            return true;
        };
        match bound.standing() {
            Standing::Ours | Standing::Replaced => true,
            Standing::Vanished => {
                match bound.renew().and_then(UnixListener::from_std) {
                    Ok(listener) => {
                        tracing::warn!(path = %bound.path().display(), "socket made again");
                        self.listener = listener;
                    }
                    Err(error) => tracing::error!(%error, "socket not made again"),
                }
                true
            }
            Standing::NoDirectory => false,
        }
    }
}

/// Ends when a command in flight has had its time after the stop.
async fn enough(stop: &mut watch::Receiver<bool>) {
    // Nobody to tell us is as good as being told.
    let _ = stop.wait_for(|stop| *stop).await;
    sleep(LAST).await;
}

async fn accept(listener: &UnixListener) -> UnixStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "client not accepted");
                sleep(EXHAUSTED).await;
            }
        }
    }
}
