//! The daemon.

use clap::Parser;
use reservd::config::Config;
use reservd::daemon::{self, Setup};
use reservd::socket::BoundSocket;
use reservd::sys::activation::inherited_sockets;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;

/// sysexits(3) EX_CONFIG.
const EXIT_CONFIG: u8 = 78;

/// Persistent reservations for virtual machines, on SCSI disks and multipath maps.
#[derive(Debug, Parser)]
#[command(name = "reservd", version)]
struct Arguments {
    /// Configuration file; without it, /etc/reservd/reservd.toml where that exists.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only check the configuration.
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
    let arguments = Arguments::parse();
    let path = arguments.config.or_else(|| {
        let path = PathBuf::from("/etc/reservd/reservd.toml");
        path.exists().then_some(path)
    });
    let config = match path.as_deref().map(Config::load).transpose() {
        Ok(config) => config.unwrap_or_default(),
        Err(error) => {
            eprintln!("reservd: {error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if arguments.check {
        return ExitCode::SUCCESS;
    }
    let level = ["info", "debug", "trace"][usize::from(arguments.verbose.min(2))];
    reservd::logging::start(level, "reservd");
    match start(config, path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(config: Config, config_path: Option<PathBuf>) -> anyhow::Result<()> {
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
    daemon::run(Setup {
        config,
        config_path,
        listeners,
        notify: true,
    })?;
    drop(bound);
    Ok(())
}
