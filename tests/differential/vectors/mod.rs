//! The table.

mod bytes;
mod clients;
mod commands;
mod outcomes;

use crate::script::Vector;

pub fn all() -> Vec<Vector> {
    let groups = [
        commands::commands(),
        commands::lengths(),
        clients::descriptors(),
        clients::framing(),
        clients::connections(),
        outcomes::transport(),
        outcomes::statuses(),
        outcomes::transfers(),
    ];
    groups.into_iter().flatten().collect()
}
