//! What is to survive the end of this process: one file for each logical unit,
//! named by its WWID, with what was last intended there.
//!
//! A file is written beside the old one, flushed, and renamed over it, so that a
//! crash leaves the old or the new one. It carries the boot in which it was
//! written: what another boot intended is handed over as such, for the reader to
//! judge. A file that cannot be understood is kept aside and reported.
//!
//! [`Journal`] blocks on the disk; [`Keeper`] does it for those who must not.

#![forbid(unsafe_code)]

mod keeper;
mod name;

pub use keeper::{Keeper, NotSaved};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Of the envelope. Another one is not understood.
const VERSION: u64 = 1;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// No file is longer, in bytes.
const LONGEST: u64 = 1 << 20;

/// A directory of records. One process owns it, through one `Journal`.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    boot_id: String,
}

/// A file, as JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Envelope<T> {
    version: u64,
    boot_id: String,
    wwid: String,
    record: T,
}

/// A record that was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded<T> {
    /// The unit.
    pub wwid: String,
    /// What was saved last.
    pub record: T,
    /// When.
    pub boot: Boot,
}

/// The boot in which a record was saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// The present one: what the record says of devices may still hold.
    Same,
    /// An earlier one, or another host's.
    Other,
}

/// A file without a record that can be used. It has been renamed to `*.damaged`,
/// unless it could not even be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Where it is now.
    pub file: PathBuf,
    /// The unit, where the file's name tells.
    pub wwid: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

/// Extensions of records, of those being written, and of those not understood.
const RECORD: &str = "json";
const TEMPORARY: &str = "tmp";
const DAMAGED: &str = "damaged";

impl Journal {
    /// Opens a directory, making it (mode 0700) where it is missing, and removes
    /// what a crash left half-written.
    ///
    /// # Errors
    /// Where the directory cannot be made or read, or the kernel's boot id.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let boot_id = fs::read_to_string(BOOT_ID)?;
        Journal::open_as(folder, boot_id.trim())
    }

    /// As [`Journal::open`], in the boot with this id.
    ///
    /// # Errors
    /// Where the directory cannot be made or read.
    pub fn open_as(folder: &Path, boot_id: &str) -> io::Result<Self> {
        if !folder.exists() {
            make(folder)?;
        }
        let journal = Journal {
            folder: folder.to_owned(),
            boot_id: boot_id.to_owned(),
        };
        for file in journal.files(TEMPORARY)? {
            // On a read-only disk it stays, and is no harm.
            let _ = fs::remove_file(file);
        }
        Ok(journal)
    }

    /// Saves what is intended for a unit, in place of what was. When this
    /// returns, the record is on the disk.
    ///
    /// # Errors
    /// Those of the file system, or of a record that JSON has no form for. Then
    /// the record before it stands, or in doubt this one.
    pub fn save(&mut self, wwid: &str, record: &impl Serialize) -> io::Result<()> {
        let envelope = Envelope {
            version: VERSION,
            boot_id: self.boot_id.clone(),
            wwid: wwid.to_owned(),
            record,
        };
        let mut text = serde_json::to_vec(&envelope)?;
        text.push(b'\n');
        if text.len() as u64 > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, too_long()));
        }
        let temporary = self.file(wwid, TEMPORARY);
        let replaced = write_through(&temporary, &text)
            .and_then(|()| fs::rename(&temporary, self.file(wwid, RECORD)));
        if replaced.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        replaced.and_then(|()| self.flush())
    }

    /// Removes the record of a unit, if there is one, from the disk.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn remove(&mut self, wwid: &str) -> io::Result<()> {
        match fs::remove_file(self.file(wwid, RECORD)) {
            Ok(()) => self.flush(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Every record, by WWID, and every file that has none.
    ///
    /// # Errors
    /// Where the directory cannot be listed.
    pub fn load_all<T: DeserializeOwned>(&mut self) -> io::Result<(Vec<Loaded<T>>, Vec<Damaged>)> {
        let (mut loaded, mut damaged) = (Vec::new(), Vec::new());
        for file in self.files(RECORD)? {
            match read(&file).map(|text| self.understand(&file, &text)) {
                Ok(Ok(record)) => loaded.push(record),
                Ok(Err(reason)) => damaged.push(set_aside(file, reason)),
                Err(error) => damaged.push(Damaged {
                    wwid: wwid_of(&file),
                    file,
                    reason: error.to_string(),
                }),
            }
        }
        loaded.sort_by(|a, b| a.wwid.cmp(&b.wwid));
        Ok((loaded, damaged))
    }

    fn understand<T: DeserializeOwned>(
        &self,
        file: &Path,
        text: &[u8],
    ) -> Result<Loaded<T>, String> {
        if text.len() as u64 > LONGEST {
            return Err(too_long());
        }
        let words = |error: serde_json::Error| error.to_string();
        let value: Value = serde_json::from_slice(text).map_err(words)?;
        match value.get("version").and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(other) => return Err(format!("version {other} is not known")),
            None => return Err("no version".into()),
        }
        let Envelope {
            boot_id,
            wwid,
            record,
            ..
        } = serde_json::from_value(value).map_err(words)?;
        if self.file(&wwid, RECORD) != file {
            return Err(format!("it is about another unit, {wwid:?}"));
        }
        let boot = match boot_id == self.boot_id {
            true => Boot::Same,
            false => Boot::Other,
        };
        Ok(Loaded { wwid, record, boot })
    }

    fn file(&self, wwid: &str, extension: &str) -> PathBuf {
        let name = name::of_wwid(wwid);
        self.folder.join(format!("{name}.{extension}"))
    }

    fn files(&self, extension: &str) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let file = entry?.path();
            if file.extension() == Some(OsStr::new(extension)) {
                files.push(file);
            }
        }
        Ok(files)
    }

    /// What was renamed or removed in the directory stays so after a crash.
    fn flush(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let parent = fs::canonicalize(folder)?.parent().map(File::open);
    parent.map_or(Ok(()), |parent| parent?.sync_all())
}

fn write_through(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// Of a file that is too long, one byte too much.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(file)?.take(LONGEST + 1).read_to_end(&mut text)?;
    Ok(text)
}

fn too_long() -> String {
    format!("longer than {LONGEST} bytes")
}

fn set_aside(file: PathBuf, reason: String) -> Damaged {
    let wwid = wwid_of(&file);
    let aside = file.with_extension(DAMAGED);
    match fs::rename(&file, &aside) {
        Ok(()) => Damaged {
            file: aside,
            wwid,
            reason,
        },
        Err(error) => Damaged {
            file,
            wwid,
            reason: format!("{reason}; and it cannot be renamed: {error}"),
        },
    }
}

fn wwid_of(file: &Path) -> Option<String> {
    name::wwid(file.file_stem()?.to_str()?)
}

#[cfg(test)]
mod tests;
