//! `reservctl import`: multipath.conf in, settings of reservd out.

use super::arguments;
use super::failure::Failure;
use super::report::Report;
use crate::config::Text;
use crate::import::Import;
use serde::Serialize;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

const CONF: &str = "/etc/multipath.conf";
const CONF_FOLDER: &str = "/etc/multipath/conf.d";
const PRKEYS: &str = "/etc/multipath/prkeys";

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Imported {
    /// The text of a configuration file.
    pub toml: String,
    /// What was not taken over as it stands, each with file and line.
    pub notes: Vec<String>,
    /// The file that was written; null where there is only the text.
    pub output: Option<PathBuf>,
}

/// Reads the files that are named, or those of this host.
///
/// # Errors
/// [`Failure::File`] for one that cannot be read, or written because it exists.
pub fn run(arguments: &arguments::Import) -> Result<Report, Failure> {
    let ours = arguments.files.is_empty();
    let confs = match ours {
        true => of_this_host()?,
        false => all(&arguments.files)?,
    };
    let prkeys = match (&arguments.prkeys, ours) {
        (Some(path), _) => Some(read(path)?),
        (None, true) => optional(read(Path::new(PRKEYS)))?,
        (None, false) => None,
    };
    let mut import = Import::new(&confs, prkeys.as_ref());
    if arguments.pin {
        import.pin();
    }
    let toml = import.to_toml();
    if let Some(path) = &arguments.output {
        write(path, &toml).map_err(|error| Failure::File(path.clone(), error))?;
    }
    Ok(Report::Imported(Imported {
        toml,
        notes: import.notes.iter().map(ToString::to_string).collect(),
        output: arguments.output.clone(),
    }))
}

/// As multipathd reads them: `conf.d` after the main file, by name.
fn of_this_host() -> Result<Vec<Text>, Failure> {
    let folder = Path::new(CONF_FOLDER);
    let failure = |error| Failure::File(folder.into(), error);
    let mut more = Vec::new();
    match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failure(error)),
        Ok(entries) => {
            for entry in entries {
                let path = entry.map_err(failure)?.path();
                if path.extension().is_some_and(|end| end == "conf") {
                    more.push(path);
                }
            }
        }
    }
    more.sort();
    let mut texts = vec![read(Path::new(CONF))?];
    texts.extend(all(&more)?);
    Ok(texts)
}

fn all(paths: &[PathBuf]) -> Result<Vec<Text>, Failure> {
    paths.iter().map(|path| read(path)).collect()
}

/// Of any encoding: what is not UTF-8 is in comments and names of devices.
fn read(path: &Path) -> Result<Text, Failure> {
    let bytes = fs::read(path).map_err(|error| Failure::File(path.into(), error))?;
    let name = path.display().to_string();
    Ok(Text::new(&name, &String::from_utf8_lossy(&bytes)))
}

fn optional(text: Result<Text, Failure>) -> Result<Option<Text>, Failure> {
    match text {
        Err(Failure::File(_, error)) if error.kind() == ErrorKind::NotFound => Ok(None),
        text => text.map(Some),
    }
}

/// Never over a file that is there.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.output {
            Some(path) => writeln!(f, "{}: written", path.display()),
            None => f.write_str(&self.toml),
        }
    }
}
