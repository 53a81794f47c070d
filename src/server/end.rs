//! How a session ends.

use crate::protocol::codec::Violation;
use crate::protocol::control::InvalidOrigin;
use std::io;

/// How a session ended in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client has left.
    Left,
    /// The service ends; the client has not left.
    Stopped,
}

/// Why a session ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("client {0}")]
    Violation(#[from] Violation),
    #[error("client stopped in the middle of a request or a reply")]
    Stalled,
    #[error("a relay of another user than root and ours")]
    Stranger,
    #[error("relay {0}")]
    Origin(#[from] InvalidOrigin),
    #[error(transparent)]
    Io(#[from] io::Error),
}
