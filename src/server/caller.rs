//! Who connects, as far as the kernel says.

use super::clients::Peer;
use crate::socket::known_as;
use tokio::net::UnixStream;
use tokio::net::unix::UCred;

/// The user that the kernel shows where it cannot say (`overflowuid`).
const NOBODY: u32 = 65534;

/// Who is at the other end, for the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    /// The session's number in the log.
    pub(super) session: u64,
    pub(super) pid: Option<i32>,
    pub(super) uid: Option<u32>,
}

impl Caller {
    /// As the kernel has it (SO_PEERCRED).
    pub(super) fn of(stream: &UnixStream, session: u64) -> Self {
        let peer = stream.peer_cred().ok();
        Caller {
            session,
            pid: peer.as_ref().and_then(UCred::pid),
            uid: peer.as_ref().map(UCred::uid),
        }
    }

    /// The same, to be shown. Whom the kernel does not name is nobody.
    pub(super) fn peer(self, stream: &UnixStream) -> Peer {
        let address = stream.local_addr().ok();
        let socket = address.as_ref().and_then(|address| address.as_pathname());
        Peer {
            pid: self
                .pid
                .and_then(|pid| pid.try_into().ok())
                .unwrap_or_default(),
            uid: self.uid.unwrap_or(NOBODY),
            socket: socket.map_or_else(String::new, |path| known_as(path).display().to_string()),
            machine: String::new(),
        }
    }
}
