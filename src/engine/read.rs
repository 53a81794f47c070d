//! PERSISTENT RESERVE IN on a map: one path answers, the next one steps in.

use super::Path;
use crate::device::TransportError;
use crate::scsi::{Outcome, PrIn, SenseCode};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

/// A path silent for this long gets company: the same command on the next path.
pub const HEDGE: Duration = Duration::from_millis(500);
/// Unit attentions other than a reservation's are taken this often on a path.
const ATTENTIONS: usize = 5;

/// The answer, and which of `paths` gave it.
#[derive(Debug)]
pub struct Answered {
    /// What the unit, or failing that the transport, said.
    pub outcome: Outcome,
    /// Index of the path that reached the unit.
    pub by: Option<usize>,
}

/// Sends `command` through the path at `start` and, where that fails or stays
/// silent, through those after it in turn. The first answer counts.
///
/// A unit attention about reservations is passed on, as a disk would; others
/// are taken and the command is sent again.
pub async fn read(paths: &[Path], start: usize, command: PrIn, until: Instant) -> Answered {
    let mut order = (0..paths.len()).map(|step| (start + step) % paths.len());
    let mut last = TransportError::not_sent(SenseCode::NO_RESPONSE_TO_SELECTION);
    let Some(first) = order.next() else {
        return unanswered(last);
    };

    // The common case runs without a task of its own.
    let mut attempt = Box::pin(attempt(paths[first].clone(), command, until));
    let hedge = (Instant::now() + HEDGE).min(until);
    let mut running = JoinSet::new();
    match timeout_at(hedge, &mut attempt).await {
        Ok(Ok(outcome)) => return answered(outcome, first),
        Ok(Err(error)) => last = error,
        Err(_) => {
            running.spawn(async move { (first, attempt.await) });
        }
    }
    loop {
        if let Some(next) = order.next() {
            let path = paths[next].clone();
            running.spawn(async move { (next, self::attempt(path, command, until).await) });
        } else if running.is_empty() {
            return unanswered(last);
        }
        let hedge = (Instant::now() + HEDGE).min(until);
        tokio::select! {
            Some(Ok((index, result))) = running.join_next() => match result {
                Ok(outcome) => return answered(outcome, index),
                Err(error) => last = error,
            },
            () = sleep_until(hedge) => {}
        }
    }
}

fn answered(outcome: Outcome, by: usize) -> Answered {
    Answered {
        outcome,
        by: Some(by),
    }
}

fn unanswered(error: TransportError) -> Answered {
    Answered {
        outcome: error.answer(),
        by: None,
    }
}

async fn attempt(path: Path, command: PrIn, until: Instant) -> Result<Outcome, TransportError> {
    let mut outcome = path.read(command, until).await?;
    for _ in 0..ATTENTIONS {
        match outcome.sense_code() {
            Some(code) if code.is_port_unusable() => {
                return Err(TransportError::not_sent(code));
            }
            Some(code) if code.is_unit_attention() && !code.is_reservation_event() => {
                outcome = path.read(command, until).await?;
            }
            _ => break,
        }
    }
    Ok(outcome)
}
