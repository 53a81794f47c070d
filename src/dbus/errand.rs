//! One caller's business with a unit, on the service's runtime.

use super::error::{Error, good};
use super::name;
use crate::lun::registry::{LunKey, Registry, Target};
use crate::lun::unit::Write;
use crate::scsi::pr::{Capabilities, FullStatus, KeyList, ReservationData};
use crate::scsi::{InAction, PrIn, PrOut, SenseCode};
use crate::server::Service;
use nix::libc::O_NONBLOCK;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

/// A unit attention is met this often before an answer to a question.
const ATTENTIONS: usize = 5;

/// One caller's business with a unit.
#[derive(Debug)]
pub struct Errand {
    pub(super) service: Arc<Service>,
    /// When the caller stops waiting for commands.
    pub(super) until: Instant,
}

impl Errand {
    /// The device of this name: a file, a WWID, a map by name or number, or a
    /// disk by kernel name or number.
    ///
    /// # Errors
    /// [`Error::NoSuchDevice`], or [`Error::Timeout`] where it cannot be opened
    /// in time.
    pub async fn resolve(&self, text: &str) -> Result<Target, Error> {
        let (registry, name) = (Arc::clone(&self.service), text.to_owned());
        self.open(text, move || open(&registry.registry, &name))
            .await
    }

    /// As [`Errand::resolve`], for a unit in use.
    ///
    /// # Errors
    /// Those; also where its node leads to another unit now.
    pub async fn unit(&self, key: &LunKey) -> Result<Target, Error> {
        let (service, unit) = (Arc::clone(&self.service), key.clone());
        let find = move || {
            let node = service.registry.node_of(&unit);
            open_node(&node.ok_or(io::ErrorKind::NotFound)?)
        };
        let target = self.open(key.0.as_str(), find).await?;
        match target.lun.wwid() == &key.0 {
            true => Ok(target),
            false => Err(Error::NoSuchDevice(format!("{}: gone", key.0))),
        }
    }

    async fn open(
        &self,
        text: &str,
        find: impl FnOnce() -> io::Result<File> + Send + 'static,
    ) -> Result<Target, Error> {
        let file = match timeout_at(self.until, spawn_blocking(find)).await {
            Ok(Ok(file)) => {
                file.map_err(|error| Error::NoSuchDevice(format!("{text}: {error}")))?
            }
            Ok(Err(_)) => return Err(Error::Aborted("reservd is stopping".into())),
            Err(_) => return Err(Error::Timeout(format!("{text}: cannot be opened"))),
        };
        Ok(self.service.registry.resolve(file.into())?)
    }

    /// The keys that are registered now.
    ///
    /// # Errors
    /// What the unit says instead.
    pub async fn keys(&self, target: &Target) -> Result<KeyList, Error> {
        const SOME: u16 = 8192;
        let parse = |data: Vec<u8>| KeyList::parse(&data).map_err(malformed);
        let list = parse(self.read(target, InAction::ReadKeys, SOME).await?)?;
        match list.keys.len() * 8 < list.additional_length as usize {
            true => parse(self.read(target, InAction::ReadKeys, u16::MAX).await?),
            false => Ok(list),
        }
    }

    /// The reservation as it is now.
    ///
    /// # Errors
    /// What the unit says instead.
    pub async fn reservation(&self, target: &Target) -> Result<ReservationData, Error> {
        let length = ReservationData::LENGTH;
        let data = self.read(target, InAction::ReadReservation, length).await?;
        ReservationData::parse(&data).map_err(malformed)
    }

    /// Every registration, with its nexus; `None` where the unit does not tell.
    pub async fn full_status(&self, target: &Target) -> Option<FullStatus> {
        const SOME: u16 = 8192;
        let action = InAction::ReadFullStatus;
        let parse = |data: Vec<u8>| FullStatus::parse(&data).ok();
        let status = parse(self.read(target, action, SOME).await.ok()?)?;
        match status.complete {
            true => Some(status),
            false => parse(self.read(target, action, u16::MAX).await.ok()?),
        }
    }

    /// The unit's APTPL as it is; without the bit, a REGISTER switches it off for
    /// every host.
    pub async fn persists(&self, target: &Target) -> bool {
        let length = Capabilities::LENGTH;
        let data = self
            .read(target, InAction::ReportCapabilities, length)
            .await;
        let capabilities = data.ok().and_then(|data| Capabilities::parse(&data).ok());
        capabilities.is_some_and(|known| known.persist_active)
    }

    async fn read(
        &self,
        target: &Target,
        action: InAction,
        allocation_length: u16,
    ) -> Result<Vec<u8>, Error> {
        let command = PrIn {
            action,
            allocation_length,
        };
        let (lun, route) = (&target.lun, &target.route);
        let mut outcome = lun.read(route, command, self.until).await;
        for _ in 0..ATTENTIONS {
            let attention = outcome.sense_code();
            if !attention.is_some_and(SenseCode::is_unit_attention) {
                break;
            }
            outcome = lun.read(route, command, self.until).await;
        }
        good(outcome)
    }

    /// Sends a command as a client would.
    ///
    /// # Errors
    /// What the unit says to it.
    pub async fn write(&self, target: &Target, command: PrOut) -> Result<(), Error> {
        let (cdb, parameters) = command.encode();
        let write = Write {
            command,
            cdb,
            parameters,
        };
        let (lun, route) = (&target.lun, target.route.clone());
        good(lun.write(route, write, self.until).await).map(drop)
    }
}

fn malformed(error: impl std::fmt::Display) -> Error {
    Error::Malformed(error.to_string())
}

/// Opens the node of a device, without asking the device for anything.
fn open(registry: &Registry, text: &str) -> io::Result<File> {
    let mut node = registry.node(text);
    if !node.exists() {
        // A unit in use by another of its names.
        let units = registry.units().into_iter();
        let named = units.filter(|(key, lun)| {
            let known = lun.snapshot();
            let known = known.borrow();
            name::object(key).as_str() == text || name::is_name_of(text, key, &known)
        });
        if let [(key, _)] = &named.collect::<Vec<_>>()[..] {
            node = registry.node_of(key).unwrap_or(node);
        }
    }
    open_node(&node)
}

fn open_node(node: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(node)
}
