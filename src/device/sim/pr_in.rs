//! PERSISTENT RESERVE IN (SPC-4 6.15): state to parameter data.

use super::reservations::Reservations;
use super::unit::Config;
use crate::scsi::pr::{
    Capabilities, FullDescriptor, FullStatus, KeyList, NexusId, Reservation, ReservationData,
};
use crate::scsi::{InAction, PrIn, ReservationKey};

/// The parameter data, cut to the allocation length. Its length fields tell how
/// much there would have been; no allocation length is too small.
pub(super) fn data(state: &Reservations, config: &Config, command: PrIn) -> Vec<u8> {
    let mut data = match command.action {
        InAction::ReadKeys => keys(state).encode(),
        InAction::ReadReservation => reservation(state).encode(),
        InAction::ReportCapabilities => capabilities(state, config).encode(),
        InAction::ReadFullStatus => full_status(state).encode(),
    };
    data.truncate(command.allocation_length.into());
    data
}

/// One key for each registration, oldest first.
fn keys(state: &Reservations) -> KeyList {
    let keys: Vec<ReservationKey> = state.registrations.iter().map(|row| row.key).collect();
    KeyList {
        generation: state.generation,
        additional_length: 8 * keys.len() as u32,
        keys,
    }
}

/// The holder's key, or zero where every registrant holds.
fn reservation(state: &Reservations) -> ReservationData {
    ReservationData {
        generation: state.generation,
        reservation: state.scope_type().map(|scope_type| Reservation {
            key: state.holder_key().unwrap_or_default(),
            scope_type,
        }),
    }
}

/// All six types; TEST UNIT READY passes every reservation (ALLOW COMMANDS 1).
fn capabilities(state: &Reservations, config: &Config) -> Capabilities {
    Capabilities {
        replace_lost_reservation: false,
        compatible_handling: false,
        spec_i_pt: config.spec_i_pt_capable,
        all_tg_pt: config.all_tg_pt_capable,
        persist_capable: config.persist_capable,
        persist_active: state.aptpl,
        allow_commands: 1,
        type_mask: Some([0xea, 0x01]),
    }
}

/// One descriptor for each registration, oldest first. Those of an ALL_TG_PT
/// command stay one for each port, as in LIO, with the bit and without a port.
fn full_status(state: &Reservations) -> FullStatus {
    let rows = state.registrations.iter().map(|row| FullDescriptor {
        key: row.key,
        all_tg_pt: row.all_tg_pt,
        holder: state.scope_type().filter(|_| state.is_holder(&row.nexus)),
        nexus: NexusId {
            transport_id: row.nexus.transport_id.clone(),
            relative_target_port: match row.all_tg_pt {
                true => 0,
                false => row.nexus.relative_target_port,
            },
        },
    });
    FullStatus::new(state.generation, rows.collect())
}
