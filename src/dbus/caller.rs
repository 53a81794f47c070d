//! Who calls, what they may do, and what they write.

use super::error::Error;
use crate::scsi::{ReservationKey, ReservationType, ScopeType};
use zbus::Connection;
use zbus::message::Header;

/// The sender of a message.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Where it came from.
    pub connection: &'a Connection,
    /// The message's.
    pub header: &'a Header<'a>,
}

impl Caller<'_> {
    /// The bus knows; the sender cannot claim to be another.
    async fn uid(&self) -> Result<u32, Error> {
        let Some(sender) = self.header.sender() else {
            return Err(Error::PolicyDenied("nobody is said to have asked".into()));
        };
        let bus = "org.freedesktop.DBus";
        let reply = self
            .connection
            .call_method(
                Some(bus),
                "/org/freedesktop/DBus",
                Some(bus),
                "GetConnectionUnixUser",
                &sender.as_str(),
            )
            .await?;
        Ok(reply.body().deserialize()?)
    }

    /// Root's uid, or that of the user that the daemon itself runs as.
    ///
    /// # Errors
    /// [`Error::PolicyDenied`] for everybody else.
    pub async fn root(&self, what: &str) -> Result<u32, Error> {
        let uid = self.uid().await?;
        match uid == 0 || uid == nix::unistd::geteuid().as_raw() {
            true => Ok(uid),
            false => Err(Error::PolicyDenied(format!(
                "{what} is for root only: rules for other users (polkit) are not supported yet"
            ))),
        }
    }
}

/// A reservation key other than none.
///
/// # Errors
/// [`Error::InvalidKey`].
pub fn present_key(text: &str) -> Result<ReservationKey, Error> {
    let key: ReservationKey = text
        .parse()
        .map_err(|error| Error::InvalidKey(format!("{text:?}: {error}")))?;
    match key.is_zero() {
        true => Err(Error::InvalidKey("0x0 is no key".into())),
        false => Ok(key),
    }
}

/// A reservation of this type, for the whole unit.
///
/// # Errors
/// [`Error::InvalidType`].
pub fn scope_type(text: &str) -> Result<ScopeType, Error> {
    let kind: ReservationType = text
        .parse()
        .map_err(|error| Error::InvalidType(format!("{text:?}: {error}")))?;
    Ok(kind.into())
}
