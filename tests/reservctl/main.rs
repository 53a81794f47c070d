//! The real `reservctl` against the real `reservd` on a simulated unit.

#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

mod changes;
mod daemon;
mod failures;
mod output;
