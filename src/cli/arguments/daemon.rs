//! The command line of `reservd`.

use clap::Parser;
use std::path::PathBuf;

/// Persistent reservations for virtual machines, on SCSI disks and multipath maps.
#[derive(Debug, Parser)]
#[command(name = "reservd", version)]
pub struct Arguments {
    /// Configuration file, to which the files conf.d/*.toml beside it are added;
    /// without it, /etc/reservd/reservd.toml where that exists.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Only check the configuration: name the files that are sound, or say
    /// what is wrong and exit with 1.
    #[arg(long)]
    pub check: bool,
    /// Log more; twice for even more.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}
