//! Holding a map still for the moment in which our paths are unregistered.

use crate::device::identity::DeviceNumber;
use crate::sys::dm::Control;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// A map is held no longer than this; guests wait meanwhile.
const LONGEST: Duration = Duration::from_secs(1);
/// Suspending waits for I/O in flight; more than this is not worth it.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The suspend has not returned.
    Pending,
    /// The map is suspended, by us.
    Held,
    /// Nothing is held, and a suspend that returns later is undone at once.
    Over,
}

/// A suspended map; or none, where that was not possible.
#[derive(Debug)]
pub(super) struct Hold {
    shared: Option<(Arc<Mutex<Stage>>, DeviceNumber)>,
}

impl Hold {
    /// Suspends the map without flushing. Where that is not allowed, or in-flight
    /// I/O keeps it from ending soon, goes on without.
    pub(super) async fn take(map: Option<DeviceNumber>) -> Hold {
        let Some(number) = map else {
            return Hold { shared: None };
        };
        let stage = Arc::new(Mutex::new(Stage::Pending));
        let shared = Arc::clone(&stage);
        let suspending = spawn_blocking(move || suspend(&shared, number));
        if let Err(_elapsed) = timeout(PATIENCE, suspending).await {
            tracing::warn!(map = %number, "map not suspended in time; going on without");
        }
        let hold = Hold {
            shared: Some((stage, number)),
        };
        let limit = hold.shared.clone();
        tokio::spawn(async move {
            sleep(LONGEST).await;
            end(limit).await;
        });
        hold
    }

    /// Resumes the map.
    pub(super) async fn release(self) {
        end(self.shared).await;
    }
}

fn suspend(stage: &Mutex<Stage>, number: DeviceNumber) {
    let result = Control::open().and_then(|control| control.suspend(number.major, number.minor));
    let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
    match (result, *stage) {
        (Ok(()), Stage::Over) => resume(number),
        (Ok(()), _) => *stage = Stage::Held,
        (Err(error), _) => {
            *stage = Stage::Over;
            tracing::warn!(map = %number, %error, "map not suspended; going on without");
        }
    }
}

async fn end(shared: Option<(Arc<Mutex<Stage>>, DeviceNumber)>) {
    let Some((stage, number)) = shared else {
        return;
    };
    let previous = {
        let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *stage, Stage::Over)
    };
    if previous == Stage::Held {
        // The blocking pool only ends with the process.
        let _ = spawn_blocking(move || resume(number)).await;
    }
}

fn resume(number: DeviceNumber) {
    let result = Control::open().and_then(|control| control.resume(number.major, number.minor));
    if let Err(error) = result {
        tracing::error!(map = %number, %error, "map stays suspended");
    }
}
