//! The syntax of multipath.conf (multipath.conf(5), SYNTAX), read with patience.
//!
//! A line is `KEYWORD VALUE`, `SECTION {` or `}`. A value is one word, or
//! anything in double quotes, where `""` stands for a quote. `#` and `!` outside
//! of quotes begin a comment. What multipathd would not read is read as it was
//! most likely meant, with a remark.

use std::iter::Peekable;
use std::str::Chars;

/// Sections lie three deep at most; what lies deeper than this is skipped.
const DEPTH: usize = 8;

/// A section with all that it has, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Section {
    /// `defaults`, `multipaths`, `multipath`, …
    pub name: String,
    /// Where it begins, counted from 1.
    pub line: usize,
    /// Its own lines.
    pub items: Vec<Item>,
    /// The sections in it.
    pub sections: Vec<Section>,
}

/// A keyword and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Such as `reservation_key`.
    pub keyword: String,
    /// Without its quotes.
    pub value: String,
    /// The line it stands in, counted from 1.
    pub line: usize,
}

/// Something odd in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The line, counted from 1.
    pub line: usize,
    /// What is odd.
    pub text: String,
}

/// Reads a file: its sections, and what is odd. Any text will do.
pub fn parse(text: &str) -> (Vec<Section>, Vec<Remark>) {
    let mut reader = Reader::default();
    for (index, line) in text.lines().enumerate() {
        reader.line = index + 1;
        reader.read(line);
    }
    reader.finish()
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Open,
    Close,
}

#[derive(Default)]
struct Reader {
    line: usize,
    done: Vec<Section>,
    open: Vec<Section>,
    /// Sections that are open beyond [`DEPTH`].
    skipped: usize,
    /// A word that was alone in its line: a brace may follow.
    lone: Option<(String, usize)>,
    remarks: Vec<Remark>,
}

impl Reader {
    fn remark(&mut self, line: usize, text: impl Into<String>) {
        let text = text.into();
        self.remarks.push(Remark { line, text });
    }

    fn read(&mut self, line: &str) {
        let (tokens, closed) = tokens(line);
        if !closed {
            self.remark(self.line, "a quote is missing at the end");
        }
        let mut tokens = tokens.into_iter().peekable();
        if let (Some((name, at)), Some(first)) = (self.lone.take(), tokens.peek()) {
            if *first == Token::Open {
                tokens.next();
                self.remark(at, format!("{name}: the brace belongs into this line"));
                self.enter(name, at);
            } else {
                self.remark(at, format!("{name}: no value"));
            }
        }
        let mut inline = false;
        while let Some(token) = tokens.next() {
            match (token, tokens.peek()) {
                (Token::Open, _) => {
                    self.remark(self.line, "a brace without the name of a section");
                    self.enter(String::new(), self.line);
                }
                (Token::Close, _) => self.leave(),
                (Token::Word(name), Some(Token::Open)) => {
                    tokens.next();
                    self.enter(name.clone(), self.line);
                    if tokens.peek().is_some() && !inline {
                        inline = true;
                        self.remark(self.line, format!(
                            "{name}: multipathd wants one item a line, and may not read what follows"
                        ));
                    }
                }
                (Token::Word(keyword), Some(Token::Word(_))) => {
                    if let Some(Token::Word(value)) = tokens.next() {
                        self.item(keyword, value);
                    }
                    let more = matches!(tokens.peek(), Some(Token::Word(_) | Token::Open));
                    if more && !inline {
                        self.remark(self.line, "what follows the value is ignored");
                        return;
                    }
                }
                (Token::Word(keyword), None) if !inline => {
                    self.lone = Some((keyword, self.line));
                }
                (Token::Word(keyword), _) => {
                    self.remark(self.line, format!("{keyword}: no value"));
                }
            }
        }
    }

    fn item(&mut self, keyword: String, value: String) {
        if self.skipped > 0 {
            return;
        }
        let line = self.line;
        match self.open.last_mut() {
            Some(section) => section.items.push(Item {
                keyword,
                value,
                line,
            }),
            None => self.remark(line, format!("{keyword}: stands in no section")),
        }
    }

    fn enter(&mut self, name: String, line: usize) {
        if self.open.len() == DEPTH {
            if self.skipped == 0 {
                self.remark(line, format!("{name}: too deep, skipped"));
            }
            self.skipped += 1;
            return;
        }
        self.open.push(Section {
            name,
            line,
            ..Section::default()
        });
    }

    fn leave(&mut self) {
        if self.skipped > 0 {
            self.skipped -= 1;
            return;
        }
        match self.open.pop() {
            Some(section) => match self.open.last_mut() {
                Some(outer) => outer.sections.push(section),
                None => self.done.push(section),
            },
            None => self.remark(self.line, "a closing brace without a section"),
        }
    }

