//! The EXAMPLES of the manual pages do what they say.

use crate::daemon::transcript;
use crate::world::World;
use reservd::cli::generate::examples::EXAMPLES;
use reservd::cli::generate::pages;
use std::fs;

#[test]
fn every_example_runs() {
    let world = World::new();
    let mut failed = Vec::new();
    let mut run = 0;
    for (page, examples) in EXAMPLES {
        for (line, _) in *examples {
            run += 1;
            let output = world.run(line);
            let expected: &[i32] = match *page {
                // The world is not well.
                "reservctl-check" => &[0, 2],
                // Ended by `timeout`.
                "reservctl-watch" | "reservd-pr-helper" => &[124],
                // There is no multipath.conf on most hosts.
                "reservctl-import" => &[0, 1],
                _ => &[0],
            };
            if !output
                .status
                .code()
                .is_some_and(|code| expected.contains(&code))
            {
                failed.push(format!("{page}: {line}\n{}", transcript(&output)));
            }
        }
    }
    assert!(run > 25, "only {run}");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn pages_are_written_and_sound() {
    let world = World::new();
    let seen = world.session(&["reservctl generate man DIR/man"
        .replace("DIR", "/run")
        .as_str()]);
    assert!(seen.contains("pages written"), "{seen}");
    let folder = world.daemon.folder().join("run/man");
    for (name, text) in pages() {
        assert_eq!(fs::read_to_string(folder.join(&name)).unwrap(), text);
        let check = format!("man --warnings=all -l /run/man/{name} 2>&1 >/dev/null");
        let output = world.run(&check);
        assert_eq!(transcript(&output), "", "{name}");
    }
}

#[test]
fn completions_are_sound_for_bash() {
    let world = World::new();
    let words = "P=reservctl; COMP_WORDS=($P pre); COMP_CWORD=1; _$P $P pre $P; \
                 echo \"${COMPREPLY[@]}\"";
    let line = format!("source <(reservctl completions bash) && {words}");
    assert_eq!(transcript(&world.run(&line)), "preempt\n");
}

/// What README.md has `reservctl` do outside of the demo, which `tests/run.sh`
/// compares: lines of their own, and commands in sentences.
fn commands_of_readme() -> Vec<String> {
    let text = include_str!("../../README.md");
    let outside: Vec<_> = text.split("```").step_by(2).collect();
    let outside = outside.join("\n");
    let own = outside.lines().filter_map(|line| line.strip_prefix("    "));
    let own = own.filter(|line| line.starts_with("reservctl "));
    let inline = outside.split('`').skip(1).step_by(2);
    let inline = inline.filter(|code| code.starts_with("reservctl "));
    own.chain(inline).map(str::to_owned).collect()
}

#[test]
fn every_command_of_readme_runs() {
    let world = World::new();
    let commands = commands_of_readme();
    assert!(commands.len() > 8, "{commands:?}");
    for line in commands {
        // There, the map is free.
        let output = world.run(&line.replace("mpatha", "mpathc"));
        let is_fine = |code| code == 0 || (code == 1 && line.contains("import"));
        let seen = transcript(&output);
        assert!(output.status.code().is_some_and(is_fine), "{line}\n{seen}");
    }
}
