//! PREEMPT and PREEMPT AND ABORT (SPC-4 "Preempting").

use super::pr_out::{Request, authenticate, kind};
use super::refusal::Refusal;
use super::reservations::{Event, Held, Reservations};
use crate::scsi::pr::NexusId;
use crate::scsi::{ReservationKey, SenseCode};

/// Both do the same here: no command of another nexus is ever under way.
pub(super) fn preempt(
    state: &mut Reservations,
    request: &Request<'_>,
) -> Result<Vec<Event>, Refusal> {
    authenticate(state, request)?;
    let victim = request.command.parameters.service_action_key;
    match &state.held {
        Some(Held { holder: None, .. }) if victim.is_zero() => take_over(state, request, |_| true),
        _ if victim.is_zero() => Err(Refusal::Parameter(8, 7)),
        _ if state.holder_key() == Some(victim) => take_over(state, request, |key| key == victim),
        _ => remove(state, request, victim),
    }
}

/// Removes the other nexuses whose keys match, and gives the sender a new
/// reservation in the place of the present one, in one step.
fn take_over(
    state: &mut Reservations,
    request: &Request<'_>,
    matches: impl Fn(ReservationKey) -> bool,
) -> Result<Vec<Event>, Refusal> {
    let kind = kind(request.command.scope_type)?;
    let gone = state.remove(|row| row.nexus != *request.sender && matches(row.key));
    let before = state.held.replace(Held::by(kind, request.sender));
    let mut events = fenced(request, gone);
    if before.is_some_and(|held| held.kind != kind) {
        events.extend(state.tell_others(request.sender, SenseCode::RESERVATIONS_RELEASED));
    }
    Ok(events)
}

/// Removes every nexus with this key, the sender too if it is its own. The
/// reservation stays, unless every registrant held it and none is left.
fn remove(
    state: &mut Reservations,
    request: &Request<'_>,
    victim: ReservationKey,
) -> Result<Vec<Event>, Refusal> {
    let gone = state.remove(|row| row.key == victim);
    if gone.is_empty() {
        return Err(Refusal::Conflict);
    }
    if state.registrations.is_empty() {
        state.held = None;
    }
    Ok(fenced(request, gone))
}

/// Unit attentions for those that lost their registration.
fn fenced(request: &Request<'_>, gone: Vec<NexusId>) -> Vec<Event> {
    gone.into_iter()
        .filter(|nexus| nexus != request.sender)
        .map(|nexus| (nexus, SenseCode::REGISTRATIONS_PREEMPTED))
        .collect()
}
