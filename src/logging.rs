//! Where log events go: the journal when it listens at standard error, else
//! standard error.
//!
//! That may be a pipe that nobody reads any more: libvirt closes it once the
//! socket is there. Then the journal gets them, and where there is none, a failed
//! write is no error.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{IsTerminal, stderr};
use std::os::fd::AsFd;
use std::os::linux::fs::MetadataExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{EnvFilter, dynamic_filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging at `level` (`warn`, `info`, …); the variable `RESERVD_LOG`,
/// in the syntax of tracing's `EnvFilter`, overrides it.
pub fn start(level: &str, name: &str) {
    let filter = EnvFilter::try_from_env("RESERVD_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let registry = tracing_subscriber::registry().with(filter);
    let connected = stderr_is_journal();
    let journal = tracing_journald::layer().ok().map(|layer| {
        layer
            .with_field_prefix(Some("RESERVD".into()))
            .with_syslog_identifier(name.into())
            .with_filter(dynamic_filter_fn(move |_, _| connected || is_unread()))
    });
    let terminal = (!connected || journal.is_none()).then(|| {
        tracing_subscriber::fmt::layer()
            .with_writer(stderr)
            .with_ansi(stderr().is_terminal())
            .with_target(false)
            .log_internal_errors(false)
            .with_filter(dynamic_filter_fn(|_, _| !is_unread()))
    });
    // Only a second call could fail, and the first one's choice stands.
    let _ = registry.with(journal).with(terminal).try_init();
}

/// systemd says by device and inode which stream is connected to the journal
/// (systemd.exec(5), JOURNAL_STREAM).
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let Ok(metadata) = std::fs::metadata("/proc/self/fd/2") else {
        return false;
    };
    stream == format!("{}:{}", metadata.st_dev(), metadata.st_ino())
}

/// True when standard error leads nowhere: a pipe without a reader, or closed.
fn is_unread() -> bool {
    let stderr = stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::empty())];
    let lost = PollFlags::POLLERR | PollFlags::POLLNVAL;
    poll(&mut fds, PollTimeout::ZERO).is_ok()
        && fds[0]
            .revents()
            .is_some_and(|events| events.intersects(lost))
}