    fn finish(mut self) -> (Vec<Section>, Vec<Remark>) {
        if let Some((keyword, at)) = self.lone.take() {
            self.remark(at, format!("{keyword}: no value"));
        }
        self.skipped = 0;
        while let Some(section) = self.open.last() {
            let text = format!("{}: no closing brace", section.name);
            self.remark(section.line, text);
            self.leave();
        }
        (self.done, self.remarks)
    }
}

/// The tokens of a line, and whether its last quote is closed.
fn tokens(line: &str) -> (Vec<Token>, bool) {
    let mut tokens = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(&c) = chars.peek() {
        match c {
            '#' | '!' => break,
            '{' => tokens.push(Token::Open),
            '}' => tokens.push(Token::Close),
            '"' => {
                chars.next();
                let (text, closed) = quoted(&mut chars);
                tokens.push(Token::Word(text));
                if !closed {
                    return (tokens, false);
                }
                continue;
            }
            c if c.is_whitespace() => {}
            _ => {
                let ends = |c: &char| c.is_whitespace() || matches!(c, '"' | '#' | '!' | '{' | '}');
                let mut word = String::new();
                while let Some(c) = chars.next_if(|c| !ends(c)) {
                    word.push(c);
                }
                tokens.push(Token::Word(word));
                continue;
            }
        }
        chars.next();
    }
    (tokens, true)
}

/// What follows an opening quote, up to the closing one.
fn quoted(chars: &mut Peekable<Chars<'_>>) -> (String, bool) {
    let mut text = String::new();
    while let Some(c) = chars.next() {
        match c {
            '"' if chars.next_if_eq(&'"').is_none() => return (text, true),
            c => text.push(c),
        }
    }
    (text, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `section.section.keyword=value`, and remarks as `line: text`.
    fn flat(text: &str) -> Vec<String> {
        fn add(prefix: &str, section: &Section, lines: &mut Vec<String>) {
            let prefix = format!("{prefix}{}.", section.name);
            for item in &section.items {
                lines.push(format!("{prefix}{}={}", item.keyword, item.value));
            }
            for inner in &section.sections {
                add(&prefix, inner, lines);
            }
        }
        let (sections, remarks) = parse(text);
        let mut lines = Vec::new();
        sections
            .iter()
            .for_each(|section| add("", section, &mut lines));
        lines.extend(
            remarks
                .iter()
                .map(|remark| format!("{}: {}", remark.line, remark.text)),
        );
        lines
    }

    #[test]
    fn sections_items_quotes_and_comments() {
        let text = "# all\n! of it\ndefaults {\n\tfeatures \"1 queue_if_no_path\" # why\n\
                    \tproduct \"2.5\"\" SSD\"!x\n  wwid 3600a#b\n  empty \"\"\n}\r\n\
                    devices{\n device {\n vendor \"#!{}\"\n }\n}";
        assert_eq!(
            flat(text),
            [
                "defaults.features=1 queue_if_no_path",
                "defaults.product=2.5\" SSD",
                "defaults.wwid=3600a",
                "defaults.empty=",
                "devices.device.vendor=#!{}",
            ]
        );
    }

    #[test]
    fn oddities_are_read_as_they_were_meant() {
        for (text, expected) in [
            (
                "blacklist { devnode \"x\" }\na {\nb c\n}",
                &[
                    "blacklist.devnode=x",
                    "a.b=c",
                    "1: blacklist: multipathd wants one item a line, and may not read what follows",
                ][..],
            ),
            (
                "a\n{\nb c d e\n}",
                &[
                    "a.b=c",
                    "1: a: the brace belongs into this line",
                    "3: what follows the value is ignored",
                ],
            ),
            (
                "a {\nb \"c d\ne\n}\n}",
                &[
                    "a.b=c d",
                    "2: a quote is missing at the end",
                    "3: e: no value",
                    "5: a closing brace without a section",
                ],
            ),
            (
                "b c\n{\n",
                &[
                    "1: b: stands in no section",
                    "2: a brace without the name of a section",
                    "2: : no closing brace",
                ],
            ),
            (
                "a {\nb {\nc d\n",
                &[
                    "a.b.c=d",
                    "2: b: no closing brace",
                    "1: a: no closing brace",
                ],
            ),
        ] {
            assert_eq!(flat(text), expected, "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let text = format!(
            "{}x y\n{}a {{\nb c\n}}\n",
            "s {\n".repeat(100_000),
            "}\n".repeat(100_000)
        );
        assert_eq!(flat(&text), ["a.b=c", "9: s: too deep, skipped"]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_odd(text in "[a-c{}\"#! \n\t0x:ä]{0,120}") {
            let (sections, _) = parse(&text);
            proptest::prop_assert!(sections.len() <= text.len());
        }
    }
}
