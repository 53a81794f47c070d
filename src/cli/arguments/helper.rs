//! The command line of `reservd-pr-helper`, which is that of qemu-pr-helper.

use clap::Parser;
use std::path::PathBuf;

/// Persistent reservation helper for QEMU
#[derive(Debug, Parser)]
#[command(name = "reservd-pr-helper", version, disable_version_flag = true)]
pub struct Arguments {
    /// Print the version.
    #[arg(short = 'V', long, action = clap::ArgAction::Version)]
    pub version: Option<bool>,
    /// Run in the background.
    #[arg(short, long)]
    pub daemon: bool,
    /// Pid file.
    #[arg(short = 'f', long, value_name = "PATH")]
    pub pidfile: Option<PathBuf>,
    /// Socket to listen on.
    #[arg(short = 'k', long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Accepted for compatibility; there is no such tracing here.
    #[arg(short = 'T', long, value_name = "SPEC")]
    pub trace: Option<String>,
    /// Become this user.
    #[arg(short, long)]
    pub user: Option<String>,
    /// Become this group.
    #[arg(short, long)]
    pub group: Option<String>,
    /// Log more; may be repeated.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Log errors only.
    #[arg(short, long)]
    pub quiet: bool,
    /// Ignored, as the old helper does.
    #[arg(hide = true)]
    pub rest: Vec<String>,
}
