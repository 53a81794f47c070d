//! REGISTER, REGISTER AND IGNORE EXISTING KEY, REGISTER AND MOVE (SPC-4
//! "Registering", "Unregistering", "Registering and moving the reservation").

use super::pr_out::{Request, authenticate};
use super::refusal::Refusal;
use super::reservations::{Event, Held, Reservations};
use crate::scsi::pr::NexusId;
use crate::scsi::{SenseCode, TransportId};

/// REGISTER: the sender has to name its key, zero where it has none.
pub(super) fn register(
    state: &mut Reservations,
    request: &Request<'_>,
) -> Result<Vec<Event>, Refusal> {
    let parameters = &request.command.parameters;
    let own = state.key_of(request.sender);
    if own.unwrap_or_default() != parameters.key {
        return Err(Refusal::Conflict);
    }
    if own.is_some() && parameters.flags.spec_i_pt {
        return Err(Refusal::Parameter(20, 3));
    }
    if own.is_none() && parameters.service_action_key.is_zero() {
        return Ok(Vec::new());
    }
    // ALL_TG_PT is as if the command came through every port: where it would
    // conflict on one of them, it does for all.
    let targets = targets(request);
    let differs = |nexus| state.key_of(nexus).is_some_and(|key| key != parameters.key);
    if targets.iter().any(differs) {
        return Err(Refusal::Conflict);
    }
    let events = apply(state, request, &targets);
    if parameters.flags.spec_i_pt {
        register_listed(state, request)?;
    }
    Ok(events)
}

/// REGISTER AND IGNORE EXISTING KEY: never a conflict.
pub(super) fn register_and_ignore(
    state: &mut Reservations,
    request: &Request<'_>,
) -> Result<Vec<Event>, Refusal> {
    let targets = targets(request);
    let unregisters = request.command.parameters.service_action_key.is_zero();
    if unregisters && !targets.iter().any(|nexus| state.is_registered(nexus)) {
        return Ok(Vec::new());
    }
    Ok(apply(state, request, &targets))
}

/// The sender's nexus, or with ALL_TG_PT those of its initiator port with every
/// target port.
fn targets(request: &Request<'_>) -> Vec<NexusId> {
    nexuses(request, &request.sender.transport_id)
}

fn nexuses(request: &Request<'_>, transport_id: &TransportId) -> Vec<NexusId> {
    let nexus = |relative_target_port| NexusId {
        transport_id: transport_id.clone(),
        relative_target_port,
    };
    let own = request.sender.relative_target_port;
    if !request.command.parameters.flags.all_tg_pt {
        return vec![nexus(own)];
    }
    let others = request.config.target_ports.iter().filter(|p| **p != own);
    std::iter::once(own)
        .chain(others.copied())
        .map(nexus)
        .collect()
}

/// Registers, changes or removes the keys of these nexuses; APTPL of the list
/// becomes that of the unit.
fn apply(state: &mut Reservations, request: &Request<'_>, targets: &[NexusId]) -> Vec<Event> {
    let parameters = &request.command.parameters;
    state.aptpl = parameters.flags.aptpl;
    if parameters.service_action_key.is_zero() {
        return unregister(state, request, targets);
    }
    for nexus in targets {
        state.set_key(nexus, parameters.service_action_key);
    }
    if parameters.flags.all_tg_pt {
        state.join(request.sender);
    }
    Vec::new()
}

/// SPC-4 "Unregistering": a single holder takes the reservation with it, and
/// the registrants-only types tell the others; the all-registrants types go
/// with the last registration.
fn unregister(state: &mut Reservations, request: &Request<'_>, gone: &[NexusId]) -> Vec<Event> {
    let gone = state.remove(|row| gone.contains(&row.nexus));
    let Some(held) = &state.held else {
        return Vec::new();
    };
    let (kind, lost) = match &held.holder {
        Some(holder) => (held.kind, gone.contains(holder)),
        None => (held.kind, state.registrations.is_empty()),
    };
    if !lost {
        return Vec::new();
    }
    state.held = None;
    match kind.is_holder_only() {
        true => Vec::new(),
        false => state.tell_others(request.sender, SenseCode::RESERVATIONS_RELEASED),
    }
}

/// SPEC_I_PT: the initiator ports in the list get the sender's key too. They
/// have to be known here and must not be registered.
fn register_listed(state: &mut Reservations, request: &Request<'_>) -> Result<(), Refusal> {
    let parameters = &request.command.parameters;
    let mut rest = parameters.transport_ids.get(4..).unwrap_or_default();
    while !rest.is_empty() {
        // 24 bytes of list, 4 of length, and what has been read.
        let at = 24 + parameters.transport_ids.len() - rest.len();
        let refusal = Refusal::Parameter(u16::try_from(at).unwrap_or(u16::MAX), 7);
        let (transport_id, after) = TransportId::parse(rest).map_err(|_| refusal)?;
        let listed = nexuses(request, &transport_id);
        let registered = listed.iter().any(|nexus| state.is_registered(nexus));
        if registered || !request.initiators.contains(&transport_id) {
            return Err(refusal);
        }
        for nexus in &listed {
            state.set_key(nexus, parameters.service_action_key);
        }
        if let (true, Some(nexus)) = (parameters.flags.all_tg_pt, listed.first()) {
            state.join(nexus);
        }
        rest = after;
    }
    Ok(())
}

/// REGISTER AND MOVE: the holder registers another nexus and hands it the
/// reservation.
pub(super) fn register_and_move(
    state: &mut Reservations,
    request: &Request<'_>,
) -> Result<Vec<Event>, Refusal> {
    authenticate(state, request)?;
    let parameters = &request.command.parameters;
    let Some(moved) = &parameters.moved else {
        return Err(SenseCode::PARAMETER_LIST_LENGTH_ERROR.into());
    };
    let kind = match &state.held {
        None => return Err(Refusal::Cdb(1, 4)),
        Some(held) if held.holder.as_ref() == Some(request.sender) => held.kind,
        // Not the holder, or one of many.
        Some(_) => return Err(Refusal::Conflict),
    };
    if parameters.service_action_key.is_zero() {
        return Err(Refusal::Parameter(8, 7));
    }
    let port = moved.relative_target_port;
    if !request.config.target_ports.contains(&port) {
        return Err(Refusal::Parameter(18, 7));
    }
    let target = match TransportId::parse(&moved.transport_id) {
        Ok((transport_id, [])) => NexusId {
            transport_id,
            relative_target_port: port,
        },
        _ => return Err(Refusal::Parameter(24, 7)),
    };
    let protocol = target.transport_id.bytes().first().map(|byte| byte & 0x0f);
    if target == *request.sender || protocol != Some(request.config.protocol) {
        return Err(Refusal::Parameter(24, 7));
    }
    state.set_key(&target, parameters.service_action_key);
    state.held = Some(Held::by(kind, &target));
    if moved.unregister {
        state.remove(|row| row.nexus == *request.sender);
    }
    state.aptpl = moved.aptpl;
    Ok(Vec::new())
}
