//! `reservctl show`, `paths`, `keys`, `history` and `clients`.

use super::page::{Cell, Page, Table, Tone, clean, facts, timestamp};
use super::view::Host;
use super::view::client::Client;
use super::view::history::Event;
use super::view::unit::{Path, Registrant, Unit};
use serde::Serialize;

/// One unit with those who use it.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// The unit.
    pub unit: Unit,
    /// Those who use it.
    pub clients: Vec<Client>,
}

/// The paths of some units.
#[derive(Debug, Serialize)]
pub struct Paths {
    /// The units.
    pub units: Vec<UnitPaths>,
}

/// The paths of one unit.
#[derive(Debug, Serialize)]
pub struct UnitPaths {
    /// World-wide identity.
    pub wwid: String,
    /// The map's name.
    pub name: Option<String>,
    /// By address.
    pub paths: Vec<Path>,
}

/// The keys of one unit.
#[derive(Debug, Serialize)]
pub struct UnitKeys {
    /// World-wide identity.
    pub wwid: String,
    /// The map's name.
    pub name: Option<String>,
    /// PRGENERATION.
    pub generation: u32,
    /// Each key once.
    pub keys: Vec<OwnedKey>,
}

/// A key and whose it is.
#[derive(Debug, Serialize)]
pub struct OwnedKey {
    /// The key.
    pub key: String,
    /// Whose it is, as far as that can be told.
    pub owner: Option<String>,
    /// It is this host's.
    pub local: bool,
    /// One with it holds the reservation.
    pub holder: bool,
    /// How many nexuses are registered with it.
    pub nexuses: usize,
}

/// What happened to one unit.
#[derive(Debug, Serialize)]
pub struct Events {
    /// World-wide identity.
    pub wwid: String,
    /// The map's name.
    pub name: Option<String>,
    /// The newest last.
    pub events: Vec<Event>,
}

/// Those who are connected.
#[derive(Debug, Serialize)]
pub struct Clients {
    /// By number.
    pub clients: Vec<Client>,
    /// What their units are called.
    #[serde(skip)]
    pub names: Vec<(String, String)>,
}

impl Shown {
    /// The unit, and its clients among those of the host.
    pub fn new(unit: Unit, host: &Host) -> Self {
        let uses = |client: &&Client| unit.clients.contains(&client.object);
        let clients = host.clients.iter().filter(uses).cloned().collect();
        Shown { unit, clients }
    }

    /// What there is of it, in sections.
    pub fn render(&self, page: &Page) -> String {
        let unit = &self.unit;
        let known = |name, value: &Option<String>| {
            let value = value.as_ref().map(Cell::from);
            value.map(|value| (name, value))
        };
        let reservation = unit.reservation_type.as_ref().map(|kind| {
            let owner = unit.reservation_owner.as_ref();
            let owner = owner.map(|owner| format!(" ({owner})")).unwrap_or_default();
            let text = match unit.reservation_key.as_deref() {
                Some("0x0") | None => format!("{kind}, held by every registrant"),
                Some(key) => format!("{kind}, held by {key}{owner}"),
            };
            ("reservation", Cell::from(text))
        });
        let key = unit.key.as_ref().map(|key| {
            let aptpl = if unit.aptpl {
                ", outlives power loss"
            } else {
                ""
            };
            ("key", Cell::from(format!("{key}{aptpl}")))
        });
        let product = match (&unit.vendor, &unit.model) {
            (None, None) => None,
            (vendor, model) => {
                let word = |text: &Option<String>| text.clone().unwrap_or_default();
                let text = format!("{} {}", word(vendor), word(model));
                Some(("device", Cell::from(text.trim())))
            }
        };
        let time = |name, usec: Option<u64>| usec.map(|usec| (name, page.ago(usec).into()));
        let (registered, usable, all) = unit.path_counts();
        let multipathd = if unit.guarded_by_multipathd {
            "registers returning paths"
        } else {
            "-"
        };
        let aliases = Some(unit.aliases.join(" ")).filter(|text| !text.is_empty());
        let rows = [
            Some(("state", unit.state_cell())),
            Some(("because", Cell::from(&unit.reason))),
            Some(("wwid", Cell::from(&unit.wwid))),
            known("aliases", &aliases),
            Some(("kind", Cell::from(&unit.kind))),
            product,
            key,
            known("allowed key", &unit.configured_key),
            known("key source", &unit.key_source),
            reservation,
            Some(("generation", unit.generation.to_string().into())),
            Some((
                "paths",
                format!("{registered} of {usable} usable ones registered, {all} in all").into(),
            )),
            Some(("multipathd", multipathd.into())),
            known("policy", &unit.policy),
            known("engine", &unit.engine),
            unit.last_error
                .as_ref()
                .map(|error| ("last error", Cell::new(Tone::Warning, error))),
            time("last read", unit.checked_usec),
            time("last changed", unit.changed_usec),
        ];
        let rows: Vec<_> = rows.into_iter().flatten().collect();
        let mut text = format!("{}\n", page.paint(Tone::Head, unit.label()));
        text += &facts(page, 2, &rows);
        if !unit.paths.is_empty() {
            text += "\n";
            text += &paths(&unit.paths).render(page);
        }
        if !unit.registrants.is_empty() {
            text += "\n";
            text += &registrants(unit).render(page);
        }
        if !self.clients.is_empty() {
            text += "\n";
            text += &clients(&self.clients, &[], page);
        }
        text
    }
}

