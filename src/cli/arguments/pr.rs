//! One command through the helper socket, as a guest would send it.

use super::present_key;
use crate::scsi::{ReservationKey, ReservationType};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `reservctl pr`
#[derive(Debug, Subcommand)]
pub enum Pr {
    /// Registered keys.
    Keys(Target),
    /// The reservation and its holder.
    Reservation(Target),
    /// Every registration with its initiator and target port.
    FullStatus(Target),
    /// What the device supports.
    Capabilities(Target),
    /// Register a key for this host, or change it.
    Register(Register),
    /// Remove this host's key.
    Unregister(Unregister),
    /// Take the reservation.
    Reserve(Hold),
    /// Give the reservation up.
    Release(Hold),
    /// Remove the reservation and all keys, of every host.
    Clear(Clear),
    /// Remove another host's key, and take the reservation where it held it.
    Preempt(Preempt),
}

impl Pr {
    /// The device it is about.
    pub fn target(&self) -> &Target {
        match self {
            Pr::Keys(target)
            | Pr::Reservation(target)
            | Pr::FullStatus(target)
            | Pr::Capabilities(target) => target,
            Pr::Register(arguments) => &arguments.target,
            Pr::Unregister(arguments) => &arguments.target,
            Pr::Reserve(arguments) | Pr::Release(arguments) => &arguments.target,
            Pr::Clear(arguments) => &arguments.target,
            Pr::Preempt(arguments) => &arguments.hold.target,
        }
    }
}

/// The device.
#[derive(Debug, Args)]
pub struct Target {
    /// A SCSI disk or a multipath map.
    pub device: PathBuf,
}

/// Flags that go with a registration.
#[derive(Debug, Args)]
pub struct Flags {
    /// Let the device keep keys and reservation through power loss; a
    /// registration without this ends that, for every host.
    #[arg(long)]
    pub aptpl: bool,
    /// Register on every target port of the device.
    #[arg(long)]
    pub all_tg_pt: bool,
}

/// `reservctl pr register`
#[derive(Debug, Args)]
pub struct Register {
    #[command(flatten)]
    #[expect(missing_docs, reason = "would replace the command's own help")]
    pub target: Target,
    /// The key to register.
    #[arg(value_parser = present_key)]
    pub newkey: ReservationKey,
    /// The key this host has; 0x0 for none.
    #[arg(long, value_name = "CURRENT", default_value = "0x0")]
    pub key: ReservationKey,
    /// Replace whatever key this host has.
    #[arg(long, conflicts_with = "key")]
    pub ignore: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "would replace the command's own help")]
    pub flags: Flags,
}

/// `reservctl pr unregister`
#[derive(Debug, Args)]
pub struct Unregister {
    #[command(flatten)]
    #[expect(missing_docs, reason = "would replace the command's own help")]
    pub target: Target,
    /// The key this host has.
    #[arg(long, value_parser = present_key, required_unless_present = "ignore")]
    pub key: Option<ReservationKey>,
    /// Remove whatever key this host has.
    #[arg(long, conflicts_with = "key")]
    pub ignore: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "would replace the command's own help")]
    pub flags: Flags,
}

/// `reservctl pr reserve` and `release`
#[derive(Debug, Args)]
pub struct Hold {
    #[command(flatten)]
    #[expect(missing_docs, reason = "would replace the command's own help")]
    pub target: Target,
    /// The key this host has.
    #[arg(long, value_parser = present_key)]
    pub key: ReservationKey,
    /// Type of the reservation.
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: ReservationType,
}

/// `reservctl pr clear`
#[derive(Debug, Args)]
pub struct Clear {
    #[command(flatten)]
    #[expect(missing_docs, reason = "would replace the command's own help")]
    pub target: Target,
    /// The key this host has.
    #[arg(long, value_parser = present_key)]
    pub key: ReservationKey,
}

/// `reservctl pr preempt`
#[derive(Debug, Args)]
pub struct Preempt {
    #[command(flatten)]
    #[expect(missing_docs, reason = "would replace the command's own help")]
    pub hold: Hold,
    /// The key to remove; 0x0 for those of all others, where every registrant
    /// holds the reservation.
    #[arg(long, value_name = "KEY")]
    pub victim: ReservationKey,
    /// Also abort the commands of those that lose their key.
    #[arg(long)]
    pub abort: bool,
}
