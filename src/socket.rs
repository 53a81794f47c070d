//! A listening socket at a path: there whole or not at all, and taken away only
//! by the one who made it.

use nix::sys::stat::{Mode, umask};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// The path by which clients know a socket that was bound as [`BoundSocket`]
/// does: the kernel only knows the name it was bound by.
pub fn known_as(bound: &Path) -> PathBuf {
    let name = bound.file_name().and_then(|name| name.to_str());
    let name = name.and_then(|name| name.strip_prefix('.')?.rsplit_once('.'));
    match name {
        Some((name, pid)) if !name.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()) => {
            bound.with_file_name(name)
        }
        _ => bound.to_owned(),
    }
}

/// A listener bound to a path.
#[derive(Debug)]
pub struct BoundSocket {
    /// The socket, non-blocking.
    pub listener: UnixListener,
    path: PathBuf,
    identity: (u64, u64),
    /// Owner, group and mode, as they were last seen.
    access: (u32, u32, u32),
}

/// A listener that nobody can find yet.
#[derive(Debug)]
pub struct HiddenSocket {
    listener: UnixListener,
    temporary: PathBuf,
    path: PathBuf,
}

/// What has become of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It leads to our socket.
    Ours,
    /// It leads elsewhere.
    Replaced,
    /// It is gone; its directory is not.
    Vanished,
    /// Its directory is gone, or cannot be looked into.
    NoDirectory,
}

impl HiddenSocket {
    /// Binds beside `path`. Without `mode` the umask decides.
    ///
    /// # Errors
    /// Those of the file system, where the directory is missing or not ours.
    pub fn bind(path: &Path, mode: Option<u32>) -> io::Result<Self> {
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::other("socket path has no file name"))?;
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}", std::process::id()));
        let temporary = path.with_file_name(temporary);
        let _ = fs::remove_file(&temporary);

        // Nobody may connect before the mode is as wanted.
        let previous = mode.map(|_| umask(Mode::from_bits_truncate(0o177)));
        let bound = UnixListener::bind(&temporary);
        if let Some(previous) = previous {
            umask(previous);
        }
        let hidden = HiddenSocket {
            listener: bound?,
            temporary,
            path: path.to_owned(),
        };
        if let Some(mode) = mode {
            fs::set_permissions(&hidden.temporary, fs::Permissions::from_mode(mode))?;
        }
        hidden.listener.set_nonblocking(true)?;
        Ok(hidden)
    }

    /// Renames it into place: whoever sees the path can connect, and nobody else's
    /// socket is missing in between.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn show(self) -> io::Result<BoundSocket> {
        let metadata = fs::symlink_metadata(&self.temporary)?;
        fs::rename(&self.temporary, &self.path)?;
        Ok(BoundSocket {
            listener: self.listener.try_clone()?,
            path: self.path.clone(),
            identity: (metadata.dev(), metadata.ino()),
            access: access(&metadata),
        })
    }
}

impl Drop for HiddenSocket {
    fn drop(&mut self) {
        // Not there any more once it was shown.
        let _ = fs::remove_file(&self.temporary);
    }
}

fn access(metadata: &fs::Metadata) -> (u32, u32, u32) {
    (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
}

impl BoundSocket {
    /// Binds to a path at once. Without `mode` the umask decides.
    ///
    /// # Errors
    /// Those of the file system, where the directory is missing or not ours.
    pub fn bind(path: &Path, mode: Option<u32>) -> io::Result<Self> {
        HiddenSocket::bind(path, mode)?.show()
    }

    /// Looks at the path, and remembers who may use it.
    pub fn standing(&mut self) -> Standing {
        match fs::symlink_metadata(&self.path) {
            Ok(metadata) if (metadata.dev(), metadata.ino()) == self.identity => {
                self.access = access(&metadata);
                Standing::Ours
            }
            Ok(_) => Standing::Replaced,
            Err(_) if self.path.parent().is_some_and(Path::is_dir) => Standing::Vanished,
            Err(_) => Standing::NoDirectory,
        }
    }

    /// Makes the socket again, for those who could use it before. What waits to be
    /// accepted on the old one is lost with it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn renew(&mut self) -> io::Result<UnixListener> {
        let (uid, gid, mode) = self.access;
        let hidden = HiddenSocket::bind(&self.path, Some(0o600))?;
        fs::set_permissions(&hidden.temporary, fs::Permissions::from_mode(mode))?;
        // An unprivileged process can only be its own owner, and is.
        let _ = chown(&hidden.temporary, Some(uid), Some(gid));
        // Dropping the old one leaves the path alone: it leads elsewhere now.
        *self = hidden.show()?;
        self.listener.try_clone()
    }

    /// The path it is bound to.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_socket_is_known_by_the_name_it_was_renamed_to() {
        for (bound, known) in [
            (
                "/run/reservd/.pr-helper.sock.123",
                "/run/reservd/pr-helper.sock",
            ),
            ("/run/reservd/pr-helper.sock", "/run/reservd/pr-helper.sock"),
            ("/run/.hidden", "/run/.hidden"),
            ("/run/.a.b", "/run/.a.b"),
        ] {
            assert_eq!(known_as(Path::new(bound)), Path::new(known));
        }
    }

    #[test]
    fn a_successor_keeps_its_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let first = BoundSocket::bind(&path, Some(0o660)).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let second = BoundSocket::bind(&path, None).unwrap();
        drop(first);
        UnixStream::connect(&path).expect("the second socket is still there");
        drop(second);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
