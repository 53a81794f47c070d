//! What a command found: a short table for people, an object for programs.
//!
//! Keys are strings (`0xa1`), as JSON numbers would lose digits; types are their
//! short names (`WERO`), or for a code the standard does not define both scope
//! and type as one byte (`0x2f`).

use super::change::Changed;
use super::check::Check;
use super::doctor::Doctor;
use super::explain::Explanation;
use super::import::Imported;
use super::page::Page;
use super::show::{Clients, Events, Paths, Shown, UnitKeys};
use super::status;
use super::view::Host;
use crate::scsi::pr::{Capabilities, FullDescriptor, FullStatus, KeyList, ReservationData};
use crate::scsi::{ReservationKey, ScopeType};
use serde::{Serialize, Serializer};
use std::fmt;

/// The result of one command.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Report {
    /// Of `pr keys`.
    Keys(Keys),
    /// Of `pr reservation`.
    Reservation(Reservation),
    /// Of `pr full-status`.
    FullStatus(Registrations),
    /// Of `pr capabilities`.
    Capabilities(Supported),
    /// Of `doctor`.
    Doctor(Doctor),
    /// Of `import`.
    Imported(Imported),
    /// Of `status`.
    Status(Host),
    /// Of `show`.
    Shown(Box<Shown>),
    /// Of `explain`.
    Explained(Explanation),
    /// Of `paths`.
    Paths(Paths),
    /// Of `keys`.
    UnitKeys(UnitKeys),
    /// Of `history`.
    History(Events),
    /// Of `clients`.
    Clients(Clients),
    /// Of `check`.
    Checked(Check),
    /// Of what changes a unit.
    Changed(Changed),
    /// Of `pr` where it changes something.
    Done(Done),
    /// Of `completions`: what the shell reads.
    Text(String),
}

impl Report {
    /// What people should know beside the result; part of the object for
    /// programs.
    pub fn notes(&self) -> &[String] {
        match self {
            Report::Imported(imported) => &imported.notes,
            _ => &[],
        }
    }

    /// What the program ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Report::Checked(check) => check.severity.code(),
            _ => 0,
        }
    }

    /// Lines, each with its end.
    pub fn render(&self, page: &Page) -> String {
        match self {
            Report::Keys(keys) => keys.to_string(),
            Report::Reservation(reservation) => reservation.to_string(),
            Report::FullStatus(registrations) => registrations.to_string(),
            Report::Capabilities(supported) => supported.to_string(),
            Report::Doctor(doctor) => doctor.to_string(),
            Report::Imported(imported) => imported.to_string(),
            Report::Status(host) => status::render(host, page),
            Report::Shown(shown) => shown.render(page),
            Report::Explained(explanation) => explanation.render(page),
            Report::Paths(paths) => paths.render(page),
            Report::UnitKeys(keys) => keys.render(page),
            Report::History(events) => events.render(page),
            Report::Clients(clients) => clients.render(page),
            Report::Checked(check) => check.render(),
            Report::Changed(changed) => changed.render(page),
            Report::Done(done) => format!("{}\n", done.text),
            Report::Text(text) => text.clone(),
        }
    }
}

/// A command that changed something.
#[derive(Debug, Serialize)]
pub struct Done {
    /// The SCSI command, such as `REGISTER`.
    pub done: String,
    /// What people are told.
    pub text: String,
}

/// The registered keys.
#[derive(Debug, Serialize)]
pub struct Keys {
    /// PRGENERATION: counts the changes.
    pub generation: u32,
    /// False where the device has more than the protocol can carry.
    pub complete: bool,
    /// Each key once, in the order of the device.
    pub keys: Vec<KeyCount>,
}

/// A key and how many share it.
#[derive(Debug, Serialize)]
pub struct KeyCount {
    /// The key.
    #[serde(serialize_with = "as_text")]
    pub key: ReservationKey,
    /// How many nexuses are registered with it.
    pub nexuses: usize,
}

