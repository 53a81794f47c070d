//! `reservctl status`: the units in use and what became of their registrations,
//! as reservd shows them on the bus. No device is asked.

use super::page::{Cell, Page, Table, Tone};
use super::view::Host;
use super::view::unit::Unit;

/// A table of the units, with a sentence below each one that is not well.
pub fn render(host: &Host, page: &Page) -> String {
    let mut text = String::new();
    if let Some(error) = &host.reservd.last_reload_error {
        let line = format!("the configuration has a mistake, and the old one holds: {error}");
        for line in page.paragraph(0, &line).lines() {
            text += &format!("{}\n", page.paint(Tone::Warning, line));
        }
    }
    if host.units.is_empty() {
        return text + "no units in use\n";
    }
    let mut table = Table::new([
        ("NAME", 0),
        ("STATE", 0),
        ("KEY", 2),
        ("TYPE", 0),
        ("HOLDER", 0),
        ("OWNER", 1),
        ("PATHS", 0),
        ("GEN", 3),
        ("CLIENTS", 4),
        ("WWID", 5),
    ]);
    for unit in &host.units {
        let cells = [
            unit.label().into(),
            unit.state_cell(),
            Cell::optional(unit.key.as_deref()),
            Cell::optional(unit.reservation_type.as_deref()),
            holder(unit),
            Cell::optional(unit.reservation_owner.as_deref()),
            unit.path_cell(),
            unit.generation.to_string().into(),
            unit.clients.len().to_string().into(),
            Cell::new(Tone::Faint, &unit.wwid),
        ];
        match unit.tone() {
            tone @ (Tone::Warning | Tone::Bad) => table.row_with_note(cells, tone, &unit.reason),
            _ => table.row(cells),
        }
    }
    text + &table.render(page)
}

/// The holder's key, or that all registrants hold.
fn holder(unit: &Unit) -> Cell {
    match unit.reservation_key.as_deref() {
        Some("0x0") => "all".into(),
        key => Cell::optional(key),
    }
}
