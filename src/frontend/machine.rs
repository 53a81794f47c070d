//! Who a client is, from what the kernel and its command line say.

use crate::protocol::control::Origin;
use std::fs;
use tokio::net::UnixStream;

/// The process at the other end of a connection.
pub fn origin(stream: &UnixStream) -> Origin {
    let Ok(peer) = stream.peer_cred() else {
        return Origin::default();
    };
    let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok());
    let line = pid.and_then(|pid| fs::read(format!("/proc/{pid}/cmdline")).ok());
    Origin {
        pid: pid.unwrap_or(0),
        uid: peer.uid(),
        machine: line.map_or_else(String::new, |line| machine(&line).unwrap_or_default()),
    }
}

/// The name in QEMU's option `-name`, which is `NAME` or `guest=NAME,…`.
fn machine(command_line: &[u8]) -> Option<String> {
    let mut words = command_line.split(|byte| *byte == 0);
    words.find(|word| matches!(*word, b"-name" | b"--name"))?;
    let value = String::from_utf8_lossy(words.next()?).into_owned();
    let mut options = value.split(',');
    let guest = options.clone().find_map(|o| o.strip_prefix("guest="));
    let name = guest.or_else(|| options.next().filter(|first| !first.contains('=')))?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::machine;

    #[test]
    fn names_are_found_where_qemu_has_them() {
        for (line, name) in [
            ("qemu\0-name\0guest=vm1,debug-threads=on\0-S\0", Some("vm1")),
            ("qemu\0-name\0debug-threads=on,guest=vm 2\0", Some("vm 2")),
            ("qemu\0-name\0plain\0", Some("plain")),
            ("qemu\0-name\0plain,process=x\0", Some("plain")),
            ("qemu\0-name\0debug-threads=on\0", None),
            ("qemu\0-name", None),
            ("qemu\0-S\0-m\0", None),
            ("", None),
        ] {
            assert_eq!(machine(line.as_bytes()).as_deref(), name, "{line:?}");
        }
    }
}
