//! The service manager's store of descriptors (sd_notify(3), FDSTORE): what is in
//! it is still open when the next process starts.

use sd_notify::NotifyState;
use std::collections::HashMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names of kept connections begin so; what follows is a number.
const PREFIX: &str = "client-";

/// Gives connections into the keeping of the service manager.
#[derive(Debug, Default)]
pub struct Store {
    last: AtomicU64,
}

/// A connection that an earlier process has left.
#[derive(Debug)]
pub struct Kept {
    pub(super) number: u64,
    pub(super) stream: UnixStream,
    pub(super) ledger: OwnedFd,
}

impl Store {
    /// True for the names that the store gives.
    pub fn is_name(name: &str) -> bool {
        name.starts_with(PREFIX)
    }

    /// Sorts out what an earlier process has left. Connections whose client has
    /// left meanwhile are no longer there; what remains of them is forgotten.
    pub fn take_up(&self, left: Vec<(OwnedFd, String)>) -> Vec<Kept> {
        let mut halves: HashMap<u64, (Option<UnixStream>, Option<OwnedFd>)> = HashMap::new();
        for (descriptor, name) in left {
            let Some(number) = name.strip_prefix(PREFIX).and_then(|n| n.parse().ok()) else {
                continue;
            };
            self.last.fetch_max(number, Ordering::Relaxed);
            let entry = halves.entry(number).or_default();
            match is_socket(&descriptor) {
                true => entry.0 = Some(descriptor.into()),
                false => entry.1 = Some(descriptor),
            }
        }
        let mut kept = Vec::new();
        for (number, halves) in halves {
            match halves {
                (Some(stream), Some(ledger)) => kept.push(Kept {
                    number,
                    stream,
                    ledger,
                }),
                _ => self.forget(number),
            }
        }
        kept.sort_by_key(|kept| kept.number);
        kept
    }

    /// Keeps these two; returns the number to forget them by.
    pub(super) fn keep(&self, descriptors: [BorrowedFd<'_>; 2]) -> io::Result<u64> {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let name = format!("{PREFIX}{number}");
        let states = [NotifyState::FdStore, NotifyState::FdName(&name)];
        sd_notify::notify_with_fds(&states, &descriptors)?;
        Ok(number)
    }

    /// The connection has ended.
    pub(super) fn forget(&self, number: u64) {
        let name = format!("{PREFIX}{number}");
        // Without a service manager there is nothing to forget.
        let _ = sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)]);
    }
}

fn is_socket(descriptor: &OwnedFd) -> bool {
    use nix::sys::stat::{SFlag, fstat};
    fstat(descriptor).is_ok_and(|stat| {
        SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFSOCK
    })
}
