//! Files that stand for simulated devices: a client names one by passing a
//! descriptor of it.

use crate::config::{SimulatedLun, Simulator};
use crate::device::Nexus;
use crate::device::identity::Wwid;
use crate::device::sim::{Config, SimLun, SimPath};
use crate::lun::registry::{Registry, Simulated};
use crate::lun::route::FixedPaths;
use crate::lun::state::PathId;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// The simulated units and their files, which must stay open for as long as
/// they stand for something.
#[derive(Debug, Default)]
pub struct Simulation {
    /// The units, in the order of the configuration.
    pub luns: Vec<Arc<SimLun>>,
    files: Vec<File>,
}

impl Simulation {
    /// Makes the units, and the files `DIRECTORY/LUN/HOST` (all paths of a host,
    /// as a multipath map) and `DIRECTORY/LUN/HOST.N` (one path).
    ///
    /// # Errors
    /// Those of the file system.
    pub fn start(simulator: &Simulator, registry: &mut Registry) -> io::Result<Self> {
        let mut simulation = Simulation::default();
        for lun in &simulator.lun {
            simulation.add(&simulator.directory, lun, registry)?;
        }
        Ok(simulation)
    }

    fn add(
        &mut self,
        directory: &Path,
        lun: &SimulatedLun,
        registry: &mut Registry,
    ) -> io::Result<()> {
        let folder = directory.join(&lun.name);
        fs::create_dir_all(&folder)?;
        let unit = SimLun::with_config(Config::new(&lun.wwid));
        let wwid = Wwid::new(&lun.wwid);
        for host in &lun.hosts {
            let paths: Vec<_> = unit
                .add_host(host, lun.paths)
                .into_iter()
                .map(|path| (path_id(&path), path as Arc<dyn Nexus>))
                .collect();
            for (index, path) in paths.iter().enumerate() {
                let name = format!("{host}.{index}");
                let one: FixedPaths = Arc::from([path.clone()]);
                self.place(&folder, name, &wwid, host, one, registry)?;
            }
            self.place(&folder, host.clone(), &wwid, host, paths.into(), registry)?;
        }
        self.luns.push(unit);
        Ok(())
    }

    fn place(
        &mut self,
        folder: &Path,
        name: String,
        wwid: &Wwid,
        host: &str,
        paths: FixedPaths,
        registry: &mut Registry,
    ) -> io::Result<()> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o660)
            .open(folder.join(&name))?;
        let simulated = Simulated {
            wwid: wwid.clone(),
            host: host.to_owned(),
            file: folder.join(&name),
            name,
            paths,
        };
        registry.add_simulated(&file, simulated)?;
        self.files.push(file);
        Ok(())
    }
}

/// Simulated paths have no H:C:T:L; host name and number tell them apart.
pub fn path_id(path: &SimPath) -> PathId {
    PathId(format!("{}.{}", path.host(), path.index()))
}
