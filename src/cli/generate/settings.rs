//! reservd.toml(5), from `conf/reservd.toml`: each comment is about the setting
//! below it, and what comes before the first section about the file.

use super::man::{entry, prose};
use clap_mangen::roff::{Roff, bold, roman};

const SOURCE: &str = include_str!("../../../conf/reservd.toml");

/// A piece of the file.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// Comment that is about no setting.
    Prose(String),
    /// `[section]` or `[[section]]`.
    Section(String),
    /// A setting with its default, and the comment above it.
    Setting {
        name: String,
        default: String,
        comment: String,
    },
}

/// The page.
pub fn page() -> String {
    let mut page = Roff::new();
    let source = concat!("reservd ", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["RESERVD.TOML", "5", "", source, "reservd"]);
    page.control("SH", ["NAME"]);
    page.text([roman("reservd.toml - settings of reservd")]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([bold("/etc/reservd/reservd.toml")]);
    page.control("br", []);
    page.text([bold("/etc/reservd/conf.d/*.toml")]);
    page.control("SH", ["DESCRIPTION"]);
    for piece in pieces(SOURCE) {
        match piece {
            Piece::Prose(text) => {
                prose(&mut page, &text);
                page.control("PP", []);
            }
            Piece::Section(name) => {
                page.control("SH", [name.as_str()]);
            }
            Piece::Setting {
                name,
                default,
                comment,
            } => entry(&mut page, &format!("{name} = {default}"), &comment),
        }
    }
    page.control("SH", ["EXAMPLES"]);
    page.text([roman("The only key that clients may register on one map:")]);
    page.control("RS", ["4"]).control("nf", []);
    for line in [
        "[[multipath]]",
        "alias = \"mpatha\"",
        "reservation_key = \"0x123abc\"",
    ] {
        page.text([roman(line)]);
    }
    page.control("fi", []).control("RE", []);
    page.control("SH", ["SEE ALSO"]);
    page.text([roman("reservctl(1), reservd(8), multipath.conf(5)")]);
    page.to_roff()
}

fn pieces(source: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut comment = String::new();
    let flush = |comment: &mut String, pieces: &mut Vec<Piece>| {
        let text = std::mem::take(comment);
        if !text.trim().is_empty() {
            pieces.push(Piece::Prose(text.trim_end().to_owned()));
        }
    };
    for line in source.lines() {
        if let Some(text) = line.strip_prefix('#') {
            let text = text.strip_prefix(' ').unwrap_or(text);
            // A section that is only an example.
            match text.starts_with("[[") && text.ends_with("]]") {
                true if !pieces.contains(&Piece::Section(text.to_owned())) => {
                    flush(&mut comment, &mut pieces);
                    let at =
                        pieces.len() - usize::from(matches!(pieces.last(), Some(Piece::Prose(_))));
                    pieces.insert(at, Piece::Section(text.to_owned()));
                    comment += &format!("  {text}\n");
                }
                _ if is_example(text) => comment += &format!("  {text}\n"),
                _ => comment += &format!("{text}\n"),
            }
        } else if line.starts_with('[') {
            // What stands above is about the whole section.
            let text = std::mem::take(&mut comment);
            pieces.push(Piece::Section(line.to_owned()));
            comment = text;
            flush(&mut comment, &mut pieces);
        } else if let Some((name, default)) = line.split_once(" = ") {
            pieces.push(Piece::Setting {
                name: name.to_owned(),
                default: default.to_owned(),
                comment: std::mem::take(&mut comment),
            });
        } else {
            flush(&mut comment, &mut pieces);
        }
    }
    flush(&mut comment, &mut pieces);
    pieces
}

/// A line of the language of the file.
fn is_example(text: &str) -> bool {
    text.starts_with('[')
        || text
            .split_once(" = ")
            .is_some_and(|(name, _)| !name.contains(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_there() {
        let table: toml::Table = SOURCE.parse().unwrap();
        let pieces = pieces(SOURCE);
        let mut found = 0;
        for (section, settings) in &table {
            assert!(
                pieces.contains(&Piece::Section(format!("[{section}]"))),
                "{section}"
            );
            for (setting, _) in settings.as_table().unwrap() {
                let explained = pieces.iter().any(|piece| {
                    matches!(piece, Piece::Setting { name, comment, .. }
                             if name == setting && !comment.is_empty())
                });
                assert!(explained, "{setting} has no comment");
                let shown = setting.replace('-', "\\-");
                assert!(page().contains(&shown), "{setting}");
                found += 1;
            }
        }
        assert!(found > 10, "only {found}");
        assert!(pieces.contains(&Piece::Section("[[multipath]]".into())));
        let sections = pieces
            .iter()
            .filter(|piece| matches!(piece, Piece::Section(_)));
        assert_eq!(
            sections.count(),
            table.len() + 1,
            "each section once, and [[multipath]]"
        );
    }

    #[test]
    fn a_comment_is_about_what_follows() {
        let source = "# The file.\n\n[a]\n# One.\none = 1\n# About b.\n[b]\n# More\ntwo = \"2\"\n";
        let prose = |text: &str| Piece::Prose(text.into());
        let section = |name: &str| Piece::Section(name.into());
        let setting = |name: &str, default: &str, comment: &str| Piece::Setting {
            name: name.into(),
            default: default.into(),
            comment: comment.into(),
        };
        assert_eq!(
            pieces(source),
            [
                prose("The file."),
                section("[a]"),
                setting("one", "1", "One.\n"),
                section("[b]"),
                prose("About b."),
                setting("two", "\"2\"", "More\n"),
            ]
        );
    }
}
