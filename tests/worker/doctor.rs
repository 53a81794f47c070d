//! `reservctl doctor` against the fake library, and against none.

use crate::fake;
use reservd::engine::mpathpersist::LIBRARY_VARIABLE;
use std::path::Path;
use std::process::{Command, Output};

fn doctor(library: &Path, version: &str, arguments: &[&str]) -> Output {
    let config = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&config, "[defaults]\nengine = \"mpathpersist\"\n").expect("a file");
    Command::new(env!("CARGO_BIN_EXE_reservctl"))
        .arg("doctor")
        .arg("--config")
        .arg(config.path())
        .args(arguments)
        .env(LIBRARY_VARIABLE, library)
        .env("RESERVD_FAKE_VERSION", version)
        .output()
        .expect("reservctl")
}

fn choices(output: &Output) -> (serde_json::Value, usize, usize) {
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = object["operations"].as_array().expect("rows");
    let count = |choice| rows.iter().filter(|row| row["choice"] == choice).count();
    let (library, refused) = (count("library"), count("refuse"));
    (object["library"].clone(), library, refused)
}

#[test]
fn the_version_decides_what_goes_through_the_library() {
    for (version, through) in [("0.9.4", 6), ("0.15.1", 7)] {
        let output = doctor(fake(), version, &["--json"]);
        assert!(output.status.success());
        let (library, by_library, refused) = choices(&output);
        assert_eq!(library["version"], version);
        assert_eq!((by_library, refused), (through, 0), "{version}");
    }
    let output = doctor(fake(), "0.9.4", &[]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        text.contains("\nRELEASE                               direct "),
        "{text}"
    );
}

#[test]
fn a_missing_library_is_told_and_its_commands_refused() {
    let output = doctor(Path::new("/nonexistent/library"), "0.9.4", &["--json"]);
    assert!(output.status.success());
    let (library, by_library, refused) = choices(&output);
    assert_eq!(library["found"], false);
    let error = library["error"].as_str().expect("a reason");
    assert!(error.contains("/nonexistent/library"), "{error}");
    assert_eq!((by_library, refused), (0, 7));
}
