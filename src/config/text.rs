//! A file's text, places in it, and what is wrong there.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// The text of a configuration file, and the file's name for people.
#[derive(Debug, Clone)]
pub struct Text {
    /// The file's name.
    pub name: Arc<str>,
    /// What it says.
    pub text: String,
}

/// A place in a file; line and column count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's name.
    pub file: Arc<str>,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { file, line, column } = self;
        write!(f, "{file}: line {line}, column {column}")
    }
}

impl Text {
    /// A text by its name.
    pub fn new(name: &str, text: &str) -> Self {
        Text {
            name: name.into(),
            text: text.into(),
        }
    }

    /// Where the byte at this offset stands.
    pub fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line = before.rsplit('\n').next().unwrap_or(before);
        Place {
            file: Arc::clone(&self.name),
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
        }
    }

    /// What is wrong with the bytes in this range.
    pub(super) fn refuse(&self, span: Range<usize>, message: String) -> Invalid {
        let place = self.place(span.start);
        let line = self.text.lines().nth(place.line - 1).unwrap_or_default();
        let marked = self.text.get(span).unwrap_or_default().chars().count();
        let rest = line.chars().skip(place.column - 1).count();
        Invalid::Text(Box::new(Complaint {
            message,
            line: line.replace('\t', " "),
            marked: marked.clamp(1, rest.max(1)),
            place,
        }))
    }
}

/// A configuration that is of no use. `{}` is one line, `{:#}` shows the line of
/// the file too.
#[derive(Debug)]
pub enum Invalid {
    /// A file or directory cannot be read.
    Unreadable(PathBuf, io::Error),
    /// A file is not TOML, or says something that nobody knows or that cannot
    /// be.
    Text(Box<Complaint>),
}

impl std::error::Error for Invalid {}

impl Invalid {
    /// What is wrong, without the place.
    pub fn message(&self) -> String {
        match self {
            Invalid::Unreadable(_, error) => error.to_string(),
            Invalid::Text(complaint) => complaint.message.clone(),
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invalid::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            Invalid::Text(complaint) => complaint.fmt(f),
        }
    }
}

/// What is wrong at one place of a file.
#[derive(Debug)]
pub struct Complaint {
    /// Where.
    pub place: Place,
    /// What.
    pub message: String,
    line: String,
    marked: usize,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        if f.alternate() {
            let number = self.place.line.to_string();
            let margin = " ".repeat(number.len());
            let (indent, marks) = (" ".repeat(self.place.column - 1), "^".repeat(self.marked));
            write!(f, "\n{margin} |\n{number} | {}\n", self.line)?;
            write!(f, "{margin} | {indent}{marks}")?;
        }
        Ok(())
    }
}
