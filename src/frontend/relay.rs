//! One client's connection to the daemon, made again whenever it is lost.

use super::fate::{self, Progress};
use crate::config::Commands;
use crate::protocol::client::ReplyHeader;
use crate::protocol::codec::Request;
use crate::protocol::control::{BEGUN, MILLISECONDS, Origin, REPLY};
use crate::protocol::control::{encode_milliseconds, parse_milliseconds};
use crate::protocol::{CDB_FIELD, REPLY_HEADER};
use crate::scsi::Outcome;
use crate::sys::fdpass;
use nix::unistd::geteuid;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout_at};

/// Pause before a request is sent again.
const RETRY: Duration = Duration::from_millis(50);
/// Pause before a daemon is looked for again when nobody asks for anything.
const IDLE_RETRY: Duration = Duration::from_secs(1);
/// The daemon's own deadline comes first: it knows more.
const GRACE: Duration = Duration::from_secs(1);

/// What stands between one client and the daemon.
#[derive(Debug)]
pub struct Relay {
    control: PathBuf,
    origin: Origin,
    link: Option<UnixStream>,
    /// In which the daemon answers, as it last said.
    deadline: Duration,
}

impl Relay {
    /// For this client, to the daemon whose control socket is there.
    pub fn new(control: PathBuf, origin: Origin) -> Self {
        Relay {
            control,
            origin,
            link: None,
            deadline: Commands::default().deadline,
        }
    }

    /// Stays connected while the client asks nothing, so that the daemon knows of
    /// it. Never ends.
    pub async fn idle(&mut self) {
        loop {
            let until = Instant::now() + self.deadline;
            if timeout_at(until, self.connect())
                .await
                .is_ok_and(|c| c.is_ok())
            {
                self.lost().await;
            }
            self.link = None;
            sleep(IDLE_RETRY).await;
        }
    }

    /// Waits until the link is of no use any more.
    async fn lost(&self) {
        let Some(link) = &self.link else { return };
        // Between two requests the daemon says nothing.
        let silent = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        while link.readable().await.is_ok() && link.try_read(&mut [0]).is_err_and(|e| silent(&e)) {}
    }

    /// The outcome of one request: within the daemon's deadline and [`GRACE`], or as
    /// soon as `enough` ends.
    pub async fn answer(
        &mut self,
        request: &Request<OwnedFd>,
        enough: impl Future<Output = ()>,
    ) -> Outcome {
        let mut progress = Progress::Waiting;
        let answered = tokio::select! {
            biased;
            outcome = self.insist(request, &mut progress) => Some(outcome),
            () = enough => None,
        };
        answered.unwrap_or_else(|| {
            self.link = None;
            fate::after_silence(progress)
        })
    }

    async fn insist(&mut self, request: &Request<OwnedFd>, progress: &mut Progress) -> Outcome {
        let (arrived, direction) = (Instant::now(), request.cdb.direction());
        let mut sent = 0;
        loop {
            *progress = Progress::Waiting;
            let connected = timeout_at(self.until(arrived), self.connect()).await;
            let tried = match connected {
                Ok(Ok(())) => {
                    let until = self.until(arrived);
                    timeout_at(until, self.exchange(request, arrived, progress)).await
                }
                Ok(Err(error)) => Ok(Err(error)),
                Err(elapsed) => Err(elapsed),
            };
            match tried {
                Ok(Ok(outcome)) => return outcome,
                Ok(Err(error)) => {
                    self.link = None;
                    sent += u32::from(*progress != Progress::Waiting);
                    tracing::debug!(%error, ?progress, sent, "the daemon is away");
                    if let Some(outcome) = fate::after_loss(direction, *progress, sent) {
                        tracing::warn!(%error, %outcome, "the daemon ended during a command");
                        return outcome;
                    }
                    sleep(RETRY).await;
                }
                Err(_) => {
                    self.link = None;
                    let outcome = fate::after_silence(*progress);
                    tracing::error!(%outcome, "the daemon does not answer");
                    return outcome;
                }
            }
        }
    }

    fn until(&self, arrived: Instant) -> Instant {
        arrived + self.deadline + GRACE
    }

    /// Connects, unless there is a link.
    async fn connect(&mut self) -> io::Result<()> {
        if self.link.is_some() {
            return Ok(());
        }
        let mut stream = UnixStream::connect(&self.control).await?;
        let uid = stream.peer_cred()?.uid();
        if uid != 0 && uid != geteuid().as_raw() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        stream.write_all(&self.origin.encode()).await?;
        let mut welcome = [0; MILLISECONDS];
        stream.read_exact(&mut welcome).await?;
        self.deadline = parse_milliseconds(welcome);
        self.link = Some(stream);
        Ok(())
    }

    async fn exchange(
        &mut self,
        request: &Request<OwnedFd>,
        arrived: Instant,
        progress: &mut Progress,
    ) -> io::Result<Outcome> {
        let link = self.link.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let mut bytes = Vec::with_capacity(CDB_FIELD + request.parameters.len() + MILLISECONDS);
        bytes.extend_from_slice(request.cdb.as_wire_bytes());
        bytes.extend_from_slice(&request.parameters);
        bytes.extend_from_slice(&encode_milliseconds(arrived.elapsed()));
        let mut done = 0;
        while done < bytes.len() {
            let device = (done == 0).then(|| request.device.as_fd());
            let send = || fdpass::send(link.as_fd(), &bytes[done..], device);
            done += link.async_io(Interest::WRITABLE, send).await?;
        }
        *progress = Progress::Sent;
        loop {
            match link.read_u8().await? {
                BEGUN => *progress = Progress::Begun,
                REPLY => break,
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        let mut header = [0; REPLY_HEADER];
        link.read_exact(&mut header).await?;
        let header = ReplyHeader::parse(&header)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let mut data = vec![0; header.payload];
        link.read_exact(&mut data).await?;
        Ok(header.with_data(data))
    }
}
