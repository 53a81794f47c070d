//! One talk with multipathd, from its purpose to its end.

use super::arming::{self, Fault, Goal};
use crate::config::Coordination;
use crate::multipathd::{Multipathd, Unreachable};
use crate::protocol::multipathd::{MapName, Reply, Request, Verb};
use std::sync::Arc;

/// What multipathd is spoken to for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    /// Lead it to the goal.
    Pursue,
    /// See whether it is there still.
    Check,
    /// Tell it whether our registration holds the reservation.
    Hold(bool),
}

/// How a talk ended.
#[derive(Debug)]
pub(super) struct Told {
    /// The goal it was about.
    pub goal: Goal,
    /// Its purpose.
    pub errand: Errand,
    /// Whether multipathd is there.
    pub end: Result<(), Trouble>,
    /// Whether it knows of holders, where that came up.
    pub can_hold: Option<bool>,
}

/// Why multipathd is not where it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// It did not do as told.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// It did not answer.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

impl Errand {
    /// What is said for it. Where multipathd is only observed it is told nothing,
    /// just asked.
    pub fn requests(self, map: &MapName, goal: Goal, terms: Coordination) -> Vec<Request> {
        let observing = terms == Coordination::Observe;
        let request = |verb| Request {
            map: map.clone(),
            verb,
        };
        match (self, goal) {
            (Errand::Pursue, Goal::Disarmed) if observing => Vec::new(),
            (Errand::Pursue, _) if !observing => arming::requests(map, goal),
            (Errand::Pursue | Errand::Check, _) => arming::questions(map, goal),
            (Errand::Hold(true), _) => [Verb::GetHold, Verb::SetHold].map(request).to_vec(),
            (Errand::Hold(false), _) => [Verb::GetHold, Verb::UnsetHold].map(request).to_vec(),
        }
    }

    /// Sends requests until one is judged a fault or not answered.
    pub async fn run(
        self,
        multipathd: Arc<Multipathd>,
        goal: Goal,
        requests: Vec<Request>,
    ) -> Told {
        let mut can_hold = None;
        let end = converse(&multipathd, goal, &requests, &mut can_hold).await;
        Told {
            goal,
            errand: self,
            end,
            can_hold,
        }
    }
}

/// Sends requests until one is judged a fault or not answered.
async fn converse(
    multipathd: &Multipathd,
    goal: Goal,
    requests: &[Request],
    can_hold: &mut Option<bool>,
) -> Result<(), Trouble> {
    for request in requests {
        let reply = multipathd.ask(request).await?;
        if request.verb == Verb::GetHold {
            let known = !matches!(reply, Reply::Refused(_));
            *can_hold = Some(known);
            if !known {
                return Ok(());
            }
        }
        arming::judge(goal, request.verb, &reply)?;
    }
    Ok(())
}
