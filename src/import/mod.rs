//! From multipath.conf and multipathd's prkeys to settings of reservd.
//!
//! [`conf`] and [`prkeys`] read, [`Import`] gathers what is about reservations,
//! [`Import::to_toml`] writes it down. Pure, and never at a loss: what cannot be
//! taken over is noted.

#![forbid(unsafe_code)]

pub mod conf;
pub mod prkeys;
mod toml;

use crate::config::{KeySource, Text};
use crate::scsi::ReservationKey;
use conf::{Item, Section};
use std::fmt;
use std::sync::Arc;

/// What was found about reservations.
#[derive(Debug, Clone, Default)]
pub struct Import {
    /// `reservation_key` of `defaults`.
    pub reservation_key: Option<KeySource>,
    /// `all_tg_pt` of `overrides`, or else of `defaults`.
    pub all_tg_pt: Option<bool>,
    /// Units with something of their own.
    pub units: Vec<Unit>,
    /// What was not taken over as it stands.
    pub notes: Vec<Note>,
    /// Where all of this is from.
    pub sources: Vec<Arc<str>>,
}

/// What was found about one unit.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Its world-wide identity.
    pub wwid: String,
    /// What its map is called, where that is configured.
    pub alias: Option<String>,
    /// `reservation_key` of its section.
    pub reservation_key: Option<KeySource>,
    /// The key that multipathd learnt from a client.
    pub learnt: Option<KeySource>,
}

/// Something that people should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The file.
    pub file: Arc<str>,
    /// The line, counted from 1.
    pub line: usize,
    /// What is the matter, without control characters.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Note { file, line, text } = self;
        write!(f, "{}: line {line}: {text}", plain(file))
    }
}

impl Import {
    /// Gathers from the texts of multipath.conf and its `conf.d`, in the order in
    /// which they count, and from prkeys.
    pub fn new(confs: &[Text], prkeys: Option<&Text>) -> Self {
        let mut import = Import::default();
        let mut overrides = None;
        for text in confs {
            import.sources.push(Arc::clone(&text.name));
            let before = import.notes.len();
            let (sections, remarks) = conf::parse(&text.text);
            for remark in remarks {
                import.note(text, remark.line, &remark.text);
            }
            for section in &sections {
                match section.name.as_str() {
                    "defaults" => import.defaults(text, section),
                    "overrides" => overrides = import.overrides(text, section).or(overrides),
                    "multipaths" => import.multipaths(text, section),
                    name => import.elsewhere(text, section, name),
                }
            }
            import.notes[before..].sort_by_key(|note| note.line);
        }
        import.all_tg_pt = overrides.or(import.all_tg_pt);
        if let Some(text) = prkeys {
            import.sources.push(Arc::clone(&text.name));
            import.learn(text);
        }
        import
    }

    /// Makes the keys that multipathd learnt the only ones of their units.
    pub fn pin(&mut self) {
        for unit in &mut self.units {
            if let (None | Some(KeySource::File), Some(learnt)) =
                (unit.reservation_key, unit.learnt.take())
            {
                unit.reservation_key = Some(learnt);
            }
        }
    }

    fn note(&mut self, text: &Text, line: usize, what: &str) {
        self.notes.push(Note {
            file: Arc::clone(&text.name),
            line,
            text: plain(what),
        });
    }

    fn defaults(&mut self, text: &Text, section: &Section) {
        for item in &section.items {
            match item.keyword.as_str() {
                "reservation_key" => {
                    self.reservation_key = self.key(text, item).or(self.reservation_key);
                }
                "all_tg_pt" => self.all_tg_pt = self.flag(text, item).or(self.all_tg_pt),
                _ => {}
            }
        }
    }

    fn overrides(&mut self, text: &Text, section: &Section) -> Option<bool> {
        let mut all_tg_pt = None;
        for item in &section.items {
            match item.keyword.as_str() {
                "all_tg_pt" => all_tg_pt = self.flag(text, item).or(all_tg_pt),
                _ => self.stray(text, section, "overrides", item),
            }
        }
        for inner in &section.sections {
            self.elsewhere(text, inner, &format!("overrides/{}", inner.name));
        }
        all_tg_pt
    }

    fn multipaths(&mut self, text: &Text, section: &Section) {
        for inner in &section.sections {
            match inner.name.as_str() {
                "multipath" => self.multipath(text, inner),
                name => self.elsewhere(text, inner, &format!("multipaths/{name}")),
            }
        }
        for item in &section.items {
            self.stray(text, section, "multipaths", item);
        }
    }

