//! reservd: SCSI persistent reservations for virtual machines on shared LUNs.
//!
//! See ARCHITECTURE.md for the map. In short: [`scsi`] is pure and knows the
//! standard, the other modules bring its commands to real logical units.

pub mod device;
pub mod protocol;
pub mod scsi;
pub mod sys;
