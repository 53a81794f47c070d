//! What the daemon has written down.

use reservd::lun::state::record::Record;
use std::fs;

const JOURNAL: &str = "/var/lib/reservd";

/// The record of a map's unit. Every file there can be read, and is of this boot.
pub fn record_of(map: &str) -> Record {
    let map = fs::canonicalize(map).unwrap();
    let name = map.file_name().unwrap().to_str().unwrap();
    let uuid = fs::read_to_string(format!("/sys/block/{name}/dm/uuid")).unwrap();
    let wwid = uuid.trim().strip_prefix("mpath-").unwrap();
    let mut found = Record::default();
    for entry in fs::read_dir(JOURNAL).unwrap() {
        let file = entry.unwrap().path();
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("json") => {}
            // Half-written beside the record that counts.
            Some("tmp") => continue,
            _ => panic!("{} in the journal", file.display()),
        }
        let text = fs::read_to_string(&file).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["version"], 1, "{text}");
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        assert_eq!(value["boot_id"], boot.trim(), "{text}");
        let stem = file.file_stem().unwrap().to_str().unwrap();
        assert_eq!(value["wwid"], stem, "{text}");
        let record = serde_json::from_value(value["record"].clone()).unwrap();
        if stem == wwid {
            found = record;
        }
    }
    found
}
