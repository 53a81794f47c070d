//! `reservd --check`: words and exit codes.

use crate::daemon::transcript;
use std::fs;
use std::path::Path;
use std::process::Command;

fn check(file: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_reservd"))
        .arg("--config")
        .arg(file)
        .arg("--check")
        .output()
        .unwrap();
    let folder = file.parent().unwrap().display().to_string();
    transcript(&output).replace(&folder, "DIR")
}

#[test]
fn sound_files_are_named_and_mistakes_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("reservd.toml");
    insta::assert_snapshot!(check(&main), @r"
    ! reservd: DIR/reservd.toml: No such file or directory (os error 2)
    [exit 1]
    ");
    fs::write(&main, "[[multipath]]\nalias = \"mpatha\"\n").unwrap();
    insta::assert_snapshot!(check(&main), @r"DIR/reservd.toml: ok");
    fs::create_dir(folder.path().join("conf.d")).unwrap();
    fs::write(folder.path().join("conf.d/10-cluster.toml"), "").unwrap();
    insta::assert_snapshot!(check(&main), @r"
    DIR/reservd.toml: ok
    DIR/conf.d/10-cluster.toml: ok
    ");
    let more = "[[multipath]]\nalias = \"mpatha\"\nreservation_key = \"0xa1\"\n";
    fs::write(folder.path().join("conf.d/20-more.toml"), more).unwrap();
    insta::assert_snapshot!(check(&main), @r#"
    ! reservd: DIR/conf.d/20-more.toml: line 2, column 9: alias "mpatha" has a section already: DIR/reservd.toml: line 2, column 9
    !   |
    ! 2 | alias = "mpatha"
    !   |         ^^^^^^^^
    [exit 1]
    "#);
    fs::write(&main, "[commands]\ndeadline-ms = 5\n").unwrap();
    insta::assert_snapshot!(check(&main), @r"
    ! reservd: DIR/reservd.toml: line 2, column 15: from 100 to 600000 milliseconds
    !   |
    ! 2 | deadline-ms = 5
    !   |               ^
    [exit 1]
    ");
}

#[test]
fn what_is_shipped_is_sound() {
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let mut checked = 0;
    for folder in [conf.clone(), conf.join("examples")] {
        for entry in fs::read_dir(folder).unwrap() {
            let file = entry.unwrap().path();
            if file.extension().is_some_and(|end| end == "toml") {
                let name = file.file_name().unwrap().to_str().unwrap();
                assert_eq!(check(&file), format!("DIR/{name}: ok\n"));
                checked += 1;
            }
        }
    }
    assert!(checked >= 3, "only {checked} files were found");
}
