//! What the command line may say.

use crate::config::DEFAULT_SOCKET;
use crate::scsi::{ReservationKey, ReservationType};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  error: device or helper out of reach, connection lost
  2  wrong arguments
  3  RESERVATION CONFLICT
  4  CHECK CONDITION or another status of the device";

const PR_NOTES: &str = "\
DEVICE is a SCSI disk or a multipath map. Keys are written 0x1a2b, types WE, EA,
WERO, EARO, WEAR or EAAR, in words (write-exclusive), or as the digits 1, 3, 5,
6, 7, 8. The commands from `register' on open the device for writing, as the
protocol demands, and closing it makes udev look at the device again.";

const IMPORT_NOTES: &str = "\
Taken over are reservation_key and all_tg_pt; the rest of multipath.conf is
multipathd's alone. What cannot be taken over as it stands is said on standard
error and in a comment. Keys in prkeys were learnt from clients, as reservd
learns them too: they become comments, unless --pin is given.";

/// Shows and controls persistent reservations.
#[derive(Debug, Parser)]
#[command(name = "reservctl", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// Socket of the helper.
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Print one JSON object, for all errors but wrong arguments too.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Groups of commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send one persistent reservation command to a device, as a guest would.
    #[command(subcommand, after_help = format!("{PR_NOTES}\n\n{EXIT_CODES}"))]
    Pr(Pr),
    /// Show the units in use, the states of their registrations, and the reasons.
    ///
    /// They are as reservd last saw them; no device is asked. This goes over D-Bus.
    Status,
    /// Say what this host has, and who runs which command on multipath maps.
    ///
    /// multipathd is asked for its configuration; where its socket is started by
    /// systemd, as on Debian 12, that starts multipathd too.
    Doctor(Doctor),
    /// Turn multipath.conf into settings of reservd, for /etc/reservd/conf.d.
    #[command(after_help = IMPORT_NOTES)]
    Import(Import),
}

/// `reservctl doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// Configuration file of reservd; without it, /etc/reservd/reservd.toml
    /// where that exists.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `reservctl import`
#[derive(Debug, Args)]
pub struct Import {
    /// Files to read in this order; without any, /etc/multipath.conf,
    /// /etc/multipath/conf.d/*.conf and prkeys of this host.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The file of keys that multipathd learnt; without any FILE,
    /// /etc/multipath/prkeys where that exists.
    #[arg(long, value_name = "FILE")]
    pub prkeys: Option<PathBuf>,
    /// Make each of these keys the only one that may be registered.
    #[arg(long)]
    pub pin: bool,
    /// Write this file, which must not exist, instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

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

/// A key other than 0x0, which stands for none.
fn present_key(text: &str) -> Result<ReservationKey, String> {
    match text.parse::<ReservationKey>() {
        Ok(key) if key.is_zero() => Err("0x0 is no key".into()),
        Ok(key) => Ok(key),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
