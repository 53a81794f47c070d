//! What text is written on: how wide it is, whether it has colours, and the
//! time. Rendering is pure: a view and a page make a text.

use clap::builder::styling::{AnsiColor, Style};
use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where a text will be read.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Characters in a line; what is no terminal has no limit.
    pub width: usize,
    /// Colours are shown.
    pub colour: bool,
    /// What "5 s ago" counts from.
    pub now: SystemTime,
}

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Colour {
    /// On a terminal, unless the environment has NO_COLOR or TERM=dumb.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What a piece of text stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// A heading.
    Head,
    /// All is well.
    Good,
    /// Somebody should look.
    Warning,
    /// Something is lost.
    Bad,
    /// Less important.
    Faint,
}

impl Tone {
    fn style(self) -> Style {
        let of = |colour: AnsiColor| colour.on_default();
        match self {
            Tone::Plain => Style::new(),
            Tone::Head => Style::new().bold(),
            Tone::Good => of(AnsiColor::Green),
            Tone::Warning => of(AnsiColor::Yellow),
            Tone::Bad => of(AnsiColor::Red).bold(),
            Tone::Faint => Style::new().dimmed(),
        }
    }
}

impl Page {
    /// Standard output as it is now.
    pub fn of_stdout(colour: Colour) -> Self {
        let terminal = io::stdout().is_terminal();
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let size = terminal_size::terminal_size_of(io::stdout());
        Page {
            width: size.map_or(usize::MAX, |(width, _)| usize::from(width.0).max(1)),
            colour: match colour {
                Colour::Auto => terminal && !set("NO_COLOR") && !dumb,
                Colour::Always => true,
                Colour::Never => false,
            },
            now: SystemTime::now(),
        }
    }

    /// The text in this tone, where there are colours.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        match self.colour && tone != Tone::Plain && !text.is_empty() {
            true => format!("{0}{text}{0:#}", tone.style()),
            false => text.to_owned(),
        }
    }

    /// How long ago this was, in the largest unit that fits: `5 s ago`.
    pub fn ago(&self, usec: u64) -> String {
        let then = UNIX_EPOCH + Duration::from_micros(usec);
        let seconds = self.now.duration_since(then).unwrap_or_default().as_secs();
        match seconds {
            0..120 => format!("{seconds} s ago"),
            120..7200 => format!("{} min ago", seconds / 60),
            7200..172_800 => format!("{} h ago", seconds / 3600),
            _ => format!("{} days ago", seconds / 86400),
        }
    }

    /// Words in lines that fit, each after `indent` blanks.
    pub fn paragraph(&self, indent: usize, text: &str) -> String {
        let width = self.width.saturating_sub(indent).max(20);
        let mut lines = String::new();
        let mut used = 0;
        for word in clean(text).split_whitespace() {
            let length = word.chars().count();
            if used > 0 && used + 1 + length <= width {
                lines.push(' ');
                used += 1 + length;
            } else {
                if used > 0 {
                    lines.push('\n');
                }
                lines.push_str(&" ".repeat(indent));
                used = length;
            }
            lines.push_str(word);
        }
        if used > 0 {
            lines.push('\n');
        }
        lines
    }
}

/// Texts come from disks and guests too; what could steer a terminal is replaced.
pub fn clean(text: &str) -> String {
    let replaced = text.chars().map(|c| if c.is_control() { '?' } else { c });
    replaced.collect()
}

/// A time as `2026-01-31T12:00:00Z`.
pub fn timestamp(usec: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_micros(usec);
    humantime::format_rfc3339_seconds(time).to_string()
}

/// One field of a table.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// In this tone.
    pub fn new(tone: Tone, text: impl AsRef<str>) -> Self {
        let text = clean(text.as_ref());
        Cell { text, tone }
    }

    /// Nothing is a dash.
    pub fn optional(text: Option<&str>) -> Self {
        match text.filter(|text| !text.is_empty()) {
            Some(text) => text.into(),
            None => Cell::new(Tone::Faint, "-"),
        }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Cell::new(Tone::Plain, text)
    }
}

