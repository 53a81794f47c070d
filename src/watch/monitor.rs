//! Hears the messages of the kernel and of udevd.
//!
//! In a container with a network namespace of its own nothing may ever arrive,
//! and nothing says so. The watcher is one way to know sooner, never the only
//! way to know.

use super::batch::Batch;
use super::event::{Group, Properties, hint};
use crate::sys::readiness::readable;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};
use udev::{MonitorBuilder, MonitorSocket};

/// Bytes of messages that may wait. A message takes about 2 KiB, and a fabric
/// that comes back sends a dozen for each path.
const BUFFER: usize = 16 << 20;
/// How long a batch is held for what belongs to it.
const BURST: Duration = Duration::from_millis(8);
/// Messages taken from one group before the other has its turn.
const TURN: usize = 256;
/// udevd's, for as long as it runs.
const UDEVD: &str = "/run/udev/control";

/// Both groups.
#[derive(Debug)]
pub struct Monitor {
    kernel: Source,
    udev: Source,
    pending: Batch,
    /// When `pending` is to be handed over.
    due: Option<Instant>,
}

impl Monitor {
    /// Listens from now on. What is missing is logged once; without any group
    /// there will be no batch.
    ///
    /// Must run in a tokio runtime with I/O and time.
    pub fn start() -> Self {
        Monitor::with_buffer(BUFFER)
    }

    /// As [`Monitor::start`]; `bytes` of messages may wait in each group.
    pub fn with_buffer(bytes: usize) -> Self {
        let [kernel, udev] = [Group::Kernel, Group::Udev].map(|group| open(group, bytes));
        Monitor::of(kernel, udev, Path::new(UDEVD).exists())
    }

    fn of(kernel: io::Result<Socket>, udev: io::Result<Socket>, has_udevd: bool) -> Self {
        let missing = match (&kernel, &udev) {
            (Ok(_), Ok(_)) if has_udevd => None,
            (Ok(_), Ok(_)) => Some("udevd does not run".to_owned()),
            (Ok(_), Err(error)) => Some(format!("none from udev: {error}")),
            (Err(error), Ok(_)) => Some(format!("none from the kernel: {error}")),
            (Err(kernel), Err(udev)) => Some(format!("kernel: {kernel}; udev: {udev}")),
        };
        if let Some(missing) = missing {
            tracing::warn!(
                "events of devices are missing ({missing}): some changes are found by the \
                 regular check only"
            );
        }
        Monitor {
            kernel: Source::new(Group::Kernel, kernel.ok()),
            udev: Source::new(Group::Udev, udev.ok()),
            pending: Batch::default(),
            due: None,
        }
    }

    /// Waits for hints, and at most 10 ms more for those that come with them.
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Batch {
        while self.pending.is_empty() {
            tokio::select! {
                () = self.kernel.readable() => {}
                () = self.udev.readable() => {}
            }
            self.drain();
        }
        let due = *self.due.get_or_insert_with(|| Instant::now() + BURST);
        sleep_until(due).await;
        self.drain();
        self.due = None;
        std::mem::take(&mut self.pending)
    }

    fn drain(&mut self) {
        self.kernel.drain(&mut self.pending);
        self.udev.drain(&mut self.pending);
    }
}

/// One group's socket, as libudev reads it and as tokio waits for it.
struct Socket {
    netlink: MonitorSocket,
    ready: AsyncFd<OwnedFd>,
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Socket").field(&self.ready).finish()
    }
}

/// One group.
#[derive(Debug)]
struct Source {
    group: Group,
    socket: Option<Socket>,
    /// That a message could not be read has been said.
    announced: bool,
}

impl Source {
    fn new(group: Group, socket: Option<Socket>) -> Self {
        Source {
            group,
            socket,
            announced: false,
        }
    }

    /// Waits for a message, or an error, that [`Source::drain`] will take.
    async fn readable(&mut self) {
        if let Some(socket) = &mut self.socket {
            // An error says that the runtime ends.
            while let Ok(mut guard) = socket.ready.readable().await {
                if has_message(&socket.netlink) {
                    return;
                }
                guard.clear_ready();
            }
        }
        std::future::pending().await
    }

    /// Takes what has come, without waiting.
    fn drain(&mut self, batch: &mut Batch) {
        let Some(Socket { netlink, .. }) = &self.socket else {
            return;
        };
        let mut unreadable = 0;
        for _ in 0..TURN {
            // libudev passes over what its filter refuses, so it must not be
            // asked before there is something, nor be believed that there is
            // nothing more.
            if !has_message(netlink) {
                return;
            }
            if let Some(event) = netlink.iter().next() {
                if let Some(hint) = hint(self.group, &properties(&event)) {
                    batch.push(hint);
                }
                continue;
            }
            match Errno::last() {
                // Not from the kernel or udevd, or filtered out.
                Errno::EAGAIN | Errno::EINTR => {}
                Errno::ENOBUFS => {
                    tracing::debug!(group = ?self.group, "events of devices were lost");
                    batch.overflow = true;
                }
                error => {
                    unreadable += 1;
                    if !std::mem::replace(&mut self.announced, true) {
                        batch.overflow = true;
                        tracing::warn!(group = ?self.group, %error, "an event of a device \
                            could not be read");
                    }
                }
            }
        }
        // Not one could be read: this would go on for ever.
        if unreadable == TURN {
            self.socket = None;
            batch.overflow = true;
            tracing::warn!(group = ?self.group, "events of devices are no longer heard");
        }
    }
}

/// A message or an error waits.
fn has_message(netlink: &MonitorSocket) -> bool {
    let mut ready = [PollFd::new(netlink.as_fd(), PollFlags::POLLIN)];
    poll(&mut ready, PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

fn open(group: Group, bytes: usize) -> io::Result<Socket> {
    let builder = match group {
        Group::Kernel => MonitorBuilder::new_kernel(),
        Group::Udev => MonitorBuilder::new(),
    }?;
    let builder = builder
        .match_subsystem_devtype("block", "disk")?
        .match_subsystem_devtype("scsi", "scsi_device")?;
    // Without CAP_NET_ADMIN the kernel gives up to net.core.rmem_max.
    if setsockopt(&builder, sockopt::RcvBufForce, &bytes).is_err() {
        setsockopt(&builder, sockopt::RcvBuf, &bytes)?;
    }
    let netlink = builder.listen()?;
    let ready = readable(netlink.as_fd().try_clone_to_owned()?)?;
    Ok(Socket { netlink, ready })
}

fn properties(event: &udev::Event) -> Properties {
    let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    event
        .properties()
        .map(|entry| (text(entry.name()), text(entry.value())))
        .collect()
}

#[cfg(test)]
mod tests;
