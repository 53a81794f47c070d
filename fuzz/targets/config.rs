//! Configuration files: every text is settings or an error that says where.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reservd::config::Config;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match Config::parse(text) {
        Ok(config) => {
            let deadline = config.commands.deadline.as_millis();
            assert!((100..=600_000).contains(&deadline));
            assert!(config.helper.mode <= 0o777);
            if config.check().is_ok() {
                let luns = config.simulator.iter().flat_map(|simulator| &simulator.lun);
                for name in luns.flat_map(|lun| lun.hosts.iter().chain([&lun.name])) {
                    assert!(
                        !name.is_empty() && !name.contains(['/', '.', '\0']),
                        "{name:?}"
                    );
                }
            }
        }
        Err(error) => assert!(!error.message().is_empty()),
    }
});
