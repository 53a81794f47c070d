//! One worker process: started, spoken to, ended.
//!
//! Parent and worker speak the helper protocol over a socket pair, the worker
//! as the helper. Byte 2 of a reply, which is always zero in that protocol,
//! carries the library's return code.

use super::code::Code;
use super::{Launch, log};
use crate::protocol::client::ReplyHeader;
use crate::protocol::codec::SUPPORTED_FEATURES;
use crate::protocol::{FEATURES_LENGTH, REPLY_HEADER};
use crate::scsi::{Outcome, PrOut};
use crate::sys::fdpass;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{ExitStatus, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

/// What makes a program of ours a worker; its first argument.
pub const FLAG: &str = "--mpath-worker";
/// With [`FLAG`]: say what the library is, and end.
pub const PROBE: &str = "--probe";
/// Where in a reply the library's return code stands.
pub const CODE_BYTE: usize = 2;

/// What the service manager told the daemon is not for the worker.
const PRIVATE: [&str; 5] = [
    "NOTIFY_SOCKET",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "WATCHDOG_USEC",
];

/// A running worker.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    stream: UnixStream,
}

/// How a command got lost on its way.
#[derive(Debug)]
pub(super) enum Lost {
    /// The worker cannot have started on it.
    Before(io::Error),
    /// The worker may have run it.
    After(io::Error),
}

/// A command line for a worker, with nothing to write to yet.
pub(super) fn command(launch: &Launch) -> Command {
    let mut command = Command::new(&launch.program);
    command
        .arg(FLAG)
        .current_dir("/")
        .envs(launch.environment.iter().map(|(name, value)| (name, value)))
        .kill_on_drop(true);
    for name in PRIVATE {
        command.env_remove(name);
    }
    command
}

impl Process {
    /// Starts a worker; it is ready once [`Process::greet`] is done.
    pub(super) fn start(launch: &Launch) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        let (output, input) = io::pipe()?;
        let mut command = command(launch);
        command
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(input.try_clone()?))
            .stderr(Stdio::from(input));
        let child = command.spawn()?;
        // Ours alone now: the end of the pipe is the end of the worker.
        drop(command);
        log::forward(child.id(), OwnedFd::from(output))?;
        ours.set_nonblocking(true)?;
        Ok(Process {
            child,
            stream: UnixStream::from_std(ours)?,
        })
    }

    /// Waits until the library is initialised.
    pub(super) async fn greet(&mut self) -> io::Result<()> {
        let mut offered = [0; FEATURES_LENGTH];
        self.stream.read_exact(&mut offered).await?;
        self.stream
            .write_all(&SUPPORTED_FEATURES.to_be_bytes())
            .await
    }

    /// Runs one command.
    pub(super) async fn run(
        &mut self,
        map: BorrowedFd<'_>,
        command: &PrOut,
    ) -> Result<(Outcome, Code), Lost> {
        let (cdb, parameters) = command.encode();
        // The request is whole, and started on, with its last byte only.
        self.send(cdb.as_wire_bytes(), Some(map))
            .await
            .map_err(Lost::Before)?;
        self.send(&parameters, None).await.map_err(Lost::Before)?;
        let mut header = [0; REPLY_HEADER];
        self.stream
            .read_exact(&mut header)
            .await
            .map_err(Lost::After)?;
        let code = Code(header[CODE_BYTE].cast_signed());
        let reply = ReplyHeader::parse(&header)
            .ok()
            .filter(|reply| reply.payload == 0)
            .ok_or_else(|| Lost::After(io::ErrorKind::InvalidData.into()))?;
        Ok((reply.with_data(Vec::new()), code))
    }

    async fn send(&self, mut bytes: &[u8], mut map: Option<BorrowedFd<'_>>) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self
                .stream
                .async_io(Interest::WRITABLE, || {
                    fdpass::send(self.stream.as_fd(), bytes, map)
                })
                .await?;
            bytes = &bytes[sent..];
            map = None;
        }
        Ok(())
    }

    /// Its process id, while it is not reaped.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// How it ended, where it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Kills it, and returns what there is to wait for: a process whose ioctl
    /// hangs in the kernel only goes when that returns.
    pub(super) fn kill(mut self) -> Child {
        // It may have ended by itself.
        let _ = self.child.start_kill();
        self.child
    }
}
