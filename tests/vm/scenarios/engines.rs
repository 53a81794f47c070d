//! One sequence of commands on the map, by libmpathpersist and by our own
//! engine: the target must not be able to tell which it was. And why some
//! commands are kept from the library.

use super::lab::*;
use reservd::config::Engine;
use reservd::engine::policy::{Choice, Operation, Version, decide};
use reservd::scsi::{OutAction, PrOut, SenseCode};
use std::fs;

/// Who sends a command.
enum From {
    /// A guest on the map, through reservd.
    Guest(PrOut),
    /// The other host, with sg_persist.
    Other(&'static [&'static str]),
}

/// How a command ends for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Good,
    Conflict,
    /// Not executed; with which words is the engine's affair.
    Refused,
}

/// A command, and what has to be so after it.
struct Step {
    what: &'static str,
    from: From,
    end: End,
    keys: &'static [u64],
    holder: Option<u64>,
}

fn guest(what: &'static str, command: PrOut, keys: &'static [u64], holder: Option<u64>) -> Step {
    Step {
        what,
        from: From::Guest(command),
        end: End::Good,
        keys,
        holder,
    }
}

fn other(
    what: &'static str,
    arguments: &'static [&'static str],
    keys: &'static [u64],
    holder: Option<u64>,
) -> Step {
    Step {
        what,
        from: From::Other(arguments),
        end: End::Good,
        keys,
        holder,
    }
}

impl Step {
    fn ends(self, end: End) -> Self {
        Step { end, ..self }
    }
}

const OURS: &[u64] = &[K1.0, K1.0];
const CHANGED: &[u64] = &[K2.0, K2.0];
const WITH_B: &[u64] = &[K1.0, K1.0, B.0];
const CHANGED_WITH_B: &[u64] = &[K2.0, K2.0, B.0];
const B_REGISTERS: &[&str] = &["-o", "-G", "-S", "0xb1"];
const B_RESERVES: &[&str] = &["-o", "-R", "-K", "0xb1", "-T", "5"];

#[rustfmt::skip]
fn script() -> Vec<Step> {
    use End::{Conflict, Refused};
    use OutAction::{Clear, Preempt, Release, Reserve};
    let (ours, changed, b) = (Some(K1.0), Some(K2.0), Some(B.0));
    vec![
        // LIO answers 02/08/00 to this, of which the library leaves 02.
        guest("reserve, not registered", act(Reserve, K1, NONE), &[], None).ends(Refused),
        guest("register", register(NONE, K1), OURS, None),
        guest("reserve", act(Reserve, K1, NONE), OURS, ours),
        guest("reserve again", act(Reserve, K1, NONE), OURS, ours),
        other("the other host registers", B_REGISTERS, WITH_B, ours),
        guest("preempt it", act(Preempt, K1, B), OURS, ours),
        other("it registers again", B_REGISTERS, WITH_B, ours),
        guest("release", act(Release, K1, NONE), WITH_B, None),
        other("the other host reserves", B_RESERVES, WITH_B, b),
        guest("release, not the holder", act(Release, K1, NONE), WITH_B, b),
        guest("reserve, held by another", act(Reserve, K1, NONE), WITH_B, b).ends(Conflict),
        guest("change the key", register(K1, K2), CHANGED_WITH_B, b),
        guest("preempt the holder", act(Preempt, K2, B), CHANGED, changed),
        guest("preempt the own key", act(Preempt, K2, K2), CHANGED, changed),
        guest("clear", act(Clear, K2, NONE), &[], None),
        guest("register, whatever was there", ignore(K1), OURS, None),
        guest("change the key, whatever it was", ignore(K2), CHANGED, None),
        guest("register with an old key", register(K1, B), CHANGED, None).ends(Conflict),
        guest("reserve with the new key", act(Reserve, K2, NONE), CHANGED, changed),
        guest("unregister the holder", register(K2, NONE), &[], None),
        guest("register for the last time", register(NONE, K1), OURS, None),
        guest("unregister, whatever is there", ignore(NONE), &[], None),
    ]
}