    fn multipath(&mut self, text: &Text, section: &Section) {
        let (mut wwid, mut alias, mut key) = (None, None, None);
        for item in &section.items {
            match item.keyword.as_str() {
                "wwid" => wwid = Some(item),
                "alias" => alias = Some(item.value.clone()),
                "reservation_key" => key = self.key(text, item).or(key),
                _ => self.stray(text, section, "multipaths/multipath", item),
            }
        }
        let Some(item) = wwid else {
            if key.is_some() {
                self.note(
                    text,
                    section.line,
                    "a section without a wwid is about no unit",
                );
            }
            return;
        };
        let words: Vec<_> = item.value.split_whitespace().collect();
        let wwid = words.join("_");
        if wwid.is_empty() {
            return self.note(text, item.line, "an empty wwid is no unit's");
        }
        if wwid != item.value && key.is_some() {
            let what = format!("wwid {:?} is written {wwid:?} here", item.value);
            self.note(text, item.line, &what);
        }
        let unit = self.unit(&wwid);
        unit.alias = alias.or(unit.alias.take());
        unit.reservation_key = key.or(unit.reservation_key);
    }

    fn unit(&mut self, wwid: &str) -> &mut Unit {
        let known = self.units.iter().position(|unit| unit.wwid == wwid);
        let index = known.unwrap_or(self.units.len());
        if known.is_none() {
            self.units.push(Unit {
                wwid: wwid.to_owned(),
                alias: None,
                reservation_key: None,
                learnt: None,
            });
        }
        &mut self.units[index]
    }

    /// Sections that are not about reservations, or should not be. `path` is the
    /// section's name after those of the sections around it.
    fn elsewhere(&mut self, text: &Text, section: &Section, path: &str) {
        for item in &section.items {
            self.stray(text, section, path, item);
        }
        for inner in &section.sections {
            self.elsewhere(text, inner, &format!("{path}/{}", inner.name));
        }
    }

    /// A setting about reservations where none counts, or none can be taken over.
    fn stray(&mut self, text: &Text, section: &Section, path: &str, item: &Item) {
        let what = match (item.keyword.as_str(), path) {
            ("all_tg_pt", "devices/device") => {
                let of = |keyword| {
                    let found = section.items.iter().find(|item| item.keyword == keyword);
                    found.map_or("", |item| item.value.as_str())
                };
                format!(
                    "all_tg_pt {} for vendor {:?}, product {:?}: reservd knows units by wwid or \
                     alias only; give each a [[multipath]] section with all_tg_pt",
                    item.value,
                    of("vendor"),
                    of("product"),
                )
            }
            ("reservation_key" | "all_tg_pt", path) => {
                format!("{} does not count in section {path}", item.keyword)
            }
            _ => return,
        };
        self.note(text, item.line, &what);
    }

    /// `file`, or digits that are hexadecimal with and without `0x`.
    fn key(&mut self, text: &Text, item: &Item) -> Option<KeySource> {
        let value = item.value.trim();
        if value == "file" {
            return Some(KeySource::File);
        }
        let (digits, suffix) = match value.split_once(':') {
            Some((digits, suffix)) => (digits, Some(suffix)),
            None => (value, None),
        };
        let prefixed = digits.strip_prefix("0x").or(digits.strip_prefix("0X"));
        let key = format!("0x{}", prefixed.unwrap_or(digits)).parse::<ReservationKey>();
        let Some(key) = key.ok().filter(|key| !key.is_zero()) else {
            let what = format!("{value:?} is no reservation key");
            self.note(text, item.line, &what);
            return None;
        };
        if let Some(unknown) = suffix.filter(|suffix| *suffix != "aptpl") {
            let what = format!("suffix {unknown:?} of the reservation key means nothing");
            self.note(text, item.line, &what);
        }
        Some(KeySource::Fixed {
            key,
            aptpl: suffix == Some("aptpl"),
        })
    }

    fn flag(&mut self, text: &Text, item: &Item) -> Option<bool> {
        match item.value.as_str() {
            "yes" | "1" => Some(true),
            "no" | "0" => Some(false),
            other => {
                let what = format!("{}: {other:?} is neither yes nor no", item.keyword);
                self.note(text, item.line, &what);
                None
            }
        }
    }

    /// multipathd uses what it learnt where `reservation_key` is `file`.
    fn learn(&mut self, text: &Text) {
        let before = self.notes.len();
        let (all, remarks) = prkeys::parse(&text.text);
        for remark in remarks {
            self.note(text, remark.line, &remark.text);
        }
        for learnt in all {
            let default = self.reservation_key;
            let unit = self.unit(&learnt.wwid);
            match unit.reservation_key.or(default) {
                Some(fixed @ KeySource::Fixed { .. }) => {
                    let what = format!("{}: not used, {fixed} is configured", learnt.wwid);
                    self.note(text, learnt.line, &what);
                }
                Some(KeySource::File) | None => unit.learnt = Some(learnt.key),
            }
        }
        self.notes[before..].sort_by_key(|note| note.line);
    }
}

/// Without control characters: they could end a comment, or move a cursor.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        match c.is_control() {
            true => plain.extend(c.escape_debug()),
            false => plain.push(c),
        }
    }
    plain
}
