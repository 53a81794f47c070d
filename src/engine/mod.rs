//! How a command reaches a logical unit that has several paths.
//!
//! [`read`] serves PERSISTENT RESERVE IN from one live path. [`direct`] brings
//! PERSISTENT RESERVE OUT to every path it concerns, so that the host as a whole
//! behaves like one initiator.

pub mod direct;
pub mod lane;
pub mod mpathpersist;
pub mod path;
pub mod policy;
pub mod read;

pub use path::{Gates, Late, Path};