impl From<KeyList> for Keys {
    fn from(list: KeyList) -> Self {
        let mut keys: Vec<KeyCount> = Vec::new();
        for key in &list.keys {
            match keys.iter_mut().find(|count| count.key == *key) {
                Some(count) => count.nexuses += 1,
                None => keys.push(KeyCount {
                    key: *key,
                    nexuses: 1,
                }),
            }
        }
        Keys {
            generation: list.generation,
            complete: list.keys.len() * 8 >= list.additional_length as usize,
            keys,
        }
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "generation {}", self.generation)?;
        if self.keys.is_empty() {
            return writeln!(f, "no keys");
        }
        let rows = self.keys.iter().map(|count| {
            [
                count.key.to_string(),
                match count.nexuses {
                    1 => "1 nexus".to_owned(),
                    more => format!("{more} nexuses"),
                },
            ]
        });
        table(f, &rows.collect::<Vec<_>>())?;
        incomplete(f, self.complete)
    }
}

/// The reservation.
#[derive(Debug, Serialize)]
pub struct Reservation {
    /// PRGENERATION: counts the changes.
    pub generation: u32,
    /// Null where there is none.
    pub reservation: Option<Held>,
}

/// A reservation that is held.
#[derive(Debug, Serialize)]
pub struct Held {
    /// The holder's key; for WEAR and EAAR the device says 0x0.
    #[serde(serialize_with = "as_text")]
    pub key: ReservationKey,
    /// Its type.
    #[serde(rename = "type", serialize_with = "as_type")]
    pub kind: ScopeType,
}

impl From<ReservationData> for Reservation {
    fn from(data: ReservationData) -> Self {
        Reservation {
            generation: data.generation,
            reservation: data.reservation.map(|held| Held {
                key: held.key,
                kind: held.scope_type,
            }),
        }
    }
}

impl fmt::Display for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "generation {}", self.generation)?;
        let Some(held) = &self.reservation else {
            return writeln!(f, "no reservation");
        };
        match held.kind.kind() {
            Some(kind) => writeln!(f, "type       {kind} ({})", kind.long_name())?,
            None => writeln!(f, "type       {}", type_name(held.kind))?,
        }
        match held.kind.kind().is_some_and(|k| k.is_all_registrants()) {
            true => writeln!(f, "holder     every registrant"),
            false => writeln!(f, "holder     {}", held.key),
        }
    }
}

/// Every registration.
#[derive(Debug, Serialize)]
pub struct Registrations {
    /// PRGENERATION: counts the changes.
    pub generation: u32,
    /// False where the device has more than the protocol can carry.
    pub complete: bool,
    /// In the order of the device.
    pub registrations: Vec<Registration>,
}

/// One registration.
#[derive(Debug, Serialize)]
pub struct Registration {
    /// Its key.
    #[serde(serialize_with = "as_text")]
    pub key: ReservationKey,
    /// The type of the reservation where this nexus holds it; else null.
    pub holder: Option<String>,
    /// The initiator port: `fc:` or `sas:` and its name, or an iSCSI name.
    pub initiator: String,
    /// The relative target port; null where the device does not say.
    pub port: Option<u16>,
    /// Registered on every target port.
    pub all_tg_pt: bool,
}

impl From<FullDescriptor> for Registration {
    fn from(row: FullDescriptor) -> Self {
        let port = row.nexus.relative_target_port;
        Registration {
            key: row.key,
            holder: row.holder.map(type_name),
            initiator: row.nexus.transport_id.to_string(),
            port: (port != 0).then_some(port),
            all_tg_pt: row.all_tg_pt,
        }
    }
}

impl From<FullStatus> for Registrations {
    fn from(status: FullStatus) -> Self {
        Registrations {
            generation: status.generation,
            complete: status.complete,
            registrations: status.descriptors.into_iter().map(Into::into).collect(),
        }
    }
}

impl fmt::Display for Registrations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "generation {}", self.generation)?;
        if self.registrations.is_empty() {
            return writeln!(f, "no registrations");
        }
        let mut rows = vec![["KEY", "HOLDER", "INITIATOR", "PORT"].map(str::to_owned)];
        rows.extend(self.registrations.iter().map(|row| {
            [
                row.key.to_string(),
                row.holder.clone().unwrap_or_else(|| "-".to_owned()),
                row.initiator.clone(),
                match (row.port, row.all_tg_pt) {
                    (_, true) => "all".to_owned(),
                    (Some(port), _) => port.to_string(),
                    (None, _) => "-".to_owned(),
                },
            ]
        }));
        table(f, &rows)?;
        incomplete(f, self.complete)
    }
}

