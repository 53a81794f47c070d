//! Commands about units as reservd knows them, over D-Bus.

use super::present_key;
use crate::scsi::{ReservationKey, ReservationType};
use clap::Args;
use std::time::Duration;

/// A unit.
#[derive(Debug, Args)]
pub struct Unit {
    /// A unit: its node, its WWID, or the name or number of its map.
    pub device: String,
    /// Have reservd read the unit first, instead of showing what it saw last.
    #[arg(long)]
    pub refresh: bool,
}

/// Units, or all.
#[derive(Debug, Args)]
pub struct Units {
    /// A unit, as with `show'; all units without one.
    pub device: Option<String>,
}

/// `reservctl history`
#[derive(Debug, Args)]
pub struct History {
    /// A unit, as with `show'.
    pub device: String,
    /// Events at most, the newest.
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    pub limit: u32,
}

/// `reservctl watch`
#[derive(Debug, Args)]
pub struct Watch {
    /// Print a line for each event instead of a table; so it is where standard
    /// output is no terminal.
    #[arg(long)]
    pub follow: bool,
}

/// `reservctl check`
#[derive(Debug, Args)]
pub struct Check {
    /// Units, as with `show'; all units in use without one.
    pub devices: Vec<String>,
    /// Units that are not registered are critical too.
    #[arg(long)]
    pub registered: bool,
}

/// How a unit is changed.
#[derive(Debug, Args)]
pub struct How {
    /// Say what would be done, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Why, for reservd's log.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Do not ask.
    #[arg(long, short)]
    pub yes: bool,
    /// How long it may take; reservd's own limit without this.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
}

/// A change without arguments of its own.
#[derive(Debug, Args)]
pub struct Plain {
    /// A unit, as with `show'.
    pub device: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "would replace the command's own help")]
    pub how: How,
}

/// `reservctl register`
#[derive(Debug, Args)]
pub struct Register {
    /// A unit, as with `show'.
    pub device: String,
    /// The key.
    #[arg(value_parser = present_key)]
    pub key: ReservationKey,
    /// The key this host has and reservd does not know; it is replaced.
    #[arg(long, value_name = "KEY", value_parser = present_key)]
    pub existing_key: Option<ReservationKey>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "would replace the command's own help")]
    pub flags: RegisterFlags,
    #[command(flatten)]
    #[expect(missing_docs, reason = "would replace the command's own help")]
    pub how: How,
}

/// `reservctl adopt`
#[derive(Debug, Args)]
pub struct Adopt {
    /// A unit, as with `show'.
    pub device: String,
    /// The key that paths of this host have.
    #[arg(value_parser = present_key)]
    pub key: ReservationKey,
    #[command(flatten)]
    #[expect(missing_docs, reason = "would replace the command's own help")]
    pub flags: RegisterFlags,
    #[command(flatten)]
    #[expect(missing_docs, reason = "would replace the command's own help")]
    pub how: How,
}

/// `reservctl rearm`
#[derive(Debug, Args)]
pub struct Rearm {
    /// A unit, as with `show'.
    pub device: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "would replace the command's own help")]
    pub flags: RegisterFlags,
    #[command(flatten)]
    #[expect(missing_docs, reason = "would replace the command's own help")]
    pub how: How,
}

/// What goes with a registration.
#[derive(Debug, Args)]
pub struct RegisterFlags {
    /// Let the unit keep keys and reservation through power loss, or not; as it
    /// does now without this.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub aptpl: Option<bool>,
    /// Register on every target port of the unit.
    #[arg(long)]
    pub all_tg_pt: bool,
}

/// `reservctl reserve`
#[derive(Debug, Args)]
pub struct Reserve {
    /// A unit, as with `show'.
    pub device: String,
    /// Type of the reservation.
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: ReservationType,
    #[command(flatten)]
    #[expect(missing_docs, reason = "would replace the command's own help")]
    pub how: How,
}

/// `reservctl preempt`
#[derive(Debug, Args)]
pub struct Preempt {
    /// A unit, as with `show'.
    pub device: String,
    /// The key to remove.
    #[arg(long, value_name = "KEY")]
    pub victim: ReservationKey,
    /// Type of the reservation, where the victim holds it.
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: ReservationType,
    /// Also abort the commands of those that lose their key.
    #[arg(long)]
    pub abort: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "would replace the command's own help")]
    pub how: How,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>().map(Duration::try_from_secs_f64) {
        Ok(Ok(time)) if (0.1..=600.0).contains(&time.as_secs_f64()) => Ok(time),
        _ => Err("a number of seconds from 0.1 to 600".into()),
    }
}
