//! What `reservctl` shows of reservd and has it do.

use crate::world::World;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

#[test]
fn a_host_is_shown() {
    let world = World::new();
    let mut seen = world.session(&[
        "reservctl show --refresh mpatha",
        "reservctl keys mpatha",
        "reservctl paths mpathb",
        "reservctl check mpatha",
        "reservctl check",
        "reservctl check --registered mpathc",
        "reservctl check nothing",
        "reservctl check --nonsense 2>/dev/null",
        "reservctl show nothing",
    ]);
    // The unit's number, which is the same in each run but says nothing.
    seen = seen.replace("No such file or directory (os error 2)", "no such file");
    insta::assert_snapshot!(seen);
}

#[test]
fn a_fence_is_explained() {
    let world = World::new();
    let seen = world.session(&["reservctl explain --refresh mpathb"]);
    // How many looks there were, and between what, depends on time.
    let (sentences, events) = seen.split_once("What happened\n").unwrap();
    insta::assert_snapshot!(sentences);
    assert!(events.contains("preempted      0xa1 by 0xb1\n"), "{events}");
    assert!(
        events.contains("state          ok -> fenced: another host"),
        "{events}"
    );
}

#[test]
fn changes_are_done_and_refused() {
    let world = World::new();
    insta::assert_snapshot!(world.session(&[
        "reservctl register /dev/mapper/mpathc 0xc1 --dry-run",
        "reservctl register /dev/mapper/mpathc 0xc1 --all-tg-pt --aptpl --reason test",
        "reservctl reserve mpathc --type WERO",
        "reservctl reserve mpathc --type WE",
        "reservctl release mpathc </dev/null",
        "reservctl --json release mpathc </dev/null",
        "reservctl release mpathc --yes",
        "reservctl unregister mpathc --yes",
        "reservctl preempt mpatha --victim 0xb1 --type WERO --dry-run",
        "reservctl preempt mpatha --victim 0xb1 --type WERO --abort --yes",
        "reservctl adopt mpathb 0xa1",
        "reservctl rearm mpathb --yes",
        "reservctl repair mpathb --timeout 5",
        "reservctl repair mpathb --timeout 0",
        "reservctl clear mpathb --yes",
        "reservctl forget mpathb --yes",
        "reservctl keys mpathb --refresh",
    ]));
    let log = world.daemon.log();
    assert!(log.contains("test"), "the reason is not in {log}");
}

/// As `script` has it: what was seen on the terminal of this line, which was
/// answered so.
fn on_terminal(world: &World, line: &str, answer: &str) -> String {
    let line = format!("script -qec 'stty cols 80 rows 24; {line}' /dev/null");
    let mut process = world
        .shell(&line)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let mut stdout = BufReader::new(process.stdout.take().unwrap());
    let mut seen = Vec::new();
    if !answer.is_empty() {
        // A terminal's line is only there for whoever asks.
        stdout.read_until(b']', &mut seen).unwrap();
        stdin.write_all(answer.as_bytes()).unwrap();
    }
    stdout.read_to_end(&mut seen).unwrap();
    process.wait().unwrap();
    String::from_utf8(seen).unwrap().replace('\r', "")
}

#[test]
fn people_are_asked_and_see_colours() {
    let world = World::new();
    let no = on_terminal(&world, "reservctl clear mpatha", "n\n");
    assert!(no.contains("risk: ") && no.contains("Do it? [y/N]"), "{no}");
    assert!(no.contains("nobody confirmed it"), "{no}");
    let keys = world.session(&["reservctl keys --refresh mpatha"]);
    assert!(keys.contains("0xb1"), "nothing was done: {keys}");
    let yes = on_terminal(&world, "reservctl clear mpatha", "y\n");
    assert!(yes.contains("mpatha: clear: done"), "{yes}");
    let keys = world.session(&["reservctl keys --refresh mpatha"]);
    assert!(keys.contains("no keys"), "{keys}");

    let coloured = on_terminal(&world, "reservctl status", "");
    assert!(coloured.contains("\u{1b}["), "{coloured}");
    for line in ["NO_COLOR=1 reservctl status", "TERM=dumb reservctl status"] {
        let plain = on_terminal(&world, line, "");
        assert!(
            plain.contains("fenced") && !plain.contains('\u{1b}'),
            "{plain}"
        );
        assert!(!plain.contains("WWID"), "too wide for 80 columns: {plain}");
    }
    let forced = world.session(&["reservctl status --color always"]);
    assert!(forced.contains("\u{1b}["), "{forced}");
    assert!(
        forced.contains("WWID"),
        "what is no terminal has room: {forced}"
    );
}

#[test]
fn a_closed_pipe_ends_a_command_quietly() {
    let world = World::new();
    for command in [
        "status",
        "explain mpathb",
        "completions bash",
        "watch --follow",
        "watch --json",
        "check",
        "--help",
        "help",
    ] {
        // `true` reads nothing, and is gone before the first line is written.
        let line = format!("(sleep 0.2; timeout 5 reservctl {command}; echo $? >&2) | true");
        let output = world.run(&line);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(["0\n", "2\n"].contains(&said.as_str()), "{command}: {said}");
    }
}

#[test]
fn what_happens_is_told_line_by_line() {
    let world = World::new();
    let mut watch = world
        .shell("exec timeout 20 reservctl watch --follow")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = |part: &str| loop {
        let line = lines.next().expect("more lines").unwrap();
        if line.contains(part) {
            return line;
        }
    };
    next("mpathb State state=fenced");
    let seen = world.session(&["reservctl register /dev/mapper/mpathc 0xc1"]);
    assert!(seen.contains("done"), "{seen}");
    // In whichever order they come.
    let changes = ["mpathc RegistrationsChanged", "mpathc DeviceStateChanged"];
    let mut missing: BTreeSet<_> = changes.into();
    while !missing.is_empty() {
        let line = next("mpathc ");
        missing.retain(|part| !line.contains(part));
        let word = match line.contains("RegistrationsChanged") {
            true => "added=0xc1",
            false => "",
        };
        assert!(line.contains(word), "{line}");
    }
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn the_end_of_reservd_ends_a_watch() {
    let world = World::new();
    let mut watch = world
        .shell("exec timeout 20 reservctl watch --follow 2>&1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap());
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    drop(world);
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("reservctl: D-Bus: "), "{rest}");
    assert_eq!(watch.wait().unwrap().code(), Some(1));
}
