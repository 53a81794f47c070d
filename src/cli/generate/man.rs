//! Manual pages of programs, from their command lines.

use super::Page;
use super::examples;
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// The page of a program, and those of its commands.
pub fn family(mut command: Command, section: &str) -> Vec<Page> {
    command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    collect(&command, section, &mut pages);
    pages
}

fn collect(command: &Command, section: &str, pages: &mut Vec<Page>) {
    let name = command.get_display_name().unwrap_or(command.get_name());
    pages.push((format!("{name}.{section}"), page(command, name, section)));
    for inner in command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set())
    {
        collect(inner, section, pages);
    }
}

fn page(command: &Command, name: &str, section: &str) -> String {
    let notes = command.get_after_help().map(ToString::to_string);
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .section(section)
        .date("")
        .source(concat!("reservd ", env!("CARGO_PKG_VERSION")))
        .manual("reservd");
    let mut page = Vec::new();
    // Writing to memory does not fail.
    let _ = man.render_title(&mut page);
    let _ = man.render_name_section(&mut page);
    let _ = man.render_synopsis_section(&mut page);
    let _ = man.render_description_section(&mut page);
    let has_options = command
        .get_arguments()
        .any(|argument| !argument.is_hide_set());
    if has_options {
        let _ = man.render_options_section(&mut page);
    }
    let shown = |command: &&Command| !command.is_hide_set();
    if command.get_subcommands().any(|inner| shown(&inner)) {
        let _ = man.render_subcommands_section(&mut page);
    }
    let mut more = Roff::new();
    if let Some(notes) = notes {
        prose(more.control("SH", ["NOTES"]), &notes);
    }
    if name == "reservctl" || name == "reservd" {
        more.control("SH", ["ENVIRONMENT"]);
        entry(
            &mut more,
            "RESERVD_BUS_ADDRESS",
            "The address of another bus than the system's.",
        );
        if name == "reservctl" {
            entry(
                &mut more,
                "NO_COLOR",
                "Where it is set, there are no colours.",
            );
        }
    }
    let examples = examples::of(name);
    if !examples.is_empty() {
        more.control("SH", ["EXAMPLES"]);
        for (line, what) in examples {
            more.control("TP", [])
                .text([bold(*line)])
                .text([roman(*what)]);
        }
    }
    files(&mut more, name);
    let others: Vec<_> = [
        "reservctl(1)",
        "reservd.toml(5)",
        "reservd(8)",
        "reservd-pr-helper(8)",
    ]
    .into_iter()
    .filter(|other| *other != format!("{name}({section})"))
    .collect();
    more.control("SH", ["SEE ALSO"])
        .text([roman(others.join(", "))]);
    String::from_utf8_lossy(&page).into_owned() + &more.to_roff()
}

fn files(page: &mut Roff, name: &str) {
    let files: &[(&str, &str)] = match name {
        "reservd" => &[
            ("/etc/reservd/reservd.toml", "Settings: reservd.toml(5)."),
            ("/etc/reservd/conf.d/*.toml", "More of them."),
            ("/run/reservd/pr-helper.sock", "Where QEMU connects."),
            ("/var/lib/reservd", "Which registrations are this host's."),
        ],
        "reservd-pr-helper" => &[(
            "/run/qemu-pr-helper.sock",
            "Where QEMU connects without -k.",
        )],
        _ => return,
    };
    page.control("SH", ["FILES"]);
    for (file, what) in files {
        entry(page, file, what);
    }
}

/// A term and what it means.
pub fn entry(page: &mut Roff, term: &str, meaning: &str) {
    page.control("TP", []).text([bold(term)]);
    prose(page, meaning);
}

/// Paragraphs; lines that begin with blanks stay as they are.
pub fn prose(page: &mut Roff, text: &str) {
    let mut fixed = false;
    let mut begun = false;
    for line in text.lines() {
        if line.trim().is_empty() {
            if fixed {
                page.control("fi", []).control("RE", []);
                fixed = false;
            }
            begun = false;
            page.control("sp", []);
            continue;
        }
        match (line.starts_with("  "), fixed) {
            (true, false) => {
                page.control("RS", ["2"]).control("nf", []);
                fixed = true;
            }
            (false, true) => {
                page.control("fi", []).control("RE", []);
                fixed = false;
            }
            _ => {}
        }
        let line = if fixed { line } else { line.trim() };
        page.text([roman(line)]);
        begun = true;
    }
    if fixed && begun {
        page.control("fi", []).control("RE", []);
    }
}
