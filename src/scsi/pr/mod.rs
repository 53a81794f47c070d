//! Parameter data of PERSISTENT RESERVE IN and OUT (SPC-4 6.15 and 6.16).

mod data;
mod kind;
mod parameters;
mod status;

pub use data::{Capabilities, KeyList, MalformedData, Reservation, ReservationData};
pub use kind::{InvalidType, ReservationType, ScopeType};
pub use parameters::{MoveParameters, OutParameters, RegisterFlags};
pub use status::{FullDescriptor, FullStatus, NexusId};

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}
