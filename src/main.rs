//! The daemon.

use clap::Parser;
use reservd::activation::Passed;
use reservd::config::{Config, Files, Invalid, Text};
use reservd::daemon::{self, Setup};
use reservd::dbus::Bus;
use reservd::server::Door;
use reservd::socket::BoundSocket;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// sysexits(3) EX_CONFIG.
const EXIT_CONFIG: u8 = 78;
/// Relays run as root, or as the daemon's own user.
const CONTROL_MODE: u32 = 0o600;

/// Persistent reservations for virtual machines, on SCSI disks and multipath maps.
#[derive(Debug, Parser)]
#[command(name = "reservd", version)]
struct Arguments {
    /// Configuration file, to which the files conf.d/*.toml beside it are added;
    /// without it, /etc/reservd/reservd.toml where that exists.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only check the configuration: name the files that are sound, or say
    /// what is wrong and exit with 1.
    #[arg(long)]
    check: bool,
    /// Log more; twice for even more.
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

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
    let mut passed = Passed::take().context("descriptors from the service manager")?;
    // They are removed when this ends.
    let mut bound = Vec::new();
    let mut bind = |path: &Path, mode, door| {
        if passed.has(door) {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("directory {}", folder.display()))?;
        }
        let socket = BoundSocket::bind(path, Some(mode))
            .with_context(|| format!("socket {}", path.display()))?;
        passed.listeners.push((socket.listener.try_clone()?, door));
        bound.push(socket);
        anyhow::Ok(())
    };
    bind(&config.helper.socket, config.helper.mode, Door::Helper)?;
    let control = config.helper.control();
    if let Some(path) = &control {
        bind(path, CONTROL_MODE, Door::Control)?;
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
        passed,
        control,
        notify: true,
    })?;
    drop(bound);
    Ok(())
}
