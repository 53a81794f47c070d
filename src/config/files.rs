//! Where the configuration is read from: one file, and the folder `conf.d` beside
//! it.

use super::Config;
use super::text::{Invalid, Text};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The file that is read unless another is named.
const USUAL: &str = "/etc/reservd/reservd.toml";

/// The main file and its folder of further ones.
#[derive(Debug, Clone)]
pub struct Files {
    main: PathBuf,
    /// The main file may be missing.
    optional: bool,
}

impl Files {
    /// The file of this name, which must be there; without one, those in
    /// `/etc/reservd`, which need not.
    pub fn new(named: Option<PathBuf>) -> Self {
        Files {
            optional: named.is_none(),
            main: named.unwrap_or_else(|| USUAL.into()),
        }
    }

    /// The main file.
    pub fn main(&self) -> &Path {
        &self.main
    }

    /// The texts in the order in which they count: the main file, then
    /// `conf.d/*.toml` by name, hidden files left out.
    ///
    /// # Errors
    /// [`Invalid::Unreadable`]. A folder that is not there is empty.
    pub fn read(&self) -> Result<Vec<Text>, Invalid> {
        let folder = self.main.with_file_name("conf.d");
        let main = match read(&self.main) {
            Err(Invalid::Unreadable(_, error))
                if self.optional && error.kind() == ErrorKind::NotFound =>
            {
                None
            }
            main => Some(main?),
        };
        let mut texts = Vec::from_iter(main);
        for name in names(&folder)? {
            texts.push(read(&folder.join(name))?);
        }
        Ok(texts)
    }

    /// Reads and checks them.
    ///
    /// # Errors
    /// As [`Files::read`] and [`Config::from_texts`].
    pub fn load(&self) -> Result<Config, Invalid> {
        Config::from_texts(&self.read()?)
    }
}

fn read(path: &Path) -> Result<Text, Invalid> {
    let bytes = std::fs::read(path).map_err(|error| Invalid::Unreadable(path.into(), error))?;
    let text = Text::new(
        &path.display().to_string(),
        &String::from_utf8_lossy(&bytes),
    );
    match std::str::from_utf8(&bytes) {
        Ok(_) => Ok(text),
        Err(error) => {
            let at = error.valid_up_to();
            Err(text.refuse(at..at, "not UTF-8".into()))
        }
    }
}

fn names(folder: &Path) -> Result<Vec<OsString>, Invalid> {
    let unreadable = |error| Invalid::Unreadable(folder.into(), error);
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name();
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if !hidden
            && Path::new(&name)
                .extension()
                .is_some_and(|end| end == "toml")
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn further_files_count_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("some.toml");
        fs::create_dir(folder.path().join("conf.d")).unwrap();
        for (name, milliseconds) in [
            ("some.toml", "1000"),
            ("conf.d/20-late.toml", "3000"),
            ("conf.d/10-early.toml", "2000"),
            ("conf.d/.hidden.toml", "4000"),
            ("conf.d/30.toml.bak", "5000"),
        ] {
            let text = format!("[commands]\ndeadline-ms = {milliseconds}\n");
            fs::write(folder.path().join(name), text).unwrap();
        }
        let files = Files::new(Some(main.clone()));
        assert_eq!(files.read().unwrap().len(), 3);
        let config = files.load().unwrap();
        assert_eq!(config.commands.deadline.as_millis(), 3000);
        fs::remove_dir_all(folder.path().join("conf.d")).unwrap();
        let config = files.load().unwrap();
        assert_eq!(config.commands.deadline.as_millis(), 1000);
        fs::write(&main, b"# \xc3\xa4\n# \xe4\n").unwrap();
        let error = files.load().unwrap_err().to_string();
        assert!(error.ends_with("line 2, column 3: not UTF-8"), "{error}");
        fs::remove_file(main).unwrap();
        assert!(matches!(files.load(), Err(Invalid::Unreadable(..))));
        let anywhere = Files {
            optional: true,
            ..files
        };
        assert_eq!(anywhere.load().unwrap(), Config::default());
    }
}