/// Runs the script with an engine. Returns after each step who is registered
/// with what, and the operations that the library ran.
fn play(lab: &mut Lab, engine: Engine, library: Version) -> (Vec<Vec<(u64, String)>>, Vec<String>) {
    let map = lab.env("MAP").to_owned();
    let host = lab.env("HOST_B").to_owned();
    let mut disks = lab.paths().to_vec();
    disks.push(host.clone());
    lab.use_engine(engine);
    let (mut seen, mut by_library) = (Vec::new(), Vec::new());
    for step in script() {
        let what = format!("{} ({engine})", step.what);
        match &step.from {
            From::Other(arguments) => drop(witness(arguments, &host)),
            From::Guest(command) => {
                let operation = Operation::of(command);
                // Where the client gets GOOD, it has it from the library itself.
                let code = if step.end == End::Good { "0" } else { "" };
                let action = command.action;
                let line = format!("libmpathpersist answered action={action} code={code}");
                let before = logged(&line);
                let mut outcome = lab.out(&map, command);
                if outcome
                    .sense_code()
                    .is_some_and(SenseCode::is_unit_attention)
                {
                    outcome = lab.out(&map, command);
                }
                let end = match (outcome.is_good(), outcome.is_conflict()) {
                    (true, _) => End::Good,
                    (_, true) => End::Conflict,
                    _ => End::Refused,
                };
                assert_eq!(end, step.end, "{what}: {outcome}");
                let ran = logged(&line) - before;
                match decide(engine, Some(library), operation) {
                    Choice::Library => {
                        assert!(ran > 0, "{what}: the library's turn");
                        by_library.push(operation.to_string());
                    }
                    Choice::Direct => assert_eq!(ran, 0, "{what}: not the library's"),
                    Choice::Refuse => unreachable!("there is a library"),
                }
            }
        }
        for disk in &disks {
            assert_eq!(keys(disk), step.keys, "{what}: READ KEYS on {disk}");
            assert_eq!(holder_key(disk), step.holder, "{what}: holder on {disk}");
        }
        let rows = rows(&host).into_iter();
        seen.push(rows.map(|row| (row.key, row.initiator)).collect());
    }
    by_library.sort();
    by_library.dedup();
    (seen, by_library)
}

#[test]
fn both_engines_leave_the_same_on_the_target() {
    let mut lab = lab();
    let library = library();
    let (by_both, through) = play(&mut lab, Engine::Mpathpersist, library);
    println!("libmpathpersist {library} ran {}", through.join("; "));
    assert_eq!(lab.workers(), 1, "a process with the library in it");
    let (by_us, none) = play(&mut lab, Engine::Direct, library);
    assert_eq!(none, [""; 0]);
    assert_eq!(by_both, by_us);
    // Every version takes these; else nothing would have been compared.
    for operation in [
        Operation::Register,
        Operation::Unregister,
        Operation::RegisterAndIgnore,
        Operation::Reserve,
        Operation::Clear,
        Operation::Preempt,
    ] {
        assert!(through.contains(&operation.to_string()), "{operation}");
    }
}

/// RELEASE by multipath-tools' own program, which is the library as it is.
fn release_by_the_library(map: &str) {
    let arguments = [
        "--out",
        "--release",
        "--param-rk=0xa1",
        "--prout-type=5",
        map,
    ];
    println!(
        "$ mpathpersist {}\n{}",
        arguments.join(" "),
        run("mpathpersist", &arguments)
    );
}

/// Whether RELEASE through the library leaves the holder alone where that is
/// another host, as its releases say (NEWS.md of multipath-tools).
fn spares_other_holders(Version(_, minor, patch): Version) -> bool {
    match minor {
        10 => patch >= 4,
        11 => patch >= 2,
        minor => minor >= 12,
    }
}

#[test]
fn b1_an_old_library_releases_what_another_host_holds() {
    let mut lab = lab();
    let library = library();
    let map = lab.env("MAP").to_owned();
    let other = lab.env("HOST_B").to_owned();
    lab.use_engine(Engine::Direct);
    lab.good(&map, &register(NONE, K1));
    lab.other_reserves();
    release_by_the_library(&map);
    let (left, holder) = (keys(&other), holder_key(&other));
    println!("{library} leaves {left:x?}, held by {holder:x?}");
    if spares_other_holders(library) {
        assert_eq!((left, holder), (vec![K1.0, K1.0, B.0], Some(B.0)));
    } else {
        assert!(
            !left.contains(&B.0) && holder.is_none(),
            "not the bug of before 0.12"
        );
    }

    for engine in [Engine::Mpathpersist, Engine::Direct] {
        lab.reset();
        lab.use_engine(engine);
        lab.good(&map, &register(NONE, K1));
        lab.other_reserves();
        lab.good(&map, &act(OutAction::Release, K1, NONE));
        assert_eq!(holder_key(&other), Some(B.0), "{engine}");
        assert_eq!(keys(&other), [K1.0, K1.0, B.0], "{engine}");
    }
}

