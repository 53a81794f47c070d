//! `docs/reservctl-json.md` is what `--json` prints.

use crate::bus::{PATIENCE, guest};
use crate::world::World;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

const PAGE: &str = include_str!("../../docs/reservctl-json.md");

/// Objects by name, each with its fields and their types.
struct Schema(BTreeMap<String, BTreeMap<String, String>>);

impl Schema {
    fn read() -> Self {
        let mut objects: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let mut name = None;
        for line in PAGE.lines() {
            if let Some(heading) = line.strip_prefix("## ") {
                name = Some(heading.to_owned());
                objects.insert(heading.to_owned(), BTreeMap::new());
            } else if let (Some(name), Some(row)) = (&name, line.strip_prefix("| `")) {
                let (field, rest) = row.split_once("` | ").unwrap();
                let (kind, _) = rest.split_once(" |").unwrap();
                let fields = objects.get_mut(name).unwrap();
                fields.insert(field.to_owned(), kind.to_owned());
            }
        }
        Schema(objects)
    }

    /// The object that this command prints.
    fn of(command: &str) -> String {
        let wanted = format!("`{command}`");
        let row = PAGE
            .lines()
            .take_while(|line| !line.starts_with("## "))
            .find(|line| line.starts_with("| `") && line.contains(&wanted));
        let row = row.unwrap_or_else(|| panic!("{command} is not in the table"));
        row.trim_end_matches(" |")
            .rsplit("| ")
            .next()
            .unwrap()
            .to_owned()
    }

    /// What is wrong with a value of this type; names of the types that were seen.
    fn check(
        &self,
        value: &Value,
        kind: &str,
        at: &str,
        seen: &mut BTreeSet<String>,
    ) -> Vec<String> {
        if let Some(kind) = kind.strip_suffix('?') {
            return match value.is_null() {
                true => vec![],
                false => self.check(value, kind, at, seen),
            };
        }
        if let Some(kind) = kind
            .strip_prefix('[')
            .and_then(|kind| kind.strip_suffix(']'))
        {
            let Some(items) = value.as_array() else {
                return vec![format!("{at} is no list: {value}")];
            };
            let items = items.iter();
            return items
                .flat_map(|item| self.check(item, kind, &format!("{at}[]"), seen))
                .collect();
        }
        let good = match kind {
            "string" => value.is_string(),
            "number" => value.is_u64(),
            "bool" => value.is_boolean(),
            "strings" => value
                .as_object()
                .is_some_and(|values| values.values().all(Value::is_string)),
            object => return self.check_object(value, object, at, seen),
        };
        match good {
            true => vec![],
            false => vec![format!("{at} is no {kind}: {value}")],
        }
    }

    fn check_object(
        &self,
        value: &Value,
        name: &str,
        at: &str,
        seen: &mut BTreeSet<String>,
    ) -> Vec<String> {
        seen.insert(name.to_owned());
        let Some(fields) = self.0.get(name) else {
            return vec![format!("{at}: there is no object {name}")];
        };
        let Some(object) = value.as_object() else {
            return vec![format!("{at} is no {name}: {value}")];
        };
        let mut wrong: Vec<_> = object
            .keys()
            .filter(|field| !fields.contains_key(*field))
            .map(|field| format!("{at}.{field} is not described"))
            .collect();
        for (field, kind) in fields {
            match object.get(field) {
                Some(value) => {
                    wrong.extend(self.check(value, kind, &format!("{at}.{field}"), seen))
                }
                None => wrong.push(format!("{at}.{field} is missing")),
            }
        }
        wrong
    }
}

#[test]
fn every_command_prints_what_the_page_says() {
    let world = World::new();
    // Who only comes for a moment is not shown: this one is waited for.
    let _guest = guest(&world.daemon);
    let until = Instant::now() + PATIENCE;
    while !String::from_utf8_lossy(&world.run("reservctl --json clients").stdout).contains("pid") {
        assert!(Instant::now() < until, "the client is not shown");
    }
    let schema = Schema::read();
    let device = "/dev/mapper/mpatha";
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    let conf = world.daemon.folder().join("multipath.conf");
    std::fs::write(&conf, "defaults {\n\treservation_key 0xa1\n}\n").unwrap();
    let import = format!("import {}", conf.display());
    for (line, command) in [
        ("status", "status"),
        ("show mpatha", "show"),
        ("explain mpathb", "explain"),
        ("paths", "paths"),
        ("keys mpatha", "keys"),
        ("history mpatha", "history"),
        ("clients", "clients"),
        ("check", "check"),
        ("register mpathc 0xc1 --dry-run", "register"),
        ("repair mpatha", "repair"),
        ("forget mpathb --yes", "forget"),
        (&format!("pr keys {device}"), "pr keys"),
        (&format!("pr reservation {device}"), "pr reservation"),
        (&format!("pr full-status {device}"), "pr full-status"),
        (&format!("pr capabilities {device}"), "pr capabilities"),
        ("generate man /run/man", "generate"),
        ("doctor", "doctor"),
        (&import, "import"),
        ("show nothing", ""),
        ("clear mpatha", ""),
        (&format!("pr release {device} --key 0xff --type WE"), ""),
    ] {
        let kind = match command {
            "" => "failure".to_owned(),
            command => match command {
                "generate" => "done".to_owned(),
                command => Schema::of(command),
            },
        };
        let output = world.run(&format!("reservctl --json {line} </dev/null"));
        let text = String::from_utf8(output.stdout).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{line}: {text}"));
        wrong.extend(schema.check(&value, &kind, line, &mut seen));
    }
    let watched = world.run("timeout 1 reservctl --json watch");
    for line in String::from_utf8(watched.stdout).unwrap().lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        wrong.extend(schema.check(&value, &Schema::of("watch"), "watch", &mut seen));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let described: BTreeSet<_> = schema.0.keys().cloned().collect();
    let unseen: Vec<_> = described.difference(&seen).cloned().collect();
    // No unit has an engine of its own, and there is no multipathd.
    assert_eq!(unseen, ["engine-of-unit", "map-key"]);
}

#[test]
fn a_page_that_is_wrong_is_noticed() {
    let schema = Schema::read();
    let mut seen = BTreeSet::new();
    let mut check = |text: &str| {
        let value: Value = serde_json::from_str(text).unwrap();
        schema.check(&value, "key", "", &mut seen)
    };
    assert!(check(r#"{"key":"0xa1","nexuses":1}"#).is_empty());
    assert_eq!(check(r#"{"key":1,"nexuses":1}"#).len(), 1);
    assert_eq!(check(r#"{"key":"0xa1"}"#).len(), 1);
    assert_eq!(check(r#"{"key":"0xa1","nexuses":1,"more":1}"#).len(), 1);
    assert_eq!(check("[]").len(), 1);
}
