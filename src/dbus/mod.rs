//! `org.reservd1` on the system bus: units to look at and to change.
//!
//! It lives on a thread of its own, and the bus is optional: without it, or
//! when it comes and goes, everything else works as it does. Properties come
//! from [snapshots](crate::lun::snapshot) and never ask a device. What does,
//! runs as a client's command would, beside those of the guests.

#![forbid(unsafe_code)]

mod announce;
mod authority;
mod caller;
mod change;
mod client;
mod deed;
mod desk;
mod device;
mod errand;
mod error;
mod job;
mod manager;
mod name;
mod path;
mod report;
mod shown;
mod signals;
mod units;
mod visitors;
mod watched;

pub use desk::{Desk, Reload, Reloads};

use crate::panics::{self, Alarm};
use manager::Manager;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use units::Units;
use zbus::connection::Builder;
use zbus::fdo::ObjectManager;

/// Our name on the bus.
pub const NAME: &str = "org.reservd1";
/// The object with all others below it.
pub const ROOT: &str = "/org/reservd1";
/// The interface of a unit.
pub const DEVICE: &str = "org.reservd1.Device";

/// The bus gets this long to let us in, and to answer a question.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause before the next try to connect doubles from the first to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Which bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bus {
    /// The system's.
    System,
    /// One at this address.
    At(String),
}

impl Bus {
    /// The system's, unless the environment has `RESERVD_BUS_ADDRESS`.
    pub fn from_environment() -> Self {
        match std::env::var("RESERVD_BUS_ADDRESS") {
            Ok(address) => Bus::At(address),
            Err(_) => Bus::System,
        }
    }

    /// A connection to it.
    pub fn builder(&self) -> Builder<'_> {
        match self {
            Bus::System => Builder::system(),
            Bus::At(address) => Builder::address(address.as_str()),
        }
    }
}

/// Serves on a thread of its own until `stop` turns true. Should it panic, it
/// starts anew, and nothing else ends.
///
/// # Errors
/// Where the thread cannot be started.
pub fn start(bus: Bus, desk: Desk, stop: watch::Receiver<bool>) -> io::Result<()> {
    let desk = Arc::new(desk);
    let work = move || panics::persist(PAUSES, |alarm| turn(&bus, &desk, stop.clone(), alarm));
    std::thread::Builder::new()
        .name("dbus".into())
        .spawn(work)
        .map(drop)
}

/// Serves until `stop` turns true, or something panics.
fn turn(bus: &Bus, desk: &Arc<Desk>, mut stop: watch::Receiver<bool>, alarm: &Arc<Alarm>) {
    let helper = Arc::clone(alarm);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_start(move || helper.guard_this_thread())
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "not on the bus: no event loop for it"),
    };
    runtime.block_on(async {
        tokio::select! {
            () = stay(bus, Arc::clone(desk)) => {}
            () = alarm.rung() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    });
    runtime.shutdown_background();
}

/// Is on the bus whenever there is one.
async fn stay(bus: &Bus, desk: Arc<Desk>) {
    let mut pause = PAUSES.0;
    let mut said = false;
    loop {
        match timeout(PATIENCE, serve(bus, &desk)).await {
            Ok(Ok(units)) => {
                tracing::info!(name = NAME, "on the bus");
                units.keep().await;
                tracing::warn!("the bus is gone; going on without it");
                (said, pause) = (true, PAUSES.0);
            }
            Ok(Err(error)) if !said => {
                tracing::info!(%error, "not on the bus; going on without it");
                said = true;
            }
            Err(_) if !said => {
                tracing::info!("the bus does not answer; going on without it");
                said = true;
            }
            Ok(Err(_)) | Err(_) => {}
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Shows what there is, and only then takes the name.
async fn serve(bus: &Bus, desk: &Arc<Desk>) -> zbus::Result<Units> {
    let builder = bus
        .builder()
        .method_timeout(authority::CONVERSATION)
        .serve_at(ROOT, ObjectManager)
        .serve_at(ROOT, Manager::new(Arc::clone(desk)));
    #[cfg(test)]
    let builder = builder.serve_at(ROOT, tests::Saboteur);
    let connection = builder.build().await?;
    let units = Units::start(connection, Arc::clone(desk)).await?;
    units.connection().request_name(NAME).await?;
    Ok(units)
}

#[cfg(test)]
mod tests;
