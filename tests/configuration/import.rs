//! Files as hosts have them, imported, and loaded again.

use crate::daemon::transcript;
use reservd::config::{Config, Text};
use reservd::import::Import;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const HOSTS: [&str; 6] = ["debian", "rhel", "suse", "ubuntu", "arrays", "messy"];

fn host(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/configuration/hosts").join(name)
}

fn text(name: &str) -> Text {
    Text::new(name, &fs::read_to_string(host(name)).unwrap())
}

/// Imports one file and checks that every key reaches its unit.
fn import(name: &str) -> String {
    let import = Import::new(&[text(name)], None);
    let toml = import.to_toml();
    let config = Config::parse(&toml).unwrap_or_else(|error| panic!("{error:#}\n{toml}"));
    let default = import.reservation_key.unwrap_or_default();
    assert_eq!(config.defaults.reservation_key, default);
    assert_eq!(
        config.defaults.all_tg_pt,
        import.all_tg_pt.unwrap_or_default()
    );
    for unit in &import.units {
        let loaded = config.unit(&unit.wwid, unit.alias.as_deref());
        assert_eq!(
            loaded.reservation_key,
            unit.reservation_key.unwrap_or(default)
        );
    }
    toml
}

#[test]
fn hosts_without_keys_leave_nothing_but_the_source() {
    assert_eq!(import("debian.conf"), "# Imported from debian.conf.\n");
    assert_eq!(import("ubuntu.conf"), "# Imported from ubuntu.conf.\n");
}