fn registered_cell(path: &Path) -> Cell {
    let tone = match path.registered.as_str() {
        "yes" => Tone::Good,
        "other" => Tone::Bad,
        "no" => Tone::Warning,
        _ => Tone::Faint,
    };
    Cell::new(tone, &path.registered)
}

fn path_row(path: &Path) -> [Cell; 7] {
    let tone = if path.usable { Tone::Plain } else { Tone::Bad };
    [
        path.label().into(),
        Cell::from(&path.hctl),
        Cell::new(tone, path.state()),
        registered_cell(path),
        Cell::optional(path.key.as_deref()),
        Cell::optional(path.initiator.as_deref()),
        Cell::optional(path.last_sense.as_deref()),
    ]
}

const PATH_HEAD: [(&str, u8); 7] = [
    ("PATH", 0),
    ("HCTL", 0),
    ("STATE", 0),
    ("REGISTERED", 0),
    ("KEY", 0),
    ("INITIATOR", 1),
    ("SENSE", 2),
];

fn paths(paths: &[Path]) -> Table<7> {
    let mut table = Table::new(PATH_HEAD);
    for path in paths {
        table.row(path_row(path));
    }
    table
}

fn registrants(unit: &Unit) -> Table<6> {
    let mut table = Table::new([
        ("KEY", 0),
        ("OWNER", 0),
        ("HOLDER", 0),
        ("INITIATOR", 0),
        ("PORT", 1),
        ("PATH", 0),
    ]);
    for row in &unit.registrants {
        let path = unit
            .paths
            .iter()
            .find(|path| path.object.is_some() && path.object == row.path);
        table.row([
            Cell::from(&row.key),
            Cell::optional(row.owner.as_deref()),
            Cell::optional(row.holder.then_some("yes")),
            Cell::from(&row.initiator),
            port(row),
            Cell::optional(path.map(Path::label)),
        ]);
    }
    table
}

fn port(row: &Registrant) -> Cell {
    match (row.all_target_ports, row.target_port) {
        (true, _) => "all".into(),
        (false, Some(port)) => port.to_string().into(),
        (false, None) => Cell::optional(None),
    }
}

impl Paths {
    /// Of these units.
    pub fn new<'a>(units: impl Iterator<Item = &'a Unit>) -> Self {
        let units = units.map(|unit| UnitPaths {
            wwid: unit.wwid.clone(),
            name: unit.name.clone(),
            paths: unit.paths.clone(),
        });
        Paths {
            units: units.collect(),
        }
    }

    /// One table.
    pub fn render(&self, page: &Page) -> String {
        if self.units.iter().all(|unit| unit.paths.is_empty()) {
            return "no paths in use\n".to_owned();
        }
        let mut table = Table::new([
            ("UNIT", 0),
            PATH_HEAD[0],
            PATH_HEAD[1],
            PATH_HEAD[2],
            PATH_HEAD[3],
            PATH_HEAD[4],
            PATH_HEAD[5],
            PATH_HEAD[6],
        ]);
        for unit in &self.units {
            let name = unit.name.as_ref().unwrap_or(&unit.wwid);
            for path in &unit.paths {
                let [a, b, c, d, e, f, g] = path_row(path);
                table.row([Cell::from(name), a, b, c, d, e, f, g]);
            }
        }
        table.render(page)
    }
}

