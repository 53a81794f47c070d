//! The daemon.

use clap::Parser;
use reservd::cli::arguments::daemon::Arguments;
use reservd::config::{Config, Files, Invalid, Text};
use reservd::daemon::{self, Setup};
use reservd::dbus::Bus;
use reservd::socket::BoundSocket;
use reservd::sys::activation::inherited_sockets;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;

/// sysexits(3) EX_CONFIG.
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    if reservd::worker::is_requested() {
        return reservd::worker::main();
    }
    reservd::panics::contain();
    let arguments = Arguments::parse();
    let files = Files::new(arguments.config);
    if arguments.check {
        return check(&files);
    }
    let config = match files.load() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("reservd: {error:#}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let level = ["info", "debug", "trace"][usize::from(arguments.verbose.min(2))];
    reservd::logging::start(level, "reservd");
    match start(config, files) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check(files: &Files) -> ExitCode {
    let sound = |files: &Files| -> Result<Vec<Text>, Invalid> {
        let texts = files.read()?;
        Config::from_texts(&texts)?;
        Ok(texts)
    };
    match sound(files) {
        Ok(texts) if texts.is_empty() => println!("no configuration files: defaults"),
        Ok(texts) => texts.iter().for_each(|text| println!("{}: ok", text.name)),
        Err(error) => {
            eprintln!("reservd: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn start(config: Config, files: Files) -> anyhow::Result<()> {
    use anyhow::Context;
    let mut listeners = Vec::new();
    for (socket, _name) in inherited_sockets().context("sockets from the service manager")? {
        let listener = UnixListener::from(socket);
        listener.set_nonblocking(true)?;
        listeners.push(listener);
    }
    let mut bound = None;
    if listeners.is_empty() {
        let path = &config.helper.socket;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("directory {}", folder.display()))?;
        }
        let socket = BoundSocket::bind(path, Some(config.helper.mode))
            .with_context(|| format!("socket {}", path.display()))?;
        listeners.push(socket.listener.try_clone()?);
        bound = Some(socket);
    }
    // Simulated units end with the process.
    let journal = config
        .simulator
        .is_none()
        .then(|| config.journal.directory.clone());
    daemon::run(Setup {
        bus: config.dbus.enabled.then(Bus::from_environment),
        config,
        journal,
        files: Some(files),
        listeners,
        notify: true,
    })?;
    drop(bound);
    Ok(())
}
