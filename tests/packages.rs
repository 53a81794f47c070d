//! What has to agree between the packages, the units and the program.

#![allow(clippy::unwrap_used, reason = "a test may end at once")]

use reservd::config::{DEFAULT_CONTROL, DEFAULT_SOCKET};
use std::collections::BTreeSet;
use std::fs;
use toml::{Table, Value};

/// What only one kind of package has.
const DEBIAN: [&str; 4] = [
    "/usr/share/doc/reservd/changelog",
    "/usr/share/doc/reservd/copyright",
    "/usr/share/lintian/overrides/reservd",
    "/usr/share/zsh/vendor-completions/_reservctl",
];
const RPM: [&str; 3] = [
    "/usr/share/doc/reservd/CHANGELOG.md",
    "/usr/share/licenses/reservd/LICENSE",
    "/usr/share/zsh/site-functions/_reservctl",
];

fn metadata() -> Table {
    let text = fs::read_to_string("Cargo.toml").unwrap();
    let manifest: Table = text.parse().unwrap();
    manifest["package"]["metadata"].as_table().unwrap().clone()
}

/// A file of a package: where it goes, with what mode, and where it comes from.
type File = (String, String, String);

fn file(source: &Value, destination: &Value, mode: &Value) -> File {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (source, mut destination) = (text(source), text(destination));
    if !destination.starts_with('/') {
        destination.insert(0, '/');
    }
    if destination.ends_with('/') {
        destination.push_str(source.rsplit('/').next().unwrap());
    }
    (destination, text(mode), source)
}

fn debian() -> BTreeSet<File> {
    let assets = metadata()["deb"]["assets"].as_array().unwrap().clone();
    assets
        .iter()
        .map(|asset| file(&asset[0], &asset[1], &asset[2]))
        .collect()
}

fn rpm() -> BTreeSet<File> {
    let assets = metadata()["generate-rpm"]["assets"]
        .as_array()
        .unwrap()
        .clone();
    let parts = |asset: &Value| file(&asset["source"], &asset["dest"], &asset["mode"]);
    assets.iter().map(parts).collect()
}

fn unit(name: &str) -> String {
    fs::read_to_string(format!("conf/systemd/{name}")).unwrap()
}

/// The values of a setting.
fn values<'a>(unit: &'a str, setting: &str) -> Vec<&'a str> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    lines
        .filter(|(name, _)| *name == setting)
        .map(|(_, value)| value)
        .collect()
}

#[test]
fn both_packages_have_the_same_files() {
    let common = |files: BTreeSet<File>, own: &[&str]| -> BTreeSet<File> {
        files
            .into_iter()
            .filter(|(path, ..)| !own.contains(&path.as_str()))
            .collect()
    };
    let (debian, rpm) = (common(debian(), &DEBIAN), common(rpm(), &RPM));
    assert!(debian.len() > 15);
    assert_eq!(debian, rpm);
}

#[test]
fn configuration_files_are_kept_by_both() {
    let metadata = metadata();
    let debian: BTreeSet<&str> = metadata["deb"]["conf-files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| path.as_str().unwrap())
        .collect();
    let rpm: BTreeSet<&str> = metadata["generate-rpm"]["assets"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|asset| asset.get("config").and_then(Value::as_str) == Some("noreplace"))
        .map(|asset| asset["dest"].as_str().unwrap())
        .collect();
    assert_eq!(debian, rpm);
    let under_etc = |(path, ..): &File| path.starts_with("/etc/").then(|| path.clone());
    let all: BTreeSet<String> = self::debian().iter().filter_map(under_etc).collect();
    assert!(all.iter().map(String::as_str).eq(debian));
}

#[test]
fn everything_that_belongs_in_a_package_is_in_it() {
    let packaged: BTreeSet<String> = debian().into_iter().map(|(.., source)| source).collect();
    for folder in [
        "conf/systemd",
        "conf/sysusers.d",
        "conf/tmpfiles.d",
        "conf/apparmor",
        "dbus",
    ] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let path = path.to_str().unwrap();
            assert!(packaged.contains(path), "{path} is in no package");
        }
    }
}

#[test]
fn units_name_the_places_of_the_package_and_the_program() {
    let service = unit("reservd.service");
    let installed: BTreeSet<String> = debian().into_iter().map(|(path, ..)| path).collect();
    let program = values(&service, "ExecStart");
    assert_eq!(program.len(), 1);
    assert!(installed.contains(program[0]), "{program:?}");
    assert_eq!(
        values(&unit("reservd.socket"), "ListenStream"),
        [DEFAULT_SOCKET]
    );
    assert_eq!(
        values(&unit("reservd-control.socket"), "ListenStream"),
        [DEFAULT_CONTROL]
    );
    let bus = fs::read_to_string("dbus/org.reservd1.service").unwrap();
    assert_eq!(values(&bus, "SystemdService"), ["reservd.service"]);
    // Who may connect is a group that the package makes.
    let group = values(&unit("reservd.socket"), "SocketGroup").concat();
    let users = fs::read_to_string("conf/sysusers.d/reservd.conf").unwrap();
    assert!(
        users
            .lines()
            .any(|line| line.starts_with(&format!("g {group} ")))
    );
}
