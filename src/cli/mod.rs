//! `reservctl`: shows and changes persistent reservations from a shell.
//!
//! [`arguments`] says what may be asked. [`pr`] asks the helper, [`bus`] asks reservd
//! on the bus, whose objects [`view`] has. What comes of it is a [`report`] or a
//! [`failure`], for people on a [`page`] or as one JSON object.

#![forbid(unsafe_code)]

pub mod arguments;
pub mod bus;
pub mod change;
pub mod check;
pub mod doctor;
pub mod explain;
pub mod failure;
pub mod generate;
pub mod import;
mod meaning;
pub mod page;
pub mod pr;
pub mod report;
pub mod show;
pub mod status;
pub mod view;
pub mod watch;

use arguments::{Arguments, Command, Generate};
use bus::Daemon;
use change::Change;
use clap::Parser;
use failure::Failure;
use page::Page;
use report::Report;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use view::Host;
use view::unit::Unit;

/// Wrong arguments; clap's own code for them.
const EXIT_USAGE: u8 = 2;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    if crate::worker::is_requested() {
        return crate::worker::main();
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help or a complaint; there may be nobody to read it.
            let _ = error.print();
            return match error.use_stderr() {
                true => ExitCode::from(usage_code(std::env::args_os())),
                false => ExitCode::SUCCESS,
            };
        }
    };
    let page = Page::of_stdout(arguments.color);
    let result = match run(&arguments, &page) {
        // `watch` has printed all there is.
        Ok(None) => return ExitCode::SUCCESS,
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => {
            return ExitCode::SUCCESS;
        }
        Ok(Some(report)) => Ok(report),
        Err(failure) => Err(failure),
    };
    let code = match &result {
        Ok(report) => report.exit_code(),
        Err(failure) => failure.exit_code(),
    };
    match show(&result, arguments.json, &page) {
        Ok(()) => ExitCode::from(code),
        // Whoever read this has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(io::stderr(), "reservctl: standard output: {error}");
            ExitCode::from(code.max(1))
        }
    }
}

/// For monitoring systems 2 would be CRITICAL.
fn usage_code(mut words: impl Iterator<Item = OsString>) -> u8 {
    match words.any(|word| word == "check") {
        true => check::Severity::Unknown.code(),
        false => EXIT_USAGE,
    }
}

fn run(arguments: &Arguments, page: &Page) -> Result<Option<Report>, Failure> {
    let command = &arguments.command;
    if let Some(change) = Change::of(command) {
        return change::run(&change, arguments.json, page).map(Some);
    }
    match command {
        Command::Pr(command) => pr::run(&arguments.socket, command),
        Command::Doctor(doctor) => doctor::run(doctor.config.as_deref()),
        Command::Import(arguments) => import::run(arguments),
        Command::Completions { shell } => Ok(Report::Text(generate::completions(*shell))),
        Command::Generate(Generate::Man { directory }) => generate::man(directory),
        Command::Watch(watch) => {
            return watch::run(watch.follow, arguments.json, arguments.color).map(|()| None);
        }
        Command::Check(arguments) => Ok(check(arguments)),
        command => bus::run(async |daemon: Daemon| look(&daemon, command, page).await),
    }
    .map(Some)
}

/// What is shown of reservd, without changing anything.
async fn look(daemon: &Daemon, command: &Command, page: &Page) -> Result<Report, Failure> {
    Ok(match command {
        Command::Show(of) => {
            let (host, unit) = unit(daemon, &of.device, of.refresh).await?;
            Report::Shown(Box::new(show::Shown::new(unit, &host)))
        }
        Command::Keys(of) => {
            let (_, unit) = unit(daemon, &of.device, of.refresh).await?;
            Report::UnitKeys(show::UnitKeys::new(&unit))
        }
        Command::Explain(of) => {
            let (_, unit) = unit(daemon, &of.device, of.refresh).await?;
            let events = daemon.history(&unit.object, explain::EVENTS).await?;
            Report::Explained(explain::Explanation::new(&unit, events, page))
        }
        Command::History(of) => {
            let (_, unit) = unit(daemon, &of.device, false).await?;
            let events = daemon.history(&unit.object, of.limit).await?;
            Report::History(show::Events::new(&unit, events))
        }
        Command::Paths(of) => match &of.device {
            Some(device) => {
                let (_, unit) = unit(daemon, device, false).await?;
                Report::Paths(show::Paths::new(std::iter::once(&unit)))
            }
            None => Report::Paths(show::Paths::new(daemon.host().await?.units.iter())),
        },
        Command::Clients => Report::Clients(show::Clients::new(daemon.host().await?)),
        _ => Report::Status(daemon.host().await?),
    })
}

/// The unit with this name.
async fn unit(daemon: &Daemon, device: &str, refresh: bool) -> Result<(Host, Unit), Failure> {
    let object = daemon.find(device).await?;
    if refresh {
        daemon.refresh(&object).await?;
    }
    let host = daemon.host().await?;
    match host.unit(&object).cloned() {
        Some(unit) => Ok((host, unit)),
        None => Err(Failure::Refused {
            name: "NoSuchDevice".into(),
            text: format!("{device}: no unit in use has this name"),
        }),
    }
}

fn check(arguments: &arguments::unit::Check) -> Report {
    let found = bus::run(async |daemon: Daemon| {
        let mut objects = Vec::new();
        for device in &arguments.devices {
            objects.push(daemon.find(device).await?);
        }
        Ok((daemon.host().await?, objects))
    });
    Report::Checked(match found {
        Ok((host, objects)) => {
            let asked = |unit: &&Unit| objects.is_empty() || objects.contains(&unit.object);
            let units: Vec<_> = host.units.iter().filter(asked).collect();
            check::Check::new(&host, &units, arguments.registered)
        }
        Err(failure) => check::Check::failed(&failure),
    })
}

/// As JSON, everything goes to standard output; for people, failures and notes do
/// not.
fn show(result: &Result<Report, Failure>, json: bool, page: &Page) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match (result, json) {
        (Ok(report), true) => writeln!(stdout, "{}", serde_json::to_string(report)?)?,
        (Ok(report), false) => {
            stdout.write_all(report.render(page).as_bytes())?;
            for note in report.notes() {
                let _ = writeln!(io::stderr(), "reservctl: {note}");
            }
        }
        (Err(failure), true) => {
            let object = serde_json::to_string(&failure.object())?;
            writeln!(stdout, "{object}")?;
        }
        (Err(failure), false) => {
            let _ = writeln!(io::stderr(), "reservctl: {failure}");
        }
    }
    stdout.flush()
}

#[cfg(test)]
mod tests;
