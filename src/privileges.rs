//! Giving up what is not needed once the socket is there.

use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::{Gid, Group, Uid, User, setgid, setgroups, setuid};
use std::io;

/// SG_IO on any command, suspending a map, opening path nodes for reading; and
/// making a socket again for QEMU's user in a directory that belongs to that user.
const KEPT: [Capability; 5] = [
    Capability::CAP_SYS_RAWIO,
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_CHOWN,
];

/// Whom to become.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// User name or number.
    pub user: Option<String>,
    /// Group name or number.
    pub group: Option<String>,
}

/// Becomes another user and group, where asked to, and keeps of all
/// capabilities only those of [`KEPT`] that the process has; root's own
/// programs, such as the worker for libmpathpersist, get no others either. To
/// be called before any thread is started.
///
/// # Errors
/// Unknown names, and what the kernel refuses.
pub fn drop_to(identity: &Identity) -> io::Result<()> {
    let gid = identity.group.as_deref().map(group_id).transpose()?;
    let uid = identity.user.as_deref().map(user_id).transpose()?;
    let permitted = caps::read(None, CapSet::Permitted).map_err(io::Error::other)?;
    let kept: CapsHashSet = KEPT
        .into_iter()
        .filter(|cap| permitted.contains(cap))
        .collect();
    if permitted.contains(&Capability::CAP_SETPCAP) {
        let bounding = caps::read(None, CapSet::Bounding).map_err(io::Error::other)?;
        for cap in bounding.difference(&kept) {
            caps::drop(None, CapSet::Bounding, *cap).map_err(io::Error::other)?;
        }
    }
    if uid.is_some() || gid.is_some() {
        nix::sys::prctl::set_keepcaps(true)?;
        setgroups(&[])?;
        if let Some(gid) = gid {
            setgid(gid)?;
        }
        if let Some(uid) = uid {
            setuid(uid)?;
        }
    }
    caps::set(None, CapSet::Effective, &kept).map_err(io::Error::other)?;
    caps::set(None, CapSet::Permitted, &kept).map_err(io::Error::other)?;
    caps::clear(None, CapSet::Inheritable).map_err(io::Error::other)
}

fn user_id(name: &str) -> io::Result<Uid> {
    if let Ok(number) = name.parse() {
        return Ok(Uid::from_raw(number));
    }
    User::from_name(name)?
        .map(|user| user.uid)
        .ok_or_else(|| io::Error::other(format!("no user {name:?}")))
}

fn group_id(name: &str) -> io::Result<Gid> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    Group::from_name(name)?
        .map(|group| group.gid)
        .ok_or_else(|| io::Error::other(format!("no group {name:?}")))
}
