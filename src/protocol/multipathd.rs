//! The protocol of multipathd's socket, sans I/O: requests to bytes, bytes to
//! replies.
//!
//! Both directions are a native `size_t`, the length of the text with its NUL,
//! and then that text. The words of the replies differ between versions: 0.9.4
//! says `0` and `1` where 0.9.5 and later say `unset`, `set` and `unknown`.

use crate::scsi::ReservationKey;
use std::fmt;

/// Bytes of the length in front of a text.
pub const LENGTH: usize = size_of::<usize>();
/// More than any reply that is asked for, the configuration of a host with some
/// ten thousand maps. An unknown command is answered with the list of all
/// commands, about 4 KB.
pub const LONGEST_REPLY: usize = 4 << 20;
/// Asks for the configuration that is in use, without the devices that this
/// host does not have.
pub const SHOW_CONFIGURATION: &str = "show config local";
/// Asks what commands there are.
pub const HELP: &str = "help";
/// dm names are shorter than this (the kernel's `DM_NAME_LEN`).
const LONGEST_NAME: usize = 128;

/// The name of a map, fit to stand in a command: without blanks and quotes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MapName(String);

impl MapName {
    /// `None` for a name that would be read as several words.
    pub fn new(name: &str) -> Option<Self> {
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\');
        let fits = (1..LONGEST_NAME).contains(&name.len());
        (fits && name.chars().all(plain)).then(|| MapName(name.to_owned()))
    }
}

impl fmt::Display for MapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What to ask of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Which key it registers with.
    GetKey,
    /// Use this key, with APTPL or without.
    SetKey(ReservationKey, bool),
    /// Forget the key.
    UnsetKey,
    /// Whether returning paths are registered.
    GetStatus,
    /// Register returning paths. 0.9.4 does not look at the unit first.
    SetStatus,
    /// Do not.
    UnsetStatus,
    /// Whether this host is known as holder; 0.13 and later.
    GetHold,
    /// This host holds the reservation; 0.13 and later.
    SetHold,
    /// It does not; 0.13 and later.
    UnsetHold,
}

/// A command about a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its name.
    pub map: MapName,
    /// What to do.
    pub verb: Verb,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let map = &self.map;
        match self.verb {
            Verb::GetKey => write!(f, "getprkey map {map}"),
            Verb::SetKey(key, false) => write!(f, "setprkey map {map} key {key}"),
            Verb::SetKey(key, true) => write!(f, "setprkey map {map} key {key}:aptpl"),
            Verb::UnsetKey => write!(f, "unsetprkey map {map}"),
            Verb::GetStatus => write!(f, "getprstatus map {map}"),
            Verb::SetStatus => write!(f, "setprstatus map {map}"),
            Verb::UnsetStatus => write!(f, "unsetprstatus map {map}"),
            Verb::GetHold => write!(f, "getprhold map {map}"),
            Verb::SetHold => write!(f, "setprhold map {map}"),
            Verb::UnsetHold => write!(f, "unsetprhold map {map}"),
        }
    }
}

/// What multipathd knows of a property of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// Not yet looked at; 0.9.5 and later.
    Unknown,
    /// No.
    Unset,
    /// Yes.
    Set,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Done.
    Done,
    /// To `GetStatus` and `GetHold`.
    Flag(Flag),
    /// To `GetKey`: the key and whether it goes with APTPL, or none.
    Key(Option<(ReservationKey, bool)>),
    /// Not done, in multipathd's words: an unknown map, a suspended map, a key
    /// that stands in multipath.conf, a command that this version lacks.
    Refused(String),
}

impl Request {
    /// The bytes to send.
    pub fn encode(&self) -> Vec<u8> {
        frame(&self.to_string())
    }

    /// What a reply to this request means.
    pub fn parse(&self, text: &str) -> Reply {
        let text = text.trim();
        let reply = match self.verb {
            Verb::GetKey => key(text).map(Reply::Key),
            Verb::GetStatus | Verb::GetHold => flag(text).map(Reply::Flag),
            _ => (text == "ok").then_some(Reply::Done),
        };
        reply.unwrap_or_else(|| Reply::Refused(first_line(text)))
    }
}

/// The version that the list of commands begins with: `multipath-tools v0.9.4
/// (12/19, 2022)`.
pub fn version_in(help: &str) -> Option<String> {
    let version = help.split("multipath-tools v").nth(1)?;
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.');
    let version = version.get(..end.unwrap_or(version.len()))?;
    (!version.is_empty()).then(|| version.to_owned())
}

fn key(text: &str) -> Option<Option<(ReservationKey, bool)>> {
    if text == "none" {
        return Some(None);
    }
    let (digits, aptpl) = match text.strip_suffix(":aptpl") {
        Some(digits) => (digits, true),
        None => (text, false),
    };
    Some(Some((digits.parse().ok()?, aptpl)))
}

