//! From what the kernel and udev say to the units it is about.

use super::notice::Notice;
use super::registry::{Registry, lock};
use super::route::Source;
use super::state::PathId;
use crate::device::identity::Wwid;
use crate::device::maps::Map;
use crate::watch::batch::Batch;
use crate::watch::event::{Change, Hint, PathName};
use crate::watch::walk;

impl Registry {
    /// Passes on what was heard to the units in use, and to those with a key in
    /// the configuration. Others are nobody's concern: nothing of ours is
    /// registered there.
    pub fn heard(&self, batch: &Batch) {
        if batch.overflow {
            return self.walk();
        }
        for hint in &batch.hints {
            let Some(unit) = walk::unit_of(&self.sysfs, hint) else {
                continue;
            };
            if let Some(map) = &unit.map {
                self.take_up_configured(map);
            }
            self.tell(&unit.wwid, unit.map.as_ref(), &self.notice(hint));
        }
    }

    /// Has every unit in use looked at, wherever its paths are now.
    pub fn walk(&self) {
        let maps = self.sysfs.maps().unwrap_or_default();
        for map in &maps {
            self.take_up_configured(map);
        }
        let wwids: Vec<Wwid> = {
            let units = lock(&self.units);
            let real = units.luns.keys().filter(|(_, host)| host.is_empty());
            real.map(|(wwid, _)| wwid.clone()).collect()
        };
        for wwid in wwids {
            let map = maps.iter().find(|map| map.wwid == wwid);
            self.tell(&wwid, map, &Notice::Anything);
        }
    }

    /// The map that leads to a unit, if there is one.
    pub(super) fn map_of(&self, wwid: &Wwid) -> Option<Map> {
        let maps = self.sysfs.maps().unwrap_or_default();
        maps.into_iter().find(|map| map.wwid == *wwid)
    }

    /// The map with this WWID, name or number, whether it is used or not. Reads
    /// sysfs.
    pub fn map_named(&self, text: &str) -> Option<Map> {
        let maps = self.sysfs.maps().unwrap_or_default();
        maps.into_iter().find(|map| {
            map.wwid.as_str() == text || map.name == text || map.number.to_string() == text
        })
    }

    fn tell(&self, wwid: &Wwid, map: Option<&Map>, notice: &Notice) {
        let lun = {
            let units = lock(&self.units);
            let entry = units.luns.get(&(wwid.clone(), String::new()));
            entry.map(|entry| entry.lun.clone())
        };
        if let Some(lun) = lun {
            let source = map.map(|map| Source::Map(self.sysfs.clone(), map.number));
            lun.notice(notice, source);
        }
    }

    fn notice(&self, hint: &Hint) -> Notice {
        let path = match &hint.path {
            Some(PathName::Scsi(hctl)) => Some(hctl.to_string()),
            Some(PathName::Number(_)) => walk::path_of(&self.sysfs, hint).map(|path| path.hctl),
            None => None,
        };
        let on = |renewed, reinstated| match &path {
            Some(path) => Notice::Path {
                path: PathId(path.clone()),
                renewed,
                reinstated,
            },
            // Gone, or not to be found out any more.
            None => Notice::Anything,
        };
        match hint.change {
            Change::MapChanged => Notice::Paths,
            Change::PathAdded => on(true, false),
            Change::PathReinstated => on(false, true),
            // A disk that is gone already disturbs nobody before it comes again.
            Change::PathFailed | Change::PathRemoved if path.is_none() => Notice::Paths,
            Change::PathFailed
            | Change::PathChanged
            | Change::PathRemoved
            | Change::PowerOnReset => on(false, false),
        }
    }
}
