//! `/etc/multipath/prkeys`: the keys that multipathd learnt from clients.
//!
//! A line is a key, a blank and a WWID. The key has its sixteen digits and `0x`
//! in front, or `0X` where it outlasts power loss. A `#` begins comments, and
//! takes the place of the first character where a key was removed.

use super::conf::Remark;
use crate::config::KeySource;
use crate::scsi::ReservationKey;

/// The key of one map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learnt {
    /// The unit's world-wide identity.
    pub wwid: String,
    /// Its key, never [`KeySource::File`].
    pub key: KeySource,
    /// The line it stands in, counted from 1.
    pub line: usize,
}

/// Reads the file: its keys, and what is odd. Any text will do.
pub fn parse(text: &str) -> (Vec<Learnt>, Vec<Remark>) {
    let mut all: Vec<Learnt> = Vec::new();
    let mut remarks = Vec::new();
    for (index, content) in text.lines().enumerate() {
        let line = index + 1;
        let content = content.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let text = match entry(content, line) {
            None => "neither a key and a WWID nor a comment".into(),
            Some(new) if all.iter().any(|old| old.wwid == new.wwid) => {
                format!("{}: its key stands further above", new.wwid)
            }
            Some(new) => {
                all.push(new);
                continue;
            }
        };
        remarks.push(Remark { line, text });
    }
    (all, remarks)
}

fn entry(content: &str, line: usize) -> Option<Learnt> {
    let (key, wwid) = content.split_once(char::is_whitespace)?;
    let wwid = wwid.trim();
    let (digits, aptpl) = match key.strip_prefix("0X") {
        Some(digits) => (digits, true),
        None => (key.strip_prefix("0x")?, false),
    };
    let key: ReservationKey = format!("0x{digits}").parse().ok()?;
    let plain = !key.is_zero() && !wwid.is_empty() && !wwid.contains(char::is_whitespace);
    plain.then(|| Learnt {
        wwid: wwid.to_owned(),
        key: KeySource::Fixed { key, aptpl },
        line,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_keys_are_read_and_removed_ones_are_not() {
        let text = "# Multipath persistent reservation keys\n#\n\
                    0x0000000000123abc 3600a\n\
                    0X00000000000000b1 3600b\n\
                    #x00000000000000c1 3600c\n\
                    0x00000000000000c2 3600c\n\n";
        let (all, remarks) = parse(text);
        let seen: Vec<_> = all
            .iter()
            .map(|one| format!("{} {} {}", one.line, one.wwid, one.key))
            .collect();
        assert_eq!(
            seen,
            ["3 3600a 0x123abc", "4 3600b 0xb1:aptpl", "6 3600c 0xc2"]
        );
        assert_eq!(remarks, []);
    }

    #[test]
    fn odd_lines_are_left_out() {
        let text =
            "123abc 3600a\n0x1\n0x1 \n0x0 3600a\n0x1 3600a b\n0x1 3600a\n0x2 3600a\n0xg 3600d\n";
        let (all, remarks) = parse(text);
        assert_eq!(all.len(), 1);
        let lines: Vec<_> = remarks.iter().map(|remark| remark.line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5, 7, 8]);
    }
}
