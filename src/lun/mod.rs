//! Logical units as this host uses them: one owner each.
//!
//! Every logical unit, known by its WWID, has one [`actor`] through which all
//! PERSISTENT RESERVE OUT commands of this host go, one after another. Reads do
//! not wait for it. Units know nothing of each other, so one that hangs delays
//! nobody else.

pub mod actor;
pub mod arming;
mod errand;
pub mod guard;
pub mod hints;
pub mod history;
mod look;
mod node;
mod notebook;
pub mod notice;
pub mod plan;
pub mod preview;
mod pulse;
pub mod registry;
pub mod route;
pub mod snapshot;
pub mod state;
pub mod unit;
pub mod upkeep;
mod view;
pub mod watch;
