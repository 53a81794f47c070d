//! What one file says. Everything may be left out; what is there is sound by
//! itself, as far as one value can be.

use super::key::KeySource;
use super::text::{Invalid, Text};
use super::unit::{Coordination, Engine, Multipath, PathRepair, Selector, Settings, put};
use super::{Commands, DBus, Helper, Journal, SimulatedLun, Simulator};
use crate::owner::Hosts;
use crate::scsi::ReservationKey;
use serde::{Deserialize, Deserializer, de};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;

const DEADLINE: RangeInclusive<u64> = 100..=600_000;
const POLL_INTERVAL: RangeInclusive<u64> = 200..=600_000;
const PATHS: RangeInclusive<usize> = 1..=16;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Layer {
    pub(super) helper: HelperLayer,
    pub(super) commands: CommandsLayer,
    pub(super) journal: JournalLayer,
    pub(super) dbus: DBusLayer,
    pub(super) hosts: BTreeMap<String, Spanned<Keys>>,
    pub(super) defaults: DefaultsLayer,
    #[serde(deserialize_with = "sections")]
    pub(super) multipath: Vec<Spanned<Section>>,
    pub(super) simulator: Option<Spanned<SimulatorLayer>>,
}

impl Layer {
    pub(super) fn parse(text: &Text) -> Result<Self, Invalid> {
        toml::from_str(&text.text).map_err(|error| {
            let whole = 0..0;
            text.refuse(error.span().unwrap_or(whole), error.message().to_owned())
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct HelperLayer {
    #[serde(deserialize_with = "absolute_path")]
    socket: Option<PathBuf>,
    #[serde(deserialize_with = "octal")]
    mode: Option<u32>,
    #[serde(deserialize_with = "absolute_path")]
    control_socket: Option<PathBuf>,
    #[serde(deserialize_with = "some_connections")]
    max_connections: Option<usize>,
}

impl HelperLayer {
    pub(super) fn lay_over(self, helper: &mut Helper) {
        put(&mut helper.socket, self.socket);
        put(&mut helper.mode, self.mode);
        helper.control_socket = self.control_socket.or(helper.control_socket.take());
        put(&mut helper.max_connections, self.max_connections);
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct CommandsLayer {
    #[serde(deserialize_with = "deadline")]
    deadline_ms: Option<Duration>,
}

impl CommandsLayer {
    pub(super) fn lay_over(self, commands: &mut Commands) {
        put(&mut commands.deadline, self.deadline_ms);
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct JournalLayer {
    #[serde(deserialize_with = "absolute_path")]
    directory: Option<PathBuf>,
}

impl JournalLayer {
    pub(super) fn lay_over(self, journal: &mut Journal) {
        put(&mut journal.directory, self.directory);
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct DBusLayer {
    enabled: Option<bool>,
    export_paths: Option<bool>,
}

impl DBusLayer {
    pub(super) fn lay_over(self, dbus: &mut DBus) {
        put(&mut dbus.enabled, self.enabled);
        put(&mut dbus.export_paths, self.export_paths);
    }
}

/// A host's key, or a list of them.
pub(super) struct Keys(Vec<ReservationKey>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyOrList)
    }
}

struct KeyOrList;

impl<'de> de::Visitor<'de> for KeyOrList {
    type Value = Keys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key \"0x123abc\" or a list of keys")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Keys, E> {
        let key: ReservationKey = text.parse().map_err(E::custom)?;
        match key.is_zero() {
            true => Err(E::custom("0x0 is no reservation key")),
            false => Ok(Keys(vec![key])),
        }
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Keys, A::Error> {
        let mut keys = Vec::new();
        while let Some(Keys(more)) = list.next_element()? {
            keys.extend(more);
        }
        Ok(Keys(keys))
    }
}

/// Adds what one file says of whose keys are whose.
pub(super) fn add_hosts(
    said: BTreeMap<String, Spanned<Keys>>,
    hosts: &mut Hosts,
    text: &Text,
) -> Result<(), Invalid> {
    for (name, keys) in said {
        let span = keys.span();
        for key in keys.into_inner().0 {
            let added = hosts.add(&name, key);
            added.map_err(|shared| text.refuse(span.clone(), shared.to_string()))?;
        }
    }
    Ok(())
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DefaultsLayer {
    reservation_key: Option<Spanned<KeySource>>,
    all_tg_pt: Option<bool>,
    multipathd: Option<Coordination>,
    engine: Option<Engine>,
    path_repair: Option<PathRepair>,
    strict: Option<bool>,
    #[serde(rename = "poll-interval-ms", deserialize_with = "poll_interval")]
    poll_interval: Option<Duration>,
}

impl DefaultsLayer {
    pub(super) fn settings(self, text: &Text) -> Settings {
        Settings {
            reservation_key: self.reservation_key.map(|key| placed(key, text)),
            all_tg_pt: self.all_tg_pt,
            multipathd: self.multipathd,
            engine: self.engine,
            path_repair: self.path_repair,
            strict: self.strict,
            poll_interval: self.poll_interval,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Section {
    wwid: Option<Spanned<String>>,
    alias: Option<Spanned<String>>,
    reservation_key: Option<Spanned<KeySource>>,
    all_tg_pt: Option<bool>,
    multipathd: Option<Coordination>,
    engine: Option<Engine>,
    path_repair: Option<PathRepair>,
    strict: Option<bool>,
}

fn sections<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Spanned<Section>>, D::Error> {
    deserializer.deserialize_seq(Sections)
}

/// Says how they are written to those who leave out a bracket.
struct Sections;

impl<'de> de::Visitor<'de> for Sections {
    type Value = Vec<Spanned<Section>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sections [[multipath]], in double brackets")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut sections = Vec::new();
        while let Some(section) = list.next_element()? {
            sections.push(section);
        }
        Ok(sections)
    }
}

/// A section by itself, and where it names its unit.
pub(super) fn multipath(
    section: Spanned<Section>,
    text: &Text,
) -> Result<(Multipath, Range<usize>), Invalid> {
    let whole = section.span();
    let section = section.into_inner();
    let (selector, name) = match (section.wwid, section.alias) {
        (Some(wwid), None) => (Selector::Wwid as fn(String) -> Selector, wwid),
        (None, Some(alias)) => (Selector::Alias as fn(String) -> Selector, alias),
        (Some(_), Some(alias)) => {
            let message = "a [[multipath]] section names its unit by wwid or alias, not by both";
            return Err(text.refuse(alias.span(), message.into()));
        }
        (None, None) => {
            let message = "a [[multipath]] section needs a wwid or an alias";
            return Err(text.refuse(whole, message.into()));
        }
    };
    let span = name.span();
    let name = name.into_inner();
    if name.is_empty() || name.contains(char::is_whitespace) {
        let message = "a wwid or an alias is one word, without blanks";
        return Err(text.refuse(span, message.into()));
    }
    let multipath = Multipath {
        selector: selector(name),
        place: text.place(span.start),
        settings: Settings {
            reservation_key: section.reservation_key.map(|key| placed(key, text)),
            all_tg_pt: section.all_tg_pt,
            multipathd: section.multipathd,
            engine: section.engine,
            path_repair: section.path_repair,
            strict: section.strict,
            poll_interval: None,
        },
    };
    Ok((multipath, span))
}

fn placed(key: Spanned<KeySource>, text: &Text) -> (KeySource, super::Place) {
    let place = text.place(key.span().start);
    (key.into_inner(), place)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct SimulatorLayer {
    directory: PathBuf,
    #[serde(default)]
    lun: Vec<Spanned<SimulatedLun>>,
}

impl SimulatorLayer {
    pub(super) fn into_simulator(self, text: &Text) -> Result<Simulator, Invalid> {
        let mut simulator = Simulator {
            directory: self.directory,
            lun: Vec::new(),
        };
        for lun in self.lun {
            let span = lun.span();
            let lun = lun.into_inner();
            if simulator.lun.iter().any(|other| other.name == lun.name) {
                return Err(text.refuse(span, format!("lun {:?} is there twice", lun.name)));
            }
            simulator.lun.push(lun);
        }
        Ok(simulator)
    }
}

/// Names are used as file names.
pub(super) fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match !name.is_empty() && name.chars().all(plain) {
        true => Ok(name),
        false => Err(de::Error::custom(format_args!(
            "{name:?} is not a name of letters, digits, '-' and '_'"
        ))),
    }
}

pub(super) fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    struct Name(#[serde(deserialize_with = "name")] String);
    let names = Vec::<Name>::deserialize(deserializer)?;
    Ok(names.into_iter().map(|name| name.0).collect())
}

pub(super) fn path_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let count = usize::deserialize(deserializer)?;
    match PATHS.contains(&count) {
        true => Ok(count),
        false => Err(de::Error::custom("a host has 1 to 16 paths")),
    }
}

fn absolute_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    match path.is_absolute() {
        true => Ok(Some(path)),
        false => Err(de::Error::custom("an absolute path is needed")),
    }
}

fn octal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match u32::from_str_radix(&text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(Some(mode)),
        _ => Err(de::Error::custom(
            "a mode is an octal string from \"0000\" to \"0777\"",
        )),
    }
}

fn some_connections<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    match usize::deserialize(deserializer)? {
        0 => Err(de::Error::custom("max-connections is at least 1")),
        count => Ok(Some(count)),
    }
}

fn deadline<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    milliseconds(deserializer, DEADLINE)
}

fn poll_interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    milliseconds(deserializer, POLL_INTERVAL)
}

fn milliseconds<'de, D: Deserializer<'de>>(
    deserializer: D,
    range: RangeInclusive<u64>,
) -> Result<Option<Duration>, D::Error> {
    let count = u64::deserialize(deserializer)?;
    let (least, most) = (range.start(), range.end());
    match range.contains(&count) {
        true => Ok(Some(Duration::from_millis(count))),
        false => Err(de::Error::custom(format_args!(
            "from {least} to {most} milliseconds"
        ))),
    }
}
