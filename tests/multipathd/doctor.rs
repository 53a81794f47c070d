//! `reservctl doctor` on `reservation_key`, as multipathd has it.

use super::fake::{Fake, Manner};
use std::path::Path;
use tempfile::TempDir;

/// A multipathd with this configuration.
async fn multipathd(configuration: Option<&str>) -> (Fake, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut fake = Fake::new(&folder.path().join("multipathd"));
    fake.start();
    fake.memory().configuration = configuration.map(str::to_owned);
    (fake, folder)
}

/// What doctor prints about it, for people and as JSON.
async fn doctor(socket: &Path) -> String {
    let mut seen = String::new();
    for format in [None, Some("--json")] {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_reservctl"))
            .args(["doctor", "--config", "/dev/null"])
            .args(format)
            .env("MULTIPATH_SOCKET_NAME", socket)
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        if format.is_some() {
            let object: serde_json::Value = serde_json::from_str(&text).unwrap();
            let key = serde_json::to_string_pretty(&object["reservation_key"]).unwrap();
            return seen + &key;
        }
        let from = text.find("reservation_key").unwrap();
        seen += text[from..].split("\n\n").next().unwrap();
        seen += "\n";
    }
    unreachable!("JSON is last")
}

async fn seen(configuration: &str) -> String {
    let (_fake, folder) = multipathd(Some(configuration)).await;
    doctor(&folder.path().join("multipathd")).await
}

#[tokio::test]
async fn guests_may_choose_their_keys() {
    let seen = seen("defaults {\n\tverbosity 2\n\treservation_key \"file\"\n}\n").await;
    insta::assert_snapshot!(seen, @r#"
    reservation_key  file
    {
      "advice": null,
      "default": "file",
      "error": null,
      "maps": []
    }
    "#);
}

#[tokio::test]
async fn a_key_is_not_set() {
    let seen = seen("defaults {\n\tverbosity 2\n}\nmultipaths {\n}\n").await;
    insta::assert_snapshot!(seen, @r#"
    reservation_key  not set
                     guests cannot choose their keys: in /etc/multipath.conf add the line `reservation_key file` to the section `defaults`; then run `multipathd reconfigure`
    {
      "advice": "in /etc/multipath.conf add the line `reservation_key file` to the section `defaults`; then run `multipathd reconfigure`",
      "default": null,
      "error": null,
      "maps": []
    }
    "#);
}

#[tokio::test]
async fn other_keys_are_set() {
    let configuration = "defaults {\n\treservation_key 0x123abc\n}\nmultipaths {\n\tmultipath \
        {\n\t\twwid \"3600a\"\n\t\treservation_key 0x5:aptpl\n\t}\n}\n";
    insta::assert_snapshot!(seen(configuration).await, @r#"
    reservation_key  0x123abc, 0x5:aptpl for 3600a
                     guests cannot choose their keys: in /etc/multipath.conf put the line `reservation_key file` in the place of `reservation_key 0x123abc` in the section `defaults` and remove the line `reservation_key` from the section `multipaths` for 3600a; then run `multipathd reconfigure`
    {
      "advice": "in /etc/multipath.conf put the line `reservation_key file` in the place of `reservation_key 0x123abc` in the section `defaults` and remove the line `reservation_key` from the section `multipaths` for 3600a; then run `multipathd reconfigure`",
      "default": "0x123abc",
      "error": null,
      "maps": [
        {
          "reservation_key": "0x5:aptpl",
          "wwid": "3600a"
        }
      ]
    }
    "#);
}

#[tokio::test]
async fn multipathd_does_not_answer_as_it_should() {
    let (fake, folder) = multipathd(None).await;
    let socket = folder.path().join("multipathd");
    insta::assert_snapshot!(doctor(&socket).await, @r#"
    reservation_key  not known: multipathd does not show its configuration
    {
      "advice": null,
      "default": null,
      "error": "multipathd does not show its configuration",
      "maps": []
    }
    "#);
    fake.memory().manner = Manner::Dropping;
    assert!(doctor(&socket).await.contains("not reachable: "));
}

#[tokio::test]
async fn multipathd_does_not_run() {
    insta::assert_snapshot!(doctor(Path::new("@reservd-nobody")).await, @r#"
    reservation_key  not known: multipathd is not reachable: not running: Connection refused (os error 111)
    {
      "advice": null,
      "default": null,
      "error": "multipathd is not reachable: not running: Connection refused (os error 111)",
      "maps": []
    }
    "#);
}
