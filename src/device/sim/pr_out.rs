//! PERSISTENT RESERVE OUT (SPC-4 6.16): the checks all service actions share,
//! and RESERVE, RELEASE and CLEAR.

use super::refusal::Refusal;
use super::reservations::{Event, Held, Reservations};
use super::unit::Config;
use super::{preempt, register};
use crate::scsi::pr::{NexusId, OutParameters, ScopeType};
use crate::scsi::{OutAction, PrOut, ReservationType, SenseCode, TransportId};

/// What a command sees besides the reservation state.
pub(super) struct Request<'a> {
    /// Who sent it.
    pub(super) sender: &'a NexusId,
    /// The command.
    pub(super) command: &'a PrOut,
    /// Ports and capabilities of the unit.
    pub(super) config: &'a Config,
    /// The initiator ports that ever logged in.
    pub(super) initiators: &'a [TransportId],
}

/// Carries a command out on a copy of the state, so that a refusal half-way
/// leaves nothing behind. Returns the new state and the unit attentions.
pub(super) fn execute(
    state: &Reservations,
    request: &Request<'_>,
) -> Result<(Reservations, Vec<Event>), Refusal> {
    check_flags(request)?;
    let mut next = state.clone();
    let events = match request.command.action {
        OutAction::Register => register::register(&mut next, request)?,
        OutAction::RegisterAndIgnore => register::register_and_ignore(&mut next, request)?,
        OutAction::RegisterAndMove => register::register_and_move(&mut next, request)?,
        OutAction::Reserve => reserve(&mut next, request)?,
        OutAction::Release => release(&mut next, request)?,
        OutAction::Clear => clear(&mut next, request)?,
        OutAction::Preempt | OutAction::PreemptAndAbort => preempt::preempt(&mut next, request)?,
        // RLR_C is zero: the information is never lost, so nothing replaces it.
        OutAction::ReplaceLostReservation => {
            return Err(SenseCode::INVALID_FIELD_IN_PARAMETER_LIST.into());
        }
    };
    if next.registrations.len() > request.config.maximum_registrations {
        return Err(SenseCode::INSUFFICIENT_REGISTRATION_RESOURCES.into());
    }
    if !matches!(
        request.command.action,
        OutAction::Reserve | OutAction::Release
    ) {
        next.count();
    }
    Ok((next, events))
}

/// Length of the parameter list against its flags, and the flags against the
/// service action and the capabilities (SPC-4 6.16.3).
fn check_flags(request: &Request<'_>) -> Result<(), Refusal> {
    let OutParameters {
        flags,
        transport_ids,
        moved,
        ..
    } = &request.command.parameters;
    let registers = matches!(
        request.command.action,
        OutAction::Register | OutAction::RegisterAndIgnore
    );
    if flags.spec_i_pt {
        let announced = transport_ids
            .first_chunk()
            .map(|length| u32::from_be_bytes(*length) as usize);
        if announced.and_then(|length| length.checked_add(4)) != Some(transport_ids.len()) {
            return Err(SenseCode::PARAMETER_LIST_LENGTH_ERROR.into());
        }
        if request.command.action != OutAction::Register || !request.config.spec_i_pt_capable {
            return Err(Refusal::Parameter(20, 3));
        }
    } else if moved.is_none() && !transport_ids.is_empty() {
        return Err(SenseCode::PARAMETER_LIST_LENGTH_ERROR.into());
    }
    if registers && flags.all_tg_pt && !request.config.all_tg_pt_capable {
        return Err(Refusal::Parameter(20, 2));
    }
    if registers && flags.aptpl && !request.config.persist_capable {
        return Err(Refusal::Parameter(20, 0));
    }
    match moved {
        Some(moved) if moved.aptpl && !request.config.persist_capable => {
            Err(Refusal::Parameter(17, 0))
        }
        _ => Ok(()),
    }
}

/// The sender has to be registered and to name its key.
pub(super) fn authenticate(state: &Reservations, request: &Request<'_>) -> Result<(), Refusal> {
    match state.key_of(request.sender) {
        Some(key) if key == request.command.parameters.key => Ok(()),
        _ => Err(Refusal::Conflict),
    }
}

/// The type asked for, where the command uses it.
pub(super) fn kind(scope_type: ScopeType) -> Result<ReservationType, Refusal> {
    let pointer = match scope_type.0 >> 4 {
        0 => Refusal::Cdb(2, 3),
        _ => Refusal::Cdb(2, 7),
    };
    scope_type.kind().ok_or(pointer)
}

/// SPC-4 "Reserving".
fn reserve(state: &mut Reservations, request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    let kind = kind(request.command.scope_type)?;
    authenticate(state, request)?;
    match &state.held {
        None => state.held = Some(Held::by(kind, request.sender)),
        Some(held) if state.is_holder(request.sender) && held.kind == kind => {}
        Some(_) => return Err(Refusal::Conflict),
    }
    Ok(Vec::new())
}

/// SPC-4 "Releasing": scope and type have to be those of the reservation, and
/// matter only to its holder.
fn release(state: &mut Reservations, request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    authenticate(state, request)?;
    let kind = match &state.held {
        Some(held) if state.is_holder(request.sender) => held.kind,
        _ => return Ok(Vec::new()),
    };
    if request.command.scope_type != ScopeType::from(kind) {
        return Err(SenseCode::INVALID_RELEASE.into());
    }
    state.held = None;
    Ok(match kind.is_holder_only() {
        true => Vec::new(),
        false => state.tell_others(request.sender, SenseCode::RESERVATIONS_RELEASED),
    })
}

/// SPC-4 "Clearing": any registered nexus may, holder or not.
fn clear(state: &mut Reservations, request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    authenticate(state, request)?;
    let events = state.tell_others(request.sender, SenseCode::RESERVATIONS_PREEMPTED);
    state.held = None;
    state.registrations.clear();
    Ok(events)
}