impl UnitKeys {
    /// Those that were registered when the unit was last read.
    pub fn new(unit: &Unit) -> Self {
        let mut keys: Vec<OwnedKey> = Vec::new();
        for row in &unit.registrants {
            match keys.iter_mut().find(|known| known.key == row.key) {
                Some(known) => {
                    known.nexuses += 1;
                    known.holder |= row.holder;
                    known.local |= row.local;
                }
                None => keys.push(OwnedKey {
                    key: row.key.clone(),
                    owner: row.owner.clone(),
                    local: row.local,
                    holder: row.holder,
                    nexuses: 1,
                }),
            }
        }
        UnitKeys {
            wwid: unit.wwid.clone(),
            name: unit.name.clone(),
            generation: unit.generation,
            keys,
        }
    }

    /// A table.
    pub fn render(&self, page: &Page) -> String {
        if self.keys.is_empty() {
            return format!("generation {}\nno keys are known\n", self.generation);
        }
        let mut table = Table::new([("KEY", 0), ("OWNER", 0), ("HOLDER", 0), ("NEXUSES", 0)]);
        for key in &self.keys {
            table.row([
                Cell::from(&key.key),
                Cell::optional(key.owner.as_deref()),
                Cell::optional(key.holder.then_some("yes")),
                key.nexuses.to_string().into(),
            ]);
        }
        format!("generation {}\n{}", self.generation, table.render(page))
    }
}

impl Events {
    /// Of this unit; reservd tells the newest first.
    pub fn new(unit: &Unit, mut events: Vec<Event>) -> Self {
        events.reverse();
        Events {
            wwid: unit.wwid.clone(),
            name: unit.name.clone(),
            events,
        }
    }

    /// A line for each.
    pub fn render(&self, page: &Page) -> String {
        match self.events.is_empty() {
            true => "nothing has happened since reservd was started\n".to_owned(),
            false => events(page, &self.events),
        }
    }
}

/// The time, the kind and the words of each event.
pub(super) fn events(page: &Page, events: &[Event]) -> String {
    let kinds = events.iter().map(|event| event.event.len());
    let width = kinds.max().unwrap_or(0);
    let rows = events.iter().map(|event| {
        let kind = clean(&event.event);
        let name = format!("{}  {kind:width$}", timestamp(event.time_usec));
        (name, Cell::from(&event.text))
    });
    facts(page, 0, &rows.collect::<Vec<_>>())
}

impl Clients {
    /// Of this host.
    pub fn new(host: Host) -> Self {
        let names = host.units.iter();
        let names = names.map(|unit| (unit.object.clone(), unit.label().to_owned()));
        Clients {
            names: names.collect(),
            clients: host.clients,
        }
    }

    /// A table.
    pub fn render(&self, page: &Page) -> String {
        match self.clients.is_empty() {
            true => "no clients\n".to_owned(),
            false => clients(&self.clients, &self.names, page),
        }
    }
}

fn clients(clients: &[Client], names: &[(String, String)], page: &Page) -> String {
    let mut table = Table::new([
        ("CLIENT", 0),
        ("PID", 0),
        ("UNIT", 5),
        ("SINCE", 1),
        ("COMMANDS", 0),
        ("CONFLICTS", 2),
        ("USES", 0),
        ("LAST COMMAND", 4),
    ]);
    for client in clients {
        let used = client.devices.iter().map(|object| {
            let name = names.iter().find(|(known, _)| known == object);
            name.map_or(object.as_str(), |(_, name)| name)
        });
        let used: Vec<_> = used.collect();
        let uses = match names.is_empty() {
            true => used.len().to_string(),
            false => used.join(" "),
        };
        let conflicts = match client.conflicts {
            0 => Cell::from("0"),
            more => Cell::new(Tone::Warning, more.to_string()),
        };
        let pid = client.pid.map(|pid| pid.to_string());
        table.row([
            client.label().into(),
            Cell::optional(pid.as_deref()),
            Cell::optional(client.unit.as_deref()),
            Cell::optional(client.connected_usec.map(|usec| page.ago(usec)).as_deref()),
            client.commands.to_string().into(),
            conflicts,
            Cell::optional(Some(&uses)),
            Cell::optional(client.last_command.as_deref()),
        ]);
    }
    table.render(page)
}