fn flag(text: &str) -> Option<Flag> {
    match text {
        "1" | "set" => Some(Flag::Set),
        "0" | "unset" => Some(Flag::Unset),
        "unknown" => Some(Flag::Unknown),
        _ => None,
    }
}

/// Enough of a refusal for a line in the log.
fn first_line(text: &str) -> String {
    const ENOUGH: usize = 80;
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(ENOUGH).collect()
}

/// A text as it is sent.
pub fn frame(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() + 1).to_ne_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

/// How many bytes follow this length; `None` for a length that no reply has.
pub fn reply_length(length: [u8; LENGTH]) -> Option<usize> {
    let length = usize::from_ne_bytes(length);
    (1..=LONGEST_REPLY).contains(&length).then_some(length)
}

/// The text in those bytes.
pub fn reply_text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: ReservationKey = ReservationKey(0x123abc);

    fn request(verb: Verb) -> Request {
        let map = MapName::new("mpatha").unwrap();
        Request { map, verb }
    }

    #[test]
    fn commands_are_those_of_multipathd() {
        for (verb, text) in [
            (Verb::GetKey, "getprkey map mpatha"),
            (Verb::SetKey(KEY, false), "setprkey map mpatha key 0x123abc"),
            (
                Verb::SetKey(KEY, true),
                "setprkey map mpatha key 0x123abc:aptpl",
            ),
            (Verb::UnsetKey, "unsetprkey map mpatha"),
            (Verb::GetStatus, "getprstatus map mpatha"),
            (Verb::SetStatus, "setprstatus map mpatha"),
            (Verb::UnsetStatus, "unsetprstatus map mpatha"),
            (Verb::GetHold, "getprhold map mpatha"),
            (Verb::SetHold, "setprhold map mpatha"),
            (Verb::UnsetHold, "unsetprhold map mpatha"),
        ] {
            assert_eq!(request(verb).to_string(), text);
        }
    }

    #[test]
    #[cfg(all(target_pointer_width = "64", target_endian = "little"))]
    fn a_frame_counts_the_nul() {
        let bytes = request(Verb::GetKey).encode();
        assert_eq!(bytes, b"\x14\0\0\0\0\0\0\0getprkey map mpatha\0");
    }

    #[test]
    fn replies_of_every_version_are_understood() {
        let refused = |text: &str| Reply::Refused(text.to_owned());
        for (verb, text, reply) in [
            // 0.9.4
            (Verb::GetStatus, "0", Reply::Flag(Flag::Unset)),
            (Verb::GetStatus, "1", Reply::Flag(Flag::Set)),
            (Verb::GetStatus, "fail\n", refused("fail")),
            (Verb::SetStatus, "ok\n", Reply::Done),
            (Verb::SetStatus, "fail\n", refused("fail")),
            (Verb::GetKey, "none\n", Reply::Key(None)),
            (Verb::GetKey, "0x123abc\n", Reply::Key(Some((KEY, false)))),
            (
                Verb::GetKey,
                "0x123abc:aptpl\n",
                Reply::Key(Some((KEY, true))),
            ),
            (
                Verb::GetHold,
                "Your command:\ngetprhold map mpatha\n",
                refused("Your command:"),
            ),
            // 0.9.5 and later
            (Verb::GetStatus, "set\n", Reply::Flag(Flag::Set)),
            (Verb::GetStatus, "unset\n", Reply::Flag(Flag::Unset)),
            (Verb::GetStatus, "unknown\n", Reply::Flag(Flag::Unknown)),
            (Verb::GetHold, "set\n", Reply::Flag(Flag::Set)),
            (
                Verb::SetStatus,
                "device not found\n",
                refused("device not found"),
            ),
            (Verb::GetKey, "timeout\n", refused("timeout")),
            (Verb::UnsetKey, "", refused("")),
        ] {
            assert_eq!(request(verb).parse(text), reply, "{verb:?} {text:?}");
        }
    }

    #[test]
    fn names_that_are_several_words_are_refused() {
        for name in ["", "a b", "a\nb", "a\"b", "mpäth", &"x".repeat(128)] {
            assert_eq!(MapName::new(name), None, "{name:?}");
        }
        assert!(MapName::new("mpath-a_1.b:c").is_some());
    }

    #[test]
    fn the_length_of_a_reply_is_bounded() {
        assert_eq!(reply_length(0usize.to_ne_bytes()), None);
        assert_eq!(reply_length(usize::MAX.to_ne_bytes()), None);
        assert_eq!(reply_length(3usize.to_ne_bytes()), Some(3));
        assert_eq!(reply_text(b"ok\n\0rest"), "ok\n");
        assert_eq!(reply_text(b"0"), "0");
    }
}
