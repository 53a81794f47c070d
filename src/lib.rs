//! reservd: SCSI persistent reservations for virtual machines on shared LUNs.
//!
//! See ARCHITECTURE.md for the map. In short: [`scsi`] is pure and knows the
//! standard, the other modules bring its commands to real logical units.

pub mod activation;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod dbus;
pub mod device;
pub mod engine;
pub mod frontend;
pub mod import;
pub mod journal;
pub mod logging;
pub mod lun;
pub mod multipathd;
pub mod owner;
pub mod panics;
pub mod pidfile;
pub mod privileges;
pub mod protocol;
pub mod scsi;
pub mod server;
pub mod simulation;
pub mod socket;
pub mod sys;
pub mod vacancy;
pub mod watch;
pub mod worker;
