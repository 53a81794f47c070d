//! The whole service in this process, over its socket, on simulated units.

#[path = "../rig/mod.rs"]
mod rig;

mod crowd;
mod hung;
mod late;
mod permission;
mod shutdown;
mod violations;
