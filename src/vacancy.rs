//! That no logical unit has two owners on this host: a front-end serves by itself
//! only where no daemon is, and a daemon begins only when none does so any more.
//!
//! The daemon's control socket at its path says that a daemon is there, or comes
//! back. A front-end that serves by itself holds a shared lock on a file beside that
//! path, for as long as it does. The order makes it sound:
//!
//! - the front-end takes the lock first and then looks for the path ([`Vacancy`]);
//! - the daemon makes the path first and then waits for the lock to be free
//!   ([`wait`]).
//!
//! So one of the two sees the other, whoever comes first. A front-end that finds the
//! path later answers what is in flight, gives up the lock and relays from then on.
//! It never goes the other way: a daemon that is away comes back.
//!
//! Front-ends that serve by themselves do not exclude each other, nor did the old
//! helper, which libvirt starts for each machine as well.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often the lock is tried.
const RETRY: Duration = Duration::from_millis(50);

/// The right to serve by oneself, until it is dropped.
#[derive(Debug)]
pub struct Vacancy {
    /// `None` where the lock cannot be had for lack of rights; who may not write
    /// there may not send a PERSISTENT RESERVE OUT either.
    _lock: Option<File>,
}

impl Vacancy {
    /// Takes it where no daemon is at `control`; `None` where one is.
    ///
    /// # Errors
    /// Those of open(2) and flock(2), but for lack of rights.
    pub fn take(control: &Path) -> io::Result<Option<Self>> {
        let lock = match open(control) {
            Ok(file) => match file.try_lock_shared() {
                Ok(()) => Some(file),
                // A daemon is just starting.
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            },
            Err(error) if is_forbidden(&error) => None,
            Err(error) => return Err(error),
        };
        let vacancy = Vacancy { _lock: lock };
        Ok((!is_there(control)).then_some(vacancy))
    }
}

/// True where a daemon is, or comes back.
pub fn is_there(control: &Path) -> bool {
    fs::symlink_metadata(control).is_ok()
}

/// Waits until no front-end serves by itself; false when that takes longer.
///
/// # Errors
/// Those of open(2) and flock(2).
pub async fn wait(control: &Path, patience: Duration) -> io::Result<bool> {
    let file = open(control)?;
    let until = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(RETRY).await,
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

fn open(control: &Path) -> io::Result<File> {
    let path = lock_path(control);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // Others must not be able to hold it up.
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn lock_path(control: &Path) -> PathBuf {
    control.with_extension("lock")
}

fn is_forbidden(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_daemon_waits_for_front_ends_and_they_give_way_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let control = folder.path().join("run/control.sock");
        let first = Vacancy::take(&control)
            .unwrap()
            .expect("no daemon is there");
        let second = Vacancy::take(&control).unwrap().expect("two may serve");
        fs::write(&control, "").unwrap();
        assert!(Vacancy::take(&control).unwrap().is_none());
        let brief = Duration::from_millis(60);
        assert!(!wait(&control, brief).await.unwrap());
        drop(first);
        assert!(!wait(&control, brief).await.unwrap());
        drop(second);
        assert!(wait(&control, brief).await.unwrap());
    }
}
