//! Sockets handed over by systemd (sd_listen_fds(3)).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// The sockets systemd passed to this process, and their names; empty when it
/// passed none. To be called once, before anything else opens files.
///
/// # Errors
/// A malformed environment.
pub fn inherited_sockets() -> io::Result<Vec<(OwnedFd, String)>> {
    if std::env::var_os("LISTEN_PID").is_none() {
        return Ok(Vec::new());
    }
    let sockets = sd_notify::listen_fds_with_names()?;
    Ok(sockets
        .map(|(raw, name)| {
            // SAFETY: the service manager opened this descriptor for us before
            // exec and nobody else in the process knows of it; listen_fds checked
            // LISTEN_PID, and the caller asks once.
            (unsafe { OwnedFd::from_raw_fd(raw) }, name)
        })
        .collect())
}
