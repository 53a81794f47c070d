//! The real `reservd` on a bus of its own, with a simulated unit.

#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

mod authority;
mod bus;
mod changes;
mod commands;
#[path = "../reservctl/daemon.rs"]
mod daemon;
mod examples;
mod hung;
mod interface;
mod jobs;
mod json;
mod objects;
mod outage;
mod repairs;
mod scale;
mod signals;
mod status;
mod world;
