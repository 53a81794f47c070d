//! Configuration files: every text is settings or an error that says where.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reservd::config::{Config, Invalid, KeySource};

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match Config::parse(text) {
        Ok(config) => {
            let deadline = config.commands.deadline.as_millis();
            assert!((100..=600_000).contains(&deadline));
            let interval = config.defaults.poll_interval.as_millis();
            assert!((200..=600_000).contains(&interval));
            assert!(config.helper.mode <= 0o777);
            assert!(config.helper.socket.is_absolute());
            if let KeySource::Fixed { key, .. } = config.defaults.reservation_key {
                assert!(!key.is_zero());
            }
            let luns = config.simulator.iter().flat_map(|simulator| &simulator.lun);
            for name in luns.flat_map(|lun| lun.hosts.iter().chain([&lun.name])) {
                assert!(
                    !name.is_empty() && !name.contains(['/', '.', '\0']),
                    "{name:?}"
                );
            }
        }
        Err(error) => {
            assert!(!format!("{error:#}").is_empty());
            let Invalid::Text(complaint) = error else {
                panic!("no file was read");
            };
            assert!(complaint.place.line <= text.lines().count() + 1);
        }
    }
});
