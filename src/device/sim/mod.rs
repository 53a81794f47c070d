//! A simulated logical unit with persistent reservations.
//!
//! [`mod@unit`] is a pure state machine that answers CDBs as SPC-4 asks;
//! [`fabric`] gives it hosts and paths, each of them a [`Nexus`] with faults
//! that can be injected. It is the demo's storage and the tests', never a
//! fallback: only a configuration that names it reaches it.
//!
//! It follows the standard where targets differ. It has no SPC-2 RESERVE and
//! RELEASE (CRH is zero), never loses its reservation information (RLR_C is
//! zero), keeps no data, and ends every command before the next one starts, so
//! that PREEMPT AND ABORT finds nothing to abort.
//!
//! [`Nexus`]: crate::device::Nexus

#![forbid(unsafe_code)]

mod access;
mod attention;
mod block;
pub mod fabric;
mod inquiry;
pub mod path;
mod pr_in;
mod pr_out;
mod preempt;
mod refusal;
mod register;
pub mod reservations;
pub mod unit;

#[cfg(test)]
mod tests;

pub use fabric::{Registered, SimLun};
pub use path::{Executed, Fault, SimPath, Stuck};
pub use unit::{Config, LogicalUnit};
