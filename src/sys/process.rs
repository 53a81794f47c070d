//! What a process that may misbehave gives up before it starts.

use nix::errno::Errno;
use std::os::fd::RawFd;

/// Closes every descriptor from `first` on.
///
/// To be called before the process has opened anything: what it inherited and
/// does not know of is closed, and nothing in it may own such a descriptor.
///
/// # Errors
/// Those of close_range(2).
pub fn close_from(first: RawFd) -> Result<(), Errno> {
    // SAFETY: takes no pointers; by the rule above nobody loses a descriptor.
    let result = unsafe { libc::close_range(first as u32, u32::MAX, 0) };
    Errno::result(result).map(drop)
}
