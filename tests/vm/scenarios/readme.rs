//! What README.md says to type, typed.

use super::lab::*;
use std::fs;
use std::process::Command;

#[test]
fn the_commands_of_the_readme_work() {
    let lab = lab();
    let page = fs::read_to_string("/payload/README.md").unwrap();
    let commands: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("    reservctl "))
        .collect();
    assert!(commands.len() >= 4);
    for command in commands {
        let output = Command::new("/payload/reservctl")
            .args(command.split_whitespace())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        println!("$ reservctl {command}\n{text}");
        assert!(output.status.success(), "{command}: {output:?}");
    }
    assert_eq!(holder_key(lab.env("HOST_B")), Some(0x0012_3abc));
    assert_eq!(keys(lab.env("HOST_B")), [0x0012_3abc, 0x0012_3abc]);
}
