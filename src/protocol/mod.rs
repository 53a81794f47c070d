//! The pr-manager-helper protocol of QEMU (its `docs/interop/pr-helper.rst`),
//! sans I/O: bytes and descriptors in, requests out; outcomes in, bytes out.
//!
//! | direction | bytes | content |
//! |---|---|---|
//! | helper to client | 4 | feature bits, none is defined |
//! | client to helper | 4 | feature bits it wants |
//! | client to helper | 16 | CDB, with exactly one descriptor beside it |
//! | client to helper | n | parameter list, n = CDB bytes 7 and 8 |
//! | helper to client | 104 | status, payload length, 96 bytes of sense |
//! | helper to client | p | data of a PERSISTENT RESERVE IN that ended GOOD |
//!
//! All integers are big-endian. [`control`] is the same with a relay in between,
//! [`multipathd`] the protocol of another daemon, [`multipath_conf`] what that
//! daemon was told.

#![forbid(unsafe_code)]

pub mod client;
pub mod codec;
pub mod control;
pub mod multipath_conf;
pub mod multipathd;

/// Length of the feature word each side sends.
pub const FEATURES_LENGTH: usize = 4;
/// Length of the CDB field.
pub const CDB_FIELD: usize = 16;
/// Length of a reply without its payload.
pub const REPLY_HEADER: usize = 8 + crate::scsi::Sense::LENGTH;
/// Most bytes of data in either direction.
pub const DATA_MAXIMUM: usize = 8192;
