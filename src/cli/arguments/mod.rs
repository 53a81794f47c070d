//! What the command lines may say: that of `reservctl`, and in modules of their
//! own those of the [daemon] and the [helper]. Manual pages are made of them.

pub mod daemon;
pub mod helper;
pub mod pr;
pub mod unit;

use super::page::Colour;
use crate::config::DEFAULT_SOCKET;
use crate::scsi::ReservationKey;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use pr::Pr;
use std::path::PathBuf;
use unit::{Adopt, Check, History, Plain, Preempt, Rearm, Register, Reserve, Unit, Units, Watch};

/// What the program ends with; `check` has codes of its own.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  error: reservd, helper or device out of reach, connection lost
  2  wrong arguments
  3  RESERVATION CONFLICT
  4  CHECK CONDITION or another status of the device
  5  not done: not allowed, or nobody confirmed it";

/// What `check` ends with, as plugins of monitoring systems do.
pub const CHECK_CODES: &str = "\
Exit codes, as plugins of monitoring systems have them:
  0  OK        ok, unregistered, unmanaged, handed-off
  1  WARNING   degraded, unknown
  2  CRITICAL  fenced, lost, doubtful, conflict; reservd is out of reach
  3  UNKNOWN   wrong arguments, no such unit";

const DEVICE_NOTES: &str = "\
DEVICE is a unit in use: its node (/dev/mapper/mpatha, /dev/sdb), its WWID, or
the name (mpatha) or number (253:0) of its map. Units are shown as reservd last
saw them, by the object org.reservd1 on the system bus.";

const CHANGE_NOTES: &str = "\
DEVICE is a multipath map: its node, its WWID, or its name or number. Keys are
written 0x1a2b, types WE, EA, WERO, EARO, WEAR or EAAR, in words
(write-exclusive), or as the digits 1, 3, 5, 6, 7, 8. reservd does the work, by
the same rules as for guests, and polkit decides who may have it done. What takes
something away from somebody is shown first, and done only when it is confirmed,
or with --yes.";

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
    /// When to use colours; no `auto' where the environment has NO_COLOR.
    #[arg(
        long,
        alias = "colour",
        global = true,
        value_name = "WHEN",
        default_value = "auto"
    )]
    pub color: Colour,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the units in use, the states of their registrations, and the reasons.
    ///
    /// They are as reservd last saw them; no device is asked. This goes over D-Bus.
    Status,
    /// Show all that is known of a unit: paths, registrations, reservation, clients.
    #[command(after_help = format!("{DEVICE_NOTES}\n\n{EXIT_CODES}"))]
    Show(Unit),
    /// Say why a unit is in its state, what shows it, and what can be done.
    #[command(after_help = format!("{DEVICE_NOTES}\n\n{EXIT_CODES}"))]
    Explain(Unit),
    /// Show paths: which can be used, and which have the registration.
    #[command(after_help = format!("{DEVICE_NOTES}\n\n{EXIT_CODES}"))]
    Paths(Units),
    /// Show the registered keys of a unit, and whose they are.
    #[command(after_help = format!("{DEVICE_NOTES}\n\n{EXIT_CODES}"))]
    Keys(Unit),
    /// Show what happened to a unit, the newest last.
    #[command(after_help = format!("{DEVICE_NOTES}\n\n{EXIT_CODES}"))]
    History(History),
    /// Show who is connected to the helper sockets.
    Clients,
    /// Show the units again whenever something changes.
    Watch(Watch),
    /// Check units as a plugin of a monitoring system.
    #[command(after_help = CHECK_CODES)]
    Check(Check),
    /// Register a key for this host, on every path of a map.
    #[command(after_help = format!("{CHANGE_NOTES}\n\n{EXIT_CODES}"))]
    Register(Register),
    /// Remove the key of this host.
    #[command(after_help = format!("{CHANGE_NOTES}\n\n{EXIT_CODES}"))]
    Unregister(Plain),
    /// Take the reservation.
    #[command(after_help = format!("{CHANGE_NOTES}\n\n{EXIT_CODES}"))]
    Reserve(Reserve),
    /// Give the reservation up.
    #[command(after_help = format!("{CHANGE_NOTES}\n\n{EXIT_CODES}"))]
    Release(Plain),
    /// Remove another host's key, and take the reservation where it held it.
    #[command(after_help = format!("{CHANGE_NOTES}\n\n{EXIT_CODES}"))]
    Preempt(Preempt),
    /// Remove the reservation and all keys, of every host.
    #[command(after_help = format!("{CHANGE_NOTES}\n\n{EXIT_CODES}"))]
    Clear(Plain),
    /// Look after a key that paths of this host have already.
    #[command(after_help = format!("{CHANGE_NOTES}\n\n{EXIT_CODES}"))]
    Adopt(Adopt),
    /// Register again the key that was taken away from this host.
    ///
    /// This is your word that this host may have it again: reservd does not undo a
    /// fence by itself.
    #[command(after_help = format!("{CHANGE_NOTES}\n\n{EXIT_CODES}"))]
    Rearm(Rearm),
    /// End what reservd remembers of a unit; nothing is sent to it.
    #[command(after_help = format!("{CHANGE_NOTES}\n\n{EXIT_CODES}"))]
    Forget(Plain),
    /// Register the paths that lack the key, given proof that it still stands.
    #[command(after_help = format!("{CHANGE_NOTES}\n\n{EXIT_CODES}"))]
    Repair(Plain),
    /// Send one persistent reservation command to a device, as a guest would.
    #[command(subcommand, after_help = format!("{PR_NOTES}\n\n{EXIT_CODES}"))]
    Pr(Pr),
    /// Say what this host has, and who runs which command on multipath maps.
    ///
    /// multipathd is asked for its configuration; where its socket is started by
    /// systemd, as on Debian 12, that starts multipathd too.
    Doctor(Doctor),
    /// Turn multipath.conf into settings of reservd, for /etc/reservd/conf.d.
    #[command(after_help = IMPORT_NOTES)]
    Import(Import),
    /// Print the completions of a shell.
    #[command(hide = true)]
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Write what packages have beside programs.
    #[command(hide = true, subcommand)]
    Generate(Generate),
}

/// `reservctl generate`
#[derive(Debug, Subcommand)]
pub enum Generate {
    /// Write the manual pages.
    Man {
        /// Where to; it is made.
        directory: PathBuf,
    },
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