/// What the device supports.
#[derive(Debug, Serialize)]
pub struct Supported {
    /// The reservation types; null where the device does not say.
    pub types: Option<Vec<&'static str>>,
    /// It can keep keys and reservation through power loss (PTPL_C).
    pub aptpl_capable: bool,
    /// It would now (PTPL_A).
    pub aptpl_active: bool,
    /// A key can be registered on all target ports at once.
    pub all_tg_pt: bool,
    /// A key can be registered for other initiator ports.
    pub spec_i_pt: bool,
    /// REPLACE LOST RESERVATION.
    pub replace_lost_reservation: bool,
    /// The old RESERVE and RELEASE get along with persistent reservations (CRH).
    pub compatible_reservation_handling: bool,
    /// ALLOW COMMANDS, 0 to 7 (SPC-4 table 216).
    pub allow_commands: u8,
}

impl From<Capabilities> for Supported {
    fn from(capabilities: Capabilities) -> Self {
        let types = capabilities.types().into_iter();
        Supported {
            types: capabilities
                .type_mask
                .map(|_| types.map(|kind| kind.short_name()).collect()),
            aptpl_capable: capabilities.persist_capable,
            aptpl_active: capabilities.persist_active,
            all_tg_pt: capabilities.all_tg_pt,
            spec_i_pt: capabilities.spec_i_pt,
            replace_lost_reservation: capabilities.replace_lost_reservation,
            compatible_reservation_handling: capabilities.compatible_handling,
            allow_commands: capabilities.allow_commands,
        }
    }
}

impl fmt::Display for Supported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |yes| if yes { "yes" } else { "no" }.to_owned();
        let types = match &self.types {
            Some(types) => types.join(" "),
            None => "not told".to_owned(),
        };
        let aptpl = match (self.aptpl_capable, self.aptpl_active) {
            (true, true) => "yes, active".to_owned(),
            (true, false) => "yes, not active".to_owned(),
            (false, _) => word(false),
        };
        let rows = [
            ("types", types),
            ("aptpl", aptpl),
            ("all-tg-pt", word(self.all_tg_pt)),
            ("spec-i-pt", word(self.spec_i_pt)),
            (
                "replace lost reservation",
                word(self.replace_lost_reservation),
            ),
            (
                "compatible reservation handling",
                word(self.compatible_reservation_handling),
            ),
            ("allow commands", self.allow_commands.to_string()),
        ];
        table(f, &rows.map(|(name, value)| [name.to_owned(), value]))
    }
}

/// Columns as wide as their widest cell, two blanks apart, none at the end.
pub(super) fn table<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    rows: &[[String; N]],
) -> fmt::Result {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    for row in rows {
        let padded = row.iter().zip(widths);
        let line: Vec<_> = padded
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        writeln!(f, "{}", line.join("  ").trim_end())?;
    }
    Ok(())
}

fn incomplete(f: &mut fmt::Formatter<'_>, complete: bool) -> fmt::Result {
    match complete {
        true => Ok(()),
        false => writeln!(f, "... and more than the helper protocol can carry"),
    }
}

fn type_name(scope_type: ScopeType) -> String {
    match scope_type.kind() {
        Some(kind) => kind.short_name().to_owned(),
        None => format!("{:#04x}", scope_type.0),
    }
}

fn as_text<S: Serializer>(key: &ReservationKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(key)
}

fn as_type<S: Serializer>(kind: &ScopeType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&type_name(*kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::pr;

    #[test]
    fn a_list_cut_off_says_so() {
        let list = KeyList {
            generation: 1,
            keys: vec![ReservationKey(0xa1)],
            additional_length: 16,
        };
        let keys = Keys::from(list);
        assert!(!keys.complete);
        assert!(keys.to_string().ends_with("helper protocol can carry\n"));
    }

    #[test]
    fn undefined_types_are_shown_as_they_came() {
        let report = Reservation::from(ReservationData {
            generation: 1,
            reservation: Some(pr::Reservation {
                key: ReservationKey(0xa1),
                scope_type: ScopeType(0x2f),
            }),
        });
        assert!(report.to_string().contains("type       0x2f\n"));
        let json = serde_json::to_string(&report).unwrap();
        assert!(json.contains(r#""type":"0x2f""#), "{json}");
    }
}