#[test]
fn keys_of_guests_stay_keys_of_guests() {
    insta::assert_snapshot!(import("rhel.conf"), @r#"
    # Imported from rhel.conf.

    [defaults]
    reservation_key = "file"
    "#);
}

#[test]
fn fixed_keys_go_to_their_units() {
    insta::assert_snapshot!(import("suse.conf"), @r#"
    # Imported from suse.conf.

    [defaults]
    reservation_key = "0xabcdef"
    all_tg_pt = true

    # sbd
    [[multipath]]
    wwid = "36000d310004142000000000000000f23"
    reservation_key = "file"

    # data
    [[multipath]]
    wwid = "36000d310004142000000000000000f24"
    reservation_key = "0x123abc:aptpl"
    "#);
}

#[test]
fn what_cannot_be_taken_over_is_noted() {
    insta::assert_snapshot!(import("arrays.conf"), @r#"
    # Imported from arrays.conf.
    #
    # Not taken over as it stands:
    #   arrays.conf: line 14: all_tg_pt yes for vendor "NETAPP", product "LUN.*": reservd knows units by wwid or alias only; give each a [[multipath]] section with all_tg_pt
    #   arrays.conf: line 20: reservation_key does not count in section devices/device
    #   arrays.conf: line 35: suffix "aptlp" of the reservation key means nothing
    #   arrays.conf: line 39: "0x12345678123456789" is no reservation key
    #   arrays.conf: line 42: wwid "SATA     Disk 7" is written "SATA_Disk_7" here
    #   arrays.conf: line 45: a section without a wwid is about no unit

    # again
    [[multipath]]
    wwid = "3600a098038303053453f463045727644"
    reservation_key = "0xa1"

    [[multipath]]
    wwid = "3600a098038303053453f463045727645"
    reservation_key = "0xb1"

    [[multipath]]
    wwid = "SATA_Disk_7"
    reservation_key = "0xffffffffffffffff"
    "#);
}

#[test]
fn untidy_files_are_read_with_patience() {
    insta::assert_snapshot!(import("messy.conf"), @r#"
    # Imported from messy.conf.
    #
    # Not taken over as it stands:
    #   messy.conf: line 1: defaults: the brace belongs into this line
    #   messy.conf: line 4: blacklist: multipathd wants one item a line, and may not read what follows
    #   messy.conf: line 5: polling_interval: stands in no section
    #   messy.conf: line 7: "0" is no reservation key
    #   messy.conf: line 8: reservation_key: no value
    #   messy.conf: line 9: all_tg_pt: "perhaps" is neither yes nor no
    #   messy.conf: line 10: a quote is missing at the end
    #   messy.conf: line 14: what follows the value is ignored
    #   messy.conf: line 15: reservation_key does not count in section mutipaths/multipath
    #   messy.conf: line 18: a closing brace without a section
    #   messy.conf: line 19: multipaths: no closing brace
    #   messy.conf: line 20: multipath: multipathd wants one item a line, and may not read what follows
    #   messy.conf: line 21: multipath: no closing brace
    #   messy.conf: line 22: what follows the value is ignored

    [[multipath]]
    wwid = "3600b"
    reservation_key = "0xb1"

    # a\tb
    [[multipath]]
    wwid = "3600c"
    reservation_key = "0xc1"
    "#);
}

#[test]
fn what_multipathd_learnt_is_pinned_on_demand() {
    let confs = [text("rhel.conf"), text("suse.conf"), text("debian.conf")];
    let mut import = Import::new(&confs[..1], Some(&text("prkeys")));
    assert_eq!(Config::parse(&import.to_toml()).unwrap().multipath, []);
    import.pin();
    let config = Config::parse(&import.to_toml()).unwrap();
    assert_eq!(config.multipath.len(), 4);
    let key = |config: &Config, wwid| config.unit(wwid, None).reservation_key.to_string();
    assert_eq!(
        key(&config, "36000d310004142000000000000000f23"),
        "0xb1:aptpl"
    );

    // multipath.conf counts before prkeys.
    let mut import = Import::new(&confs, Some(&text("prkeys")));
    insta::assert_snapshot!(import.to_toml(), @r#"
    # Imported from rhel.conf, suse.conf, debian.conf, prkeys.
    #
    # Not taken over as it stands:
    #   prkeys: line 3: 3600508b4000156d700012000000b0000: not used, 0xabcdef is configured
    #   prkeys: line 6: 36000d310004142000000000000000f24: not used, 0x123abc:aptpl is configured
    #   prkeys: line 7: 3600140500000000000000000000000a0: not used, 0xabcdef is configured
    #   prkeys: line 8: neither a key and a WWID nor a comment

    [defaults]
    reservation_key = "0xabcdef"
    all_tg_pt = true

    # sbd
    # multipathd learnt 0xb1:aptpl
    [[multipath]]
    wwid = "36000d310004142000000000000000f23"
    reservation_key = "file"

    # data
    [[multipath]]
    wwid = "36000d310004142000000000000000f24"
    reservation_key = "0x123abc:aptpl"
    "#);
    import.pin();
    let config = Config::parse(&import.to_toml()).unwrap();
    assert_eq!(
        key(&config, "36000d310004142000000000000000f23"),
        "0xb1:aptpl"
    );
    assert_eq!(
        key(&config, "36000d310004142000000000000000f24"),
        "0x123abc:aptpl"
    );
    assert_eq!(
        key(&config, "3600140500000000000000000000000a0"),
        "0xabcdef"
    );
}

#[test]
fn later_files_count() {
    let early = Text::new(
        "a.conf",
        "defaults {\nreservation_key a1\nall_tg_pt yes\n}\n",
    );
    let late = Text::new("b.conf", "defaults {\nreservation_key b1\n}\n");
    let config = Config::parse(&Import::new(&[early, late], None).to_toml()).unwrap();
    assert_eq!(config.defaults.reservation_key.to_string(), "0xb1");
    assert!(config.defaults.all_tg_pt);
}

fn reservctl(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_reservctl"))
        .arg("import")
        .args(arguments)
        .current_dir(host(""))
        .output()
        .unwrap();
    transcript(&output)
}

#[test]
fn the_command_prints_or_writes() {
    insta::assert_snapshot!(reservctl(&["rhel.conf", "--prkeys", "prkeys"]), @r#"
    # Imported from rhel.conf, prkeys.
    #
    # Not taken over as it stands:
    #   prkeys: line 8: neither a key and a WWID nor a comment

    [defaults]
    reservation_key = "file"

    # Keys that multipathd learnt from clients. reservd learns them too; a section
    # that is put to use makes its key the only one of the unit.
    #
    # [[multipath]]
    # wwid = "3600508b4000156d700012000000b0000"
    # reservation_key = "0x123abc"
    #
    # [[multipath]]
    # wwid = "36000d310004142000000000000000f23"
    # reservation_key = "0xb1:aptpl"
    #
    # [[multipath]]
    # wwid = "36000d310004142000000000000000f24"
    # reservation_key = "0xd1"
    #
    # [[multipath]]
    # wwid = "3600140500000000000000000000000a0"
    # reservation_key = "0xe1"
    ! reservctl: prkeys: line 8: neither a key and a WWID nor a comment
    "#);
    insta::assert_snapshot!(reservctl(&["rhel.conf", "--prkeys", "prkeys", "--pin", "--json"]), @r##"{"toml":"# Imported from rhel.conf, prkeys.\n#\n# Not taken over as it stands:\n#   prkeys: line 8: neither a key and a WWID nor a comment\n\n[defaults]\nreservation_key = \"file\"\n\n[[multipath]]\nwwid = \"3600508b4000156d700012000000b0000\"\nreservation_key = \"0x123abc\"\n\n[[multipath]]\nwwid = \"36000d310004142000000000000000f23\"\nreservation_key = \"0xb1:aptpl\"\n\n[[multipath]]\nwwid = \"36000d310004142000000000000000f24\"\nreservation_key = \"0xd1\"\n\n[[multipath]]\nwwid = \"3600140500000000000000000000000a0\"\nreservation_key = \"0xe1\"\n","notes":["prkeys: line 8: neither a key and a WWID nor a comment"],"output":null}"##);
    insta::assert_snapshot!(reservctl(&["nothing.conf"]), @r"
    ! reservctl: nothing.conf: No such file or directory (os error 2)
    [exit 1]
    ");
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("import.toml").display().to_string();
    let write = || reservctl(&["suse.conf", "--output", &output]).replace(&output, "OUTPUT");
    insta::assert_snapshot!(write(), @r"OUTPUT: written");
    assert_eq!(fs::read_to_string(&output).unwrap(), import("suse.conf"));
    insta::assert_snapshot!(write(), @r"
    ! reservctl: OUTPUT: File exists (os error 17)
    [exit 1]
    ");
}

#[test]
fn what_is_imported_passes_the_check() {
    for name in HOSTS {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("reservd.toml");
        let conf = format!("{name}.conf");
        reservctl(&[
            &conf,
            "--prkeys",
            "prkeys",
            "--pin",
            "--output",
            output.to_str().unwrap(),
        ]);
        let check = Command::new(env!("CARGO_BIN_EXE_reservd"))
            .arg("--check")
            .arg("--config")
            .arg(output)
            .output()
            .unwrap();
        assert!(check.status.success(), "{name}: {}", transcript(&check));
    }
}

proptest::proptest! {
    #[test]
    fn whatever_is_imported_loads(
        lines in proptest::collection::vec(
            "(defaults|overrides|multipaths|multipath|x) ?\\{?|\\}|\
             (wwid|alias|reservation_key|all_tg_pt) \"?[0-9a-cxX:\"#\\\\'\u{1}\u{7f}ä ]{0,9}|\
             reservation_key (0x)?[0-9a-f]{1,16}(:aptpl)?",
            0..14,
        ),
        keys in "(0[xX][0-9a-f]{16} [a-c\"\\\\ \u{1}]{1,4}\n){0,3}",
        pin in proptest::bool::ANY,
    ) {
        let conf = Text::new("a\nb", &lines.join("\n"));
        let mut import = Import::new(&[conf], Some(&Text::new("prkeys", &keys)));
        if pin {
            import.pin();
        }
        let toml = import.to_toml();
        let loaded = Config::parse(&toml).map_err(|error| format!("{error:#}"));
        proptest::prop_assert!(loaded.is_ok(), "{loaded:?}\n{toml}");
    }
}
