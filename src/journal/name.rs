//! File names for WWIDs.
//!
//! ASCII letters, digits, `_` and `-` stand for themselves, every other byte is
//! `%` and two hexadecimal digits, so a name has no `/` and no `.`. A name that
//! would be too long for a file system is cut, and made unique by a hash after
//! `~`. The empty WWID is `~`.

/// Longest name, in bytes, without an extension: the limit of file systems is 255.
const LONGEST: usize = 200;
/// What is kept of a longer one.
const KEPT: usize = LONGEST - 1 - 32;
const CUT: char = '~';

/// The name for a WWID, without an extension.
pub fn of_wwid(wwid: &str) -> String {
    let mut name = String::with_capacity(wwid.len());
    for byte in wwid.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => name.push(byte.into()),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    if name.len() > LONGEST {
        name.truncate(KEPT);
        name.push_str(&format!("{CUT}{:032x}", hash(wwid)));
    }
    if name.is_empty() {
        name.push(CUT);
    }
    name
}

/// The WWID of a name; `None` where it is not one that [`of_wwid`] gives, or was cut.
pub fn wwid(name: &str) -> Option<String> {
    if name == of_wwid("") {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            _ => byte,
        });
    }
    let wwid = String::from_utf8(bytes).ok()?;
    (of_wwid(&wwid) == name).then_some(wwid)
}

/// FNV-1a with 128 bits: the same in every build, which std's hashes are not.
fn hash(text: &str) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    text.bytes().fold(BASIS, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(PRIME)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn usual_wwids_are_their_names() {
        for wwid in [
            "360014051ab000010000000000000000",
            "1ATA_QEMU_HARDDISK_QM00001",
        ] {
            assert_eq!(of_wwid(wwid), wwid);
        }
        for (wwid, name) in [
            ("../../etc/passwd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd"),
            (".hidden", "%2ehidden"),
            ("hctl:2:0:1:0", "hctl%3a2%3a0%3a1%3a0"),
            ("a%2e~", "a%252e%7e"),
            ("", "~"),
        ] {
            assert_eq!(of_wwid(wwid), name);
            assert_eq!(super::wwid(name).as_deref(), Some(wwid));
        }
        for foreign in ["%2", "%zz", "%+1", "%2E", "%ff", "a.b", "a~", "%41", "~~"] {
            assert_eq!(super::wwid(foreign), None, "{foreign}");
        }
    }

    /// The test vectors of FNV's authors for 128 bits.
    #[test]
    fn the_hash_is_fnv() {
        assert_eq!(hash("a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
        assert_eq!(hash("foobar"), 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
    }

    fn is_safe(name: &str) -> bool {
        let fits = (1..=LONGEST).contains(&name.len());
        fits && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-%~".contains(c))
    }

    proptest! {
        #[test]
        fn every_wwid_has_a_safe_name_and_short_ones_can_be_read_back(text in "\\PC*|.{0,80}") {
            let name = of_wwid(&text);
            prop_assert!(is_safe(&name), "{}", name);
            if text.len() * 3 <= LONGEST {
                prop_assert_eq!(super::wwid(&name), Some(text));
            }
        }

        #[test]
        fn long_names_stay_apart(texts in prop::collection::hash_set("[a/]{190,400}", 2..20)) {
            let mut names = HashMap::new();
            for text in texts {
                let name = of_wwid(&text);
                prop_assert!(is_safe(&name), "{}", name);
                prop_assert_eq!(names.insert(name, text), None);
            }
        }
    }
}
