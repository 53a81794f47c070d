//! The daemon and its configuration: checked, obeyed, and read again.

#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

mod check;
#[path = "../reservctl/daemon.rs"]
mod daemon;
mod import;
mod keys;
mod reload;
