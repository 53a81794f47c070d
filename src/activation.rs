//! Which of the descriptors that the service manager passed is what, by their
//! names (systemd.socket(5), FileDescriptorName).

use crate::server::Door;
use crate::server::store::Store;
use crate::sys::activation::inherited_sockets;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

/// The socket for relays; every other one is for QEMU, `helper` and `compat` by
/// name.
const CONTROL: &str = "control";

/// What the service manager passed.
#[derive(Debug, Default)]
pub struct Passed {
    /// Listening sockets, non-blocking.
    pub listeners: Vec<(UnixListener, Door)>,
    /// Connections of an earlier process, with their names.
    pub kept: Vec<(OwnedFd, String)>,
}

impl Passed {
    /// Takes them from the environment. To be called once, before anything else
    /// opens files.
    ///
    /// # Errors
    /// A malformed environment.
    pub fn take() -> io::Result<Self> {
        let mut passed = Passed::default();
        for (descriptor, name) in inherited_sockets()? {
            if Store::is_name(&name) {
                passed.kept.push((descriptor, name));
                continue;
            }
            let door = match name.as_str() {
                CONTROL => Door::Control,
                _ => Door::Helper,
            };
            let listener = UnixListener::from(descriptor);
            listener.set_nonblocking(true)?;
            passed.listeners.push((listener, door));
        }
        Ok(passed)
    }

    /// True where one of the listeners is for this.
    pub fn has(&self, door: Door) -> bool {
        self.listeners.iter().any(|(_, own)| *own == door)
    }
}
