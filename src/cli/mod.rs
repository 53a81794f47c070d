//! `reservctl`: shows and changes persistent reservations from a shell.
//!
//! [`arguments`] says what may be asked, [`pr`] asks the helper, [`report`] and
//! [`failure`] are what comes of it, for people or as one JSON object.

#![forbid(unsafe_code)]

pub mod arguments;
pub mod doctor;
pub mod failure;
pub mod import;
mod meaning;
pub mod pr;
pub mod report;
pub mod status;

use arguments::{Arguments, Command};
use clap::Parser;
use failure::Failure;
use report::Report;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

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
                true => ExitCode::from(EXIT_USAGE),
                false => ExitCode::SUCCESS,
            };
        }
    };
    let result = match &arguments.command {
        Command::Pr(command) => pr::run(&arguments.socket, command),
        Command::Doctor(doctor) => doctor::run(doctor.config.as_deref()),
        Command::Status => status::run(),
        Command::Import(arguments) => import::run(arguments),
    };
    let code = match &result {
        Ok(_) => 0,
        Err(failure) => failure.exit_code(),
    };
    match show(&result, arguments.json) {
        Ok(()) => ExitCode::from(code),
        // Whoever read this has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(io::stderr(), "reservctl: standard output: {error}");
            ExitCode::from(code.max(1))
        }
    }
}

/// As JSON, everything goes to standard output; for people, failures and notes do
/// not.
fn show(result: &Result<Report, Failure>, json: bool) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match (result, json) {
        (Ok(report), true) => writeln!(stdout, "{}", serde_json::to_string(report)?)?,
        (Ok(report), false) => {
            write!(stdout, "{report}")?;
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
