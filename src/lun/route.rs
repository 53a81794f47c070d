//! Which nexuses a client's device stands for.

use super::state::PathId;
use crate::device::Nexus;
use crate::device::identity::{DeviceNumber, SysFs};
use crate::device::sg::DiskNexus;
use crate::engine::{Gates, Late, Path};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::sync::mpsc;

/// A fixed set of paths: those of a simulated host.
pub type FixedPaths = Arc<[(PathId, Arc<dyn Nexus>)]>;

/// The device a client named, as paths to its logical unit.
#[derive(Debug, Clone)]
pub enum Route {
    /// One nexus, whose answers the client gets as they are.
    Single(PathId, Arc<dyn Nexus>),
    /// Several nexuses that act as one initiator, and the device that the client
    /// passed, for engines that want the map itself.
    Multipath(Source, Arc<OwnedFd>),
}

/// Where the paths of a map are found.
#[derive(Debug, Clone)]
pub enum Source {
    /// In sysfs, below this device-mapper device.
    Map(SysFs, DeviceNumber),
    /// Nowhere: they never change.
    Fixed {
        /// The source's name.
        name: String,
        /// The paths.
        paths: FixedPaths,
        /// What multipathd calls them, if it is to hear of them.
        map: Option<String>,
    },
}

impl Source {
    /// What tells this source from others of the same unit.
    pub fn key(&self) -> String {
        match self {
            Source::Map(_, number) => number.to_string(),
            Source::Fixed { name, .. } => name.clone(),
        }
    }

    /// The map to hold still, where there is one.
    pub fn map(&self) -> Option<DeviceNumber> {
        match self {
            Source::Map(_, number) => Some(*number),
            Source::Fixed { .. } => None,
        }
    }

    /// The map's name at present, for multipathd.
    pub fn map_name(&self) -> Option<String> {
        match self {
            Source::Map(sysfs, number) => sysfs.map_name(*number),
            Source::Fixed { map, .. } => map.clone(),
        }
    }

    /// What people call it at present.
    pub fn label(&self) -> Option<String> {
        match self {
            Source::Map(sysfs, number) => sysfs.map_name(*number),
            Source::Fixed { name, .. } => Some(name.clone()),
        }
    }

    /// The map and the device number of one of its paths, where it is one.
    pub fn number_of(&self, path: &PathId) -> Option<(DeviceNumber, DeviceNumber)> {
        let Source::Map(sysfs, map) = self else {
            return None;
        };
        let paths = sysfs.paths_of(*map).ok()?;
        let disk = paths.into_iter().find(|disk| disk.hctl == path.0)?;
        Some((*map, disk.number))
    }

    /// The paths as they are now, the most promising first.
    pub fn paths(&self, gates: &Gates, late: &mpsc::UnboundedSender<Late>) -> Arc<[Path]> {
        let path = |id, nexus| Path::new(id, nexus, gates, late.clone());
        match self {
            Source::Map(sysfs, number) => sysfs
                .paths_of(*number)
                .unwrap_or_default()
                .into_iter()
                .map(|disk| {
                    let id = PathId(disk.hctl.clone());
                    let (name, ready) = (disk.name.clone(), disk.preference.is_ready());
                    let nexus = Arc::new(DiskNexus::new(disk)) as Arc<dyn Nexus>;
                    path(id, nexus).of_disk(&name, ready)
                })
                .collect(),
            Source::Fixed { paths, .. } => paths
                .iter()
                .map(|(id, nexus)| path(id.clone(), Arc::clone(nexus)))
                .collect(),
        }
    }
}
