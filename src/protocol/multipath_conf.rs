//! The keys in multipath.conf, as `multipathd show config local` prints it.
//!
//! multipathd and libmpathpersist take the key of a map from its entry in the
//! section `multipaths`, else from `defaults`. Guests choose their own keys, and
//! only the value `file` lets them.

use std::fmt;

/// A `reservation_key` of multipath.conf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfiguredKey {
    /// `file`: whatever is registered, remembered in multipathd's own file.
    File,
    /// This one and no other, in multipathd's words: `0x123abc`, or
    /// `0x123abc:aptpl`.
    Fixed(String),
}

impl ConfiguredKey {
    fn parse(value: &str) -> Self {
        match value {
            "file" => ConfiguredKey::File,
            other => ConfiguredKey::Fixed(other.to_owned()),
        }
    }
}

impl fmt::Display for ConfiguredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfiguredKey::File => f.write_str("file"),
            ConfiguredKey::Fixed(key) => f.write_str(key),
        }
    }
}

/// Every `reservation_key` that is set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReservationKeys {
    /// In the section `defaults`.
    pub default: Option<ConfiguredKey>,
    /// In the section `multipaths`, by the WWID of the map.
    pub maps: Vec<(String, ConfiguredKey)>,
}

impl ReservationKeys {
    /// Reads a whole configuration; `None` for a text that is none, such as
    /// multipathd's `fail` or `timeout`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut keys = ReservationKeys::default();
        let mut sections: Vec<&str> = Vec::new();
        let mut is_configuration = false;
        let (mut wwid, mut key) = (None, None);
        for line in text.lines().map(str::trim) {
            let (word, value) = line
                .split_once(char::is_whitespace)
                .map_or((line, ""), |(word, value)| (word, value.trim()));
            if value == "{" {
                is_configuration |= word == "defaults" && sections.is_empty();
                sections.push(word);
                continue;
            }
            if word == "}" {
                if let (Some(wwid), Some(key)) = (wwid.take(), key.take()) {
                    keys.maps.push((wwid, key));
                }
                sections.pop();
                continue;
            }
            let value = value.trim_matches('"');
            match (sections.as_slice(), word) {
                (["defaults"], "reservation_key") => {
                    keys.default = Some(ConfiguredKey::parse(value));
                }
                (["multipaths", "multipath"], "reservation_key") => {
                    key = Some(ConfiguredKey::parse(value));
                }
                (["multipaths", "multipath"], "wwid") => wwid = Some(value.to_owned()),
                _ => {}
            }
        }
        is_configuration.then_some(keys)
    }

    /// What to change so that guests may choose their keys; `None` where they
    /// may.
    pub fn advice(&self) -> Option<String> {
        const LINE: &str = "`reservation_key file`";
        let fixed = |(_, key): &&(String, ConfiguredKey)| *key != ConfiguredKey::File;
        let wwids: Vec<_> = self
            .maps
            .iter()
            .filter(fixed)
            .map(|(wwid, _)| wwid.as_str())
            .collect();
        let mut changes = Vec::new();
        match &self.default {
            Some(ConfiguredKey::File) => {}
            Some(ConfiguredKey::Fixed(key)) => changes.push(format!(
                "put the line {LINE} in the place of `reservation_key {key}` in the section \
                 `defaults`"
            )),
            None => changes.push(format!("add the line {LINE} to the section `defaults`")),
        }
        if !wwids.is_empty() {
            changes.push(format!(
                "remove the line `reservation_key` from the section `multipaths` for {}",
                wwids.join(", ")
            ));
        }
        (!changes.is_empty()).then(|| {
            format!(
                "in /etc/multipath.conf {}; then run `multipathd reconfigure`",
                changes.join(" and ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(defaults: &str, multipaths: &str) -> String {
        format!(
            "defaults {{\n\tverbosity 2\n{defaults}\tprio_args \"\"\n}}\nblacklist {{\n\tdevnode \
             \"!^(sd[a-z]|dasd[a-z]|nvme[0-9])\"\n\tdevice {{\n\t\tvendor \"IBM\"\n\t}}\n}}\n\
             overrides {{\n\tprotocol {{\n\t\ttype \"scsi:fcp\"\n\t}}\n}}\nmultipaths {{\n\
             {multipaths}}}\n"
        )
    }

    fn fixed(key: &str) -> ConfiguredKey {
        ConfiguredKey::Fixed(key.to_owned())
    }

    #[test]
    fn keys_are_found_where_multipathd_looks_for_them() {
        let maps = "\tmultipath {\n\t\twwid \"3600a\"\n\t\talias \"one\"\n\
                    \t\treservation_key 0x5:aptpl\n\t}\n\tmultipath {\n\t\twwid \"3600b\"\n\t}\n";
        let text = configuration("\treservation_key \"file\"\n", maps);
        let expected = ReservationKeys {
            default: Some(ConfiguredKey::File),
            maps: vec![("3600a".to_owned(), fixed("0x5:aptpl"))],
        };
        assert_eq!(ReservationKeys::parse(&text), Some(expected));

        let text = configuration("\treservation_key 0x123abc\n", "");
        let keys = ReservationKeys::parse(&text).unwrap();
        assert_eq!(keys.default, Some(fixed("0x123abc")));

        // Not where multipathd does not look.
        let text = configuration("}\ndevices {\n\treservation_key file\n", "");
        assert_eq!(
            ReservationKeys::parse(&text),
            Some(ReservationKeys::default())
        );
    }

    #[test]
    fn a_refusal_is_no_configuration() {
        for text in [
            "",
            "fail\n",
            "timeout\n",
            "Your command:\nshow {\n",
            "}\n}\n",
        ] {
            assert_eq!(ReservationKeys::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn advice_names_the_line_and_the_section() {
        let advice = |defaults, maps| {
            let keys = ReservationKeys::parse(&configuration(defaults, maps)).unwrap();
            keys.advice().unwrap_or_default()
        };
        let map = "\tmultipath {\n\t\twwid \"3600a\"\n\t\treservation_key 0x5\n\t}\n";
        let file = "\treservation_key file\n";
        assert_eq!(advice(file, ""), "");
        assert_eq!(
            advice("", ""),
            "in /etc/multipath.conf add the line `reservation_key file` to the section \
             `defaults`; then run `multipathd reconfigure`"
        );
        assert_eq!(
            advice("\treservation_key 0x1\n", map),
            "in /etc/multipath.conf put the line `reservation_key file` in the place of \
             `reservation_key 0x1` in the section `defaults` and remove the line \
             `reservation_key` from the section `multipaths` for 3600a; then run `multipathd \
             reconfigure`"
        );
    }
}