/// A table with a head.
#[derive(Debug)]
pub struct Table<const N: usize> {
    /// The names of the columns, each with a rank: where a page is too narrow,
    /// columns of the highest rank go first, and those of rank 0 stay.
    head: [(&'static str, u8); N],
    rows: Vec<[Cell; N]>,
    /// Below each row.
    notes: Vec<Option<(Tone, String)>>,
}

/// Between columns.
const GAP: usize = 2;
/// A column is not cut to less.
const LEAST: usize = 8;

impl<const N: usize> Table<N> {
    /// Without rows.
    pub fn new(head: [(&'static str, u8); N]) -> Self {
        Table {
            head,
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Another row.
    pub fn row(&mut self, cells: [Cell; N]) {
        self.rows.push(cells);
        self.notes.push(None);
    }

    /// A row and a sentence below it.
    pub fn row_with_note(&mut self, cells: [Cell; N], tone: Tone, note: &str) {
        self.rows.push(cells);
        self.notes.push(Some((tone, note.to_owned())));
    }

    /// Columns as wide as their widest cell, two blanks apart, none at the end.
    pub fn render(&self, page: &Page) -> String {
        let mut widths: [usize; N] = std::array::from_fn(|column| {
            let cells = self.rows.iter().map(|row| row[column].width());
            cells.max().unwrap_or(0).max(self.head[column].0.len())
        });
        let mut shown = [true; N];
        let total = |shown: &[bool; N], widths: &[usize; N]| {
            let kept = widths.iter().zip(shown).filter(|(_, shown)| **shown);
            kept.map(|(width, _)| width + GAP)
                .sum::<usize>()
                .saturating_sub(GAP)
        };
        while total(&shown, &widths) > page.width {
            let ranked = (0..N).filter(|column| shown[*column] && self.head[*column].1 > 0);
            match ranked.max_by_key(|column| self.head[*column].1) {
                Some(column) => shown[column] = false,
                None => break,
            }
        }
        let over = total(&shown, &widths).saturating_sub(page.width);
        let widest = (0..N)
            .filter(|column| shown[*column])
            .max_by_key(|column| widths[*column]);
        if let Some(widest) = widest {
            widths[widest] = widths[widest]
                .saturating_sub(over)
                .max(LEAST.min(widths[widest]));
        }
        let head = self.head.map(|(name, _)| Cell::new(Tone::Head, name));
        let mut text = String::new();
        let line = |cells: &[Cell; N]| {
            let mut line = String::new();
            let mut blanks = 0;
            for column in (0..N).filter(|column| shown[*column]) {
                let cell = &cells[column];
                let fitted = fit(&cell.text, widths[column]);
                line += &" ".repeat(blanks);
                line += &page.paint(cell.tone, &fitted);
                blanks = widths[column] - fitted.chars().count() + GAP;
            }
            line.push('\n');
            line
        };
        text += &line(&head);
        for (row, note) in self.rows.iter().zip(&self.notes) {
            text += &line(row);
            if let Some((tone, note)) = note {
                for sentence in page.paragraph(4, note).lines() {
                    let _ = writeln!(text, "    {}", page.paint(*tone, sentence.trim_start()));
                }
            }
        }
        text
    }
}

/// Cut, with a mark where that was needed.
fn fit(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true => text
            .chars()
            .take(width.saturating_sub(1))
            .chain(['…'])
            .collect(),
        false => text.to_owned(),
    }
}

/// Names and values, wrapped beside their names.
pub fn facts<T: AsRef<str>>(page: &Page, indent: usize, rows: &[(T, Cell)]) -> String {
    let length = |name: &T| name.as_ref().chars().count();
    let width = rows.iter().map(|(name, _)| length(name)).max().unwrap_or(0);
    let left = indent + width + GAP;
    let mut text = String::new();
    for (name, cell) in rows {
        let name = page.paint(Tone::Faint, &format!("{:width$}", name.as_ref()));
        let mut before = format!("{:indent$}{name}{:GAP$}", "", "");
        for line in page.paragraph(left, &cell.text).lines() {
            let value = page.paint(cell.tone, line.trim_start());
            let _ = writeln!(text, "{before}{value}");
            before = " ".repeat(left);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(width: usize) -> Page {
        Page {
            width,
            colour: false,
            now: UNIX_EPOCH + Duration::from_secs(1_000_000),
        }
    }

    fn table() -> Table<3> {
        let mut table = Table::new([("NAME", 0), ("KEY", 2), ("STATE", 1)]);
        table.row(["a-long-name-of-a-map".into(), "0xa1".into(), "ok".into()]);
        table
    }

    #[test]
    fn what_does_not_fit_goes_by_rank() {
        assert_eq!(
            table().render(&page(80)),
            "NAME                  KEY   STATE\na-long-name-of-a-map  0xa1  ok\n"
        );
        assert_eq!(
            table().render(&page(28)),
            "NAME                  STATE\na-long-name-of-a-map  ok\n"
        );
        assert_eq!(table().render(&page(12)), "NAME\na-long-name…\n");
    }

    #[test]
    fn texts_from_afar_cannot_steer_a_terminal() {
        assert_eq!(Cell::from("a\x1b[2J\n").text, "a?[2J?");
    }

    #[test]
    fn times_are_told_in_one_unit() {
        let ago = |seconds: u64| page(80).ago((1_000_000 - seconds) * 1_000_000);
        assert_eq!(ago(0), "0 s ago");
        assert_eq!(ago(119), "119 s ago");
        assert_eq!(ago(120), "2 min ago");
        assert_eq!(ago(7200), "2 h ago");
        assert_eq!(ago(400_000), "4 days ago");
    }

    #[test]
    fn words_are_wrapped() {
        let text = page(24).paragraph(4, "one two three four five six seven");
        assert_eq!(text, "    one two three four\n    five six seven\n");
    }
}
