//! What packages have beside programs: completions and manual pages. All is made
//! of the command lines and of `conf/reservd.toml`.

pub mod examples;
mod man;
mod settings;

use super::arguments::{Arguments, daemon, helper};
use super::failure::Failure;
use super::report::{Done, Report};
use clap::CommandFactory;
use clap_complete::Shell;
use std::fs;
use std::path::Path;

/// A file and what is in it.
pub type Page = (String, String);

/// The completions of `reservctl`.
pub fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "reservctl", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The manual pages: `reservctl.1` and one for each of its commands, `reservd.8`,
/// `reservd-pr-helper.8` and `reservd.toml.5`.
pub fn pages() -> Vec<Page> {
    let mut pages = man::family(Arguments::command(), "1");
    pages.extend(man::family(daemon::Arguments::command(), "8"));
    pages.extend(man::family(helper::Arguments::command(), "8"));
    pages.push(("reservd.toml.5".into(), settings::page()));
    pages
}

/// Writes the manual pages into this directory.
///
/// # Errors
/// [`Failure::File`]
pub fn man(directory: &Path) -> Result<Report, Failure> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |error| Failure::File(path, error)
    };
    fs::create_dir_all(directory).map_err(failed(directory))?;
    let pages = pages();
    for (name, text) in &pages {
        let path = directory.join(name);
        fs::write(&path, text).map_err(failed(&path))?;
    }
    Ok(Report::Done(Done {
        done: "generate man".into(),
        text: format!("{} pages written", pages.len()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_examples_of_its_own() {
        let pages = pages();
        let names: Vec<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in [
            "reservctl.1",
            "reservctl-pr-preempt.1",
            "reservd.8",
            "reservd-pr-helper.8",
        ] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
        assert!(
            !names.iter().any(|name| name.contains("generate")),
            "{names:?}"
        );
        for (name, text) in &pages {
            let stem = name.rsplit_once('.').unwrap().0;
            if stem.matches('-').count() < 2 || stem.starts_with("reservd") {
                assert!(text.contains("\n.SH EXAMPLES\n"), "{name}");
            }
        }
        for (page, _) in examples::EXAMPLES {
            assert!(
                names
                    .iter()
                    .any(|name| name.starts_with(&format!("{page}."))),
                "{page}"
            );
        }
    }

    #[test]
    fn every_shell_gets_completions() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = completions(shell);
            assert!(text.contains("preempt"), "{shell}");
            assert!(!text.contains("\u{1b}"), "{shell}");
        }
    }
}
