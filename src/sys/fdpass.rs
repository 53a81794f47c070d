//! Bytes with file descriptors beside them on a Unix stream socket (unix(7),
//! SCM_RIGHTS).

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The kernel passes at most this many descriptors in one message (SCM_MAX_FD).
const DESCRIPTORS_MAXIMUM: usize = 253;

/// Control buffer with the alignment of a `cmsghdr`.
#[repr(C, align(8))]
struct ControlBuffer([MaybeUninit<u8>; CONTROL_LENGTH]);

const CONTROL_LENGTH: usize =
    // SAFETY: CMSG_SPACE only computes with its argument.
    unsafe { libc::CMSG_SPACE((DESCRIPTORS_MAXIMUM * size_of::<i32>()) as u32) as usize };

/// What one receive brought.
#[derive(Debug, Default)]
pub struct Received {
    /// Bytes written to the buffer; 0 at the end of the stream.
    pub length: usize,
    /// Descriptors that came with them, all close-on-exec.
    pub descriptors: Vec<OwnedFd>,
    /// Descriptors were lost: the process had no room for them.
    pub truncated: bool,
}

/// Receives into `buffer` without blocking.
///
/// Received descriptors are close-on-exec from the start; their file status
/// flags are left alone, since the sender shares them.
///
/// # Errors
/// Those of recvmsg(2), `WouldBlock` when nothing is there.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    receive_with(socket, buffer, 0)
}

/// As [`receive`], but everything stays in the queue. The first `offset` bytes of
/// the queue are passed over; descriptors are duplicates of those that wait there.
/// One call sees no further than the end of a message with descriptors.
///
/// # Errors
/// As [`receive`].
pub fn peek(socket: BorrowedFd<'_>, offset: usize, buffer: &mut [u8]) -> io::Result<Received> {
    let offset = offset as libc::c_int;
    // SAFETY: the option is one int, and `offset` is one.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEEK_OFF,
            (&raw const offset).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if set != 0 {
        return Err(io::Error::last_os_error());
    }
    receive_with(socket, buffer, libc::MSG_PEEK)
}

nix::ioctl_read_bad!(
    /// FIONREAD: bytes waiting to be read.
    fionread,
    libc::FIONREAD,
    libc::c_int
);

/// How many bytes wait in a socket's queue.
///
/// # Errors
/// Those of ioctl(2).
pub fn queued(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut length = 0;
    // SAFETY: the ioctl writes one int, and `length` is one.
    unsafe { fionread(socket.as_raw_fd(), &mut length) }?;
    Ok(usize::try_from(length).unwrap_or(0))
}

fn receive_with(socket: BorrowedFd<'_>, buffer: &mut [u8], more: i32) -> io::Result<Received> {
    let mut control = ControlBuffer([MaybeUninit::uninit(); CONTROL_LENGTH]);
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: an all-zero msghdr is a valid empty one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL_LENGTH;
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT | more;
    let length = loop {
        // SAFETY: `message` points at one iovec and a control buffer, both live
        // and as long as it says.
        match unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, flags) } {
            length if length >= 0 => break length as usize,
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    };
    Ok(Received {
        length,
        descriptors: take_descriptors(&message),
        truncated: message.msg_flags & libc::MSG_CTRUNC != 0,
    })
}

/// Owns every descriptor in the control data of a received message.
fn take_descriptors(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut descriptors = Vec::new();
    // SAFETY: `message` was filled in by recvmsg, so its control data is a chain
    // of whole headers within msg_controllen; CMSG_FIRSTHDR and CMSG_NXTHDR
    // return headers inside it or null.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: not null, so a whole header lies here (see above).
        let (level, kind, length) = unsafe {
            (
                (*header).cmsg_level,
                (*header).cmsg_type,
                (*header).cmsg_len,
            )
        };
        if level == libc::SOL_SOCKET && kind == libc::SCM_RIGHTS {
            // SAFETY: CMSG_LEN only computes; CMSG_DATA is the first byte past
            // the header, inside the control data.
            let (overhead, data) = unsafe {
                (
                    libc::CMSG_LEN(0) as usize,
                    libc::CMSG_DATA(header).cast::<i32>(),
                )
            };
            for index in 0..(length - overhead) / size_of::<i32>() {
                // SAFETY: cmsg_len covers this element; the kernel made each of
                // these descriptors for us and nobody else owns it.
                descriptors.push(unsafe { OwnedFd::from_raw_fd(data.add(index).read_unaligned()) });
            }
        }
        // SAFETY: see CMSG_FIRSTHDR.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    descriptors
}

/// Sends `bytes` with at most one descriptor beside the first of them; returns
/// how many bytes left. A closed peer is an error, never a signal.
///
/// # Errors
/// Those of sendmsg(2).
pub fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<usize> {
    let raw = descriptor.map(|descriptor| [descriptor.as_raw_fd()]);
    let rights: Vec<ControlMessage<'_>> = raw
        .iter()
        .map(|raw| ControlMessage::ScmRights(raw))
        .collect();
    let sent = sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        &rights,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn descriptors_arrive_owned_and_close_on_exec() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        send(ours.as_fd(), b"abc", Some(null.as_fd())).unwrap();
        let mut buffer = [0; 8];
        let received = receive(theirs.as_fd(), &mut buffer).unwrap();
        assert_eq!(&buffer[..received.length], b"abc");
        assert_eq!(received.descriptors.len(), 1);
        let flags = nix::fcntl::fcntl(&received.descriptors[0], nix::fcntl::FcntlArg::F_GETFD);
        assert_eq!(flags.unwrap() & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        assert!(!received.truncated);
    }

    #[test]
    fn a_look_takes_nothing_and_can_start_anywhere() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        send(ours.as_fd(), b"head", Some(null.as_fd())).unwrap();
        send(ours.as_fd(), b"bo", None).unwrap();
        send(ours.as_fd(), b"dy", None).unwrap();
        let mut buffer = [0; 8];
        for _ in 0..2 {
            let head = peek(theirs.as_fd(), 0, &mut buffer).unwrap();
            assert_eq!(
                (&buffer[..head.length], head.descriptors.len()),
                (&b"head"[..], 1)
            );
            let body = peek(theirs.as_fd(), 4, &mut buffer).unwrap();
            assert_eq!(
                (&buffer[..body.length], body.descriptors.len()),
                (&b"body"[..], 0)
            );
            let end = peek(theirs.as_fd(), 8, &mut buffer).unwrap_err();
            assert_eq!(end.kind(), io::ErrorKind::WouldBlock);
        }
        assert_eq!(queued(theirs.as_fd()).unwrap(), 8);
        assert_eq!(receive(theirs.as_fd(), &mut buffer).unwrap().length, 4);
        assert_eq!(queued(theirs.as_fd()).unwrap(), 4);
    }

    #[test]
    fn an_empty_socket_would_block_and_a_closed_one_ends() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut buffer = [0; 8];
        let error = receive(theirs.as_fd(), &mut buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(ours);
        assert_eq!(receive(theirs.as_fd(), &mut buffer).unwrap().length, 0);
    }
}
