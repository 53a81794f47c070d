//! Where log events go: the journal when it listens, else standard error.
//!
//! Standard error may be a closed pipe (libvirt closes it once the socket is
//! there), so a failed write is never an error.

use std::io::{IsTerminal, stderr};
use std::os::linux::fs::MetadataExt;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging at `level` (`warn`, `info`, …); the variable `RESERVD_LOG`,
/// in the syntax of tracing's `EnvFilter`, overrides it.
pub fn start(level: &str, name: &str) {
    let filter = EnvFilter::try_from_env("RESERVD_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let registry = tracing_subscriber::registry().with(filter);
    let journal = tracing_journald::layer()
        .ok()
        .filter(|_| stderr_is_journal())
        .map(|layer| {
            layer
                .with_field_prefix(Some("RESERVD".into()))
                .with_syslog_identifier(name.into())
        });
    let terminal = journal.is_none().then(|| {
        tracing_subscriber::fmt::layer()
            .with_writer(stderr)
            .with_ansi(stderr().is_terminal())
            .with_target(false)
            .log_internal_errors(false)
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
