//! Who calls, and what they write.

use super::PATIENCE;
use super::error::Error;
use crate::scsi::{ReservationKey, ReservationType};
use tokio::time::timeout;
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
    pub(super) async fn uid(&self) -> Result<u32, Error> {
        let Some(sender) = self.header.sender() else {
            return Err(Error::PolicyDenied("nobody is said to have asked".into()));
        };
        let (bus, sender) = ("org.freedesktop.DBus", sender.as_str());
        let question = self.connection.call_method(
            Some(bus),
            "/org/freedesktop/DBus",
            Some(bus),
            "GetConnectionUnixUser",
            &sender,
        );
        match timeout(PATIENCE, question).await {
            Ok(reply) => Ok(reply?.body().deserialize()?),
            Err(_) => Err(Error::Timeout("the bus does not say who asked".into())),
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

/// A reservation type by any of its names.
///
/// # Errors
/// [`Error::InvalidType`].
pub fn reservation_type(text: &str) -> Result<ReservationType, Error> {
    text.parse()
        .map_err(|error| Error::InvalidType(format!("{text:?}: {error}")))
}