#[test]
fn b23_every_library_preempts_a_key_that_another_host_has_too() {
    let mut lab = lab();
    let library = library();
    let map = lab.env("MAP").to_owned();
    let other = lab.env("HOST_B").to_owned();
    let host_b = lab.initiator("NEXUS_HOST_B");
    for engine in [Engine::Mpathpersist, Engine::Direct] {
        lab.reset();
        lab.use_engine(engine);
        lab.good(&map, &register(NONE, K1));
        lab.good(&map, &act(OutAction::Reserve, K1, NONE));
        witness(&["-o", "-G", "-S", "0xa1"], &other);
        lab.lose_holder();
        // Not without proof that the key is ours alone.
        assert!(!lab.out(&map, &act(OutAction::Release, K1, NONE)).is_good());
        assert_eq!(keys(&other), [K1.0; 3], "{engine}");
    }
    release_by_the_library(&map);
    let left = rows(&other);
    println!("{library} leaves {left:?}");
    assert!(left.iter().all(|row| row.initiator != host_b), "{left:?}");
}

/// multipath.conf with something else in the place of `reservation_key file`,
/// until this is dropped.
struct Misconfigured(String);

const MULTIPATH_CONF: &str = "/etc/multipath.conf";

impl Misconfigured {
    fn with(line: &str) -> Self {
        let text = fs::read_to_string(MULTIPATH_CONF).unwrap();
        assert!(text.contains("reservation_key file"));
        fs::write(MULTIPATH_CONF, text.replace("reservation_key file", line)).unwrap();
        let this = Misconfigured(text);
        run("multipathd", &["reconfigure"]);
        this
    }
}

impl Drop for Misconfigured {
    fn drop(&mut self) {
        fs::write(MULTIPATH_CONF, &self.0).unwrap();
        run("multipathd", &["reconfigure"]);
    }
}

/// `reservation_key` as `reservctl doctor` shows it, once its default is this.
fn await_default(key: Option<&str>) -> serde_json::Value {
    await_some("multipathd has read its configuration", || {
        let found = doctor()["reservation_key"].clone();
        (found["error"].is_null() && found["default"].as_str() == key).then_some(found)
    })
}

#[test]
fn another_reservation_key_is_refused_for_good_and_the_line_is_named() {
    let mut lab = lab();
    let library = library();
    let map = lab.env("MAP").to_owned();
    assert_eq!(
        await_default(Some("file"))["advice"],
        serde_json::Value::Null
    );
    for (line, default) in [("reservation_key 0x5eed", Some("0x5eed")), ("# none", None)] {
        lab.reset();
        lab.use_engine(Engine::Mpathpersist);
        let misconfigured = Misconfigured::with(line);
        let key = await_default(default);
        let advice = key["advice"].as_str().unwrap();
        assert!(advice.contains("`reservation_key file`"), "{advice}");
        assert!(advice.contains("section `defaults`"), "{advice}");

        let entry = "put the line `reservation_key file` into the section `defaults`";
        let before = logged(entry);
        let outcome = lab.out(&map, &register(NONE, K1));
        // Without any key 0.9.4 lets a registration pass, 0.11.1 does not.
        if default.is_some() || library >= Version(0, 11, 1) {
            let code = outcome.sense_code();
            assert_eq!(
                code,
                Some(SenseCode::INVALID_FIELD_IN_PARAMETER_LIST),
                "{line}"
            );
            assert_eq!(logged(entry), before + 1, "{line}");
            assert_eq!(keys(lab.env("HOST_B")), [0; 0], "{line}");
        } else {
            assert!(outcome.is_good(), "{line}: {outcome}");
            assert_eq!(keys(lab.env("HOST_B")), [K1.0, K1.0], "{line}");
        }
        drop(misconfigured);
        await_default(Some("file"));
    }
    lab.reset();
    lab.use_engine(Engine::Mpathpersist);
    lab.good(&map, &register(NONE, K1));
    assert_eq!(keys(lab.env("HOST_B")), [K1.0, K1.0]);
}
