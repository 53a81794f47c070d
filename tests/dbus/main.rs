//! The real `reservd` on a bus of its own, with a simulated unit.

#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

mod authority;
mod bus;
mod changes;
#[path = "../reservctl/daemon.rs"]
mod daemon;
mod hung;
mod interface;
mod jobs;
mod outage;
mod signals;
mod status;
