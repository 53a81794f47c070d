//! multipath.conf and prkeys: of any text, what is imported loads, and keys reach
//! their units.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reservd::config::{Config, Text};
use reservd::import::Import;

fuzz_target!(|input: &[u8]| {
    let text = Text::new("input", &String::from_utf8_lossy(input));
    let mut import = Import::new(std::slice::from_ref(&text), Some(&text));
    for _ in 0..2 {
        let toml = import.to_toml();
        let config = Config::parse(&toml).unwrap_or_else(|error| panic!("{error:#}\n{toml}"));
        let default = import.reservation_key.unwrap_or_default();
        assert_eq!(config.defaults.reservation_key, default);
        for unit in &import.units {
            let key = config.unit(&unit.wwid, None).reservation_key;
            assert_eq!(key, unit.reservation_key.unwrap_or(default));
        }
        import.pin();
    }
});
