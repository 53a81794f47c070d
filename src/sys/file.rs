//! Questions about an open file that std does not ask.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::os::fd::{AsRawFd, BorrowedFd};

nix::ioctl_read!(
    /// BLKGETDISKSEQ of `linux/fs.h`.
    blkgetdiskseq,
    0x12,
    128,
    u64
);

/// The sequence number of a disk: unique for as long as the host is up, so that
/// a device number used again for another disk is told apart (Linux 5.15).
///
/// # Errors
/// ENOTTY where the file is no disk or the kernel too old, EBADF for O_PATH.
pub fn disk_sequence(file: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut sequence = 0;
    // SAFETY: the ioctl writes one u64, and `sequence` is one.
    unsafe { blkgetdiskseq(file.as_raw_fd(), &mut sequence) }?;
    Ok(sequence)
}

/// True when the file was opened for anything at all: an `O_PATH` descriptor
/// takes no permission on the file and gives none.
///
/// # Errors
/// Those of fcntl(2).
pub fn is_usable(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
    Ok(!flags.contains(OFlag::O_PATH))
}

/// True when the file was opened so that it may be written.
///
/// # Errors
/// Those of fcntl(2).
pub fn is_writable(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
    let mode = flags & OFlag::O_ACCMODE;
    Ok(is_usable(file)? && (mode == OFlag::O_WRONLY || mode == OFlag::O_RDWR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn access_modes_are_told_apart() {
        let open = |flags| nix::fcntl::open("/dev/null", flags, nix::sys::stat::Mode::empty());
        for (flags, writable) in [
            (OFlag::O_RDONLY, false),
            (OFlag::O_WRONLY, true),
            (OFlag::O_RDWR, true),
            (OFlag::O_PATH, false),
        ] {
            let file = open(flags | OFlag::O_CLOEXEC).unwrap();
            assert_eq!(is_writable(file.as_fd()), Ok(writable), "{flags:?}");
            assert_eq!(is_usable(file.as_fd()), Ok(flags != OFlag::O_PATH));
        }
        let null = open(OFlag::O_RDONLY).unwrap();
        assert_eq!(disk_sequence(null.as_fd()), Err(Errno::ENOTTY));
    }
}
