//! What was gathered, as a file for `/etc/reservd/conf.d`.

use super::{Import, Unit, plain};
use crate::config::KeySource;

impl Import {
    /// The text of a configuration file with the same meaning.
    pub fn to_toml(&self) -> String {
        let sources: Vec<_> = self.sources.iter().map(|name| plain(name)).collect();
        let mut text = format!("# Imported from {}.\n", sources.join(", "));
        if !self.notes.is_empty() {
            text += "#\n# Not taken over as it stands:\n";
            for note in &self.notes {
                text += &format!("#   {note}\n");
            }
        }
        if self.reservation_key.is_some() || self.all_tg_pt.is_some() {
            text += "\n[defaults]\n";
        }
        if let Some(key) = self.reservation_key {
            text += &format!("reservation_key = \"{key}\"\n");
        }
        if let Some(all_tg_pt) = self.all_tg_pt {
            text += &format!("all_tg_pt = {all_tg_pt}\n");
        }
        for unit in &self.units {
            if let Some(key) = unit.reservation_key {
                text += "\n";
                text += &section(unit, key, "");
            }
        }
        let learnt = |unit: &&Unit| unit.reservation_key.is_none() && unit.learnt.is_some();
        let mut learnt = self.units.iter().filter(learnt).peekable();
        if learnt.peek().is_some() {
            text += "\n# Keys that multipathd learnt from clients. reservd learns them too; a section\n\
                     # that is put to use makes its key the only one of the unit.\n";
        }
        for unit in learnt {
            if let Some(key) = unit.learnt {
                text += "#\n";
                text += &section(unit, key, "# ");
            }
        }
        text
    }
}

fn section(unit: &Unit, key: KeySource, mark: &str) -> String {
    let mut text = String::new();
    if let Some(alias) = &unit.alias {
        text += &format!("# {}\n", plain(alias));
    }
    if let (KeySource::File, Some(learnt)) = (key, unit.learnt) {
        text += &format!("# multipathd learnt {learnt}\n");
    }
    let wwid = ::toml::Value::from(unit.wwid.as_str());
    text + &format!("{mark}[[multipath]]\n{mark}wwid = {wwid}\n{mark}reservation_key = \"{key}\"\n")
}
