//! A listening socket at a path: there whole or not at all, and taken away only
//! by the one who made it.

use nix::sys::stat::{Mode, umask};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
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
}

impl BoundSocket {
    /// Binds beside `path` and renames into place: whoever sees the path can
    /// connect, and nobody else's socket is missing in between. Without `mode`
    /// the umask decides.
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
        let listener = bound?;
        let placed = Self::place(&temporary, path, mode);
        if placed.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        listener.set_nonblocking(true)?;
        Ok(BoundSocket {
            listener,
            path: path.to_owned(),
            identity: placed?,
        })
    }

    fn place(temporary: &Path, path: &Path, mode: Option<u32>) -> io::Result<(u64, u64)> {
        if let Some(mode) = mode {
            fs::set_permissions(temporary, fs::Permissions::from_mode(mode))?;
        }
        let metadata = fs::symlink_metadata(temporary)?;
        fs::rename(temporary, path)?;
        Ok((metadata.dev(), metadata.ino()))
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
