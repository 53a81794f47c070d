//! Takes the place of qemu-pr-helper, with its command line.

use clap::Parser;
use reservd::cli::arguments::helper::Arguments;
use reservd::config::DEFAULT_CONTROL;
use reservd::daemon::helper::{self, Socket};
use reservd::pidfile::PidFile;
use reservd::privileges::{self, Identity};
use reservd::socket::HiddenSocket;
use reservd::sys::activation::inherited_sockets;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;

const DEFAULT_SOCKET: &str = "/var/run/qemu-pr-helper.sock";
const DEFAULT_PIDFILE: &str = "/var/run/qemu-pr-helper.pid";

fn main() -> ExitCode {
    if reservd::worker::is_requested() {
        return reservd::worker::main();
    }
    reservd::panics::contain();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let failed = error.use_stderr();
            // Standard error may be a closed pipe.
            let _ = error.print();
            return if failed {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let level = match (arguments.quiet, arguments.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    reservd::logging::start(level, "reservd-pr-helper");
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "reservd-pr-helper: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> anyhow::Result<()> {
    use anyhow::{Context, bail};
    if arguments.trace.is_some() {
        tracing::warn!("-T has no effect");
    }
    let mut inherited = inherited_sockets().context("sockets from the service manager")?;
    let mut socket = match (inherited.pop(), &arguments.socket) {
        (Some(_), Some(_)) => bail!("a socket path and socket activation exclude each other"),
        (Some(_), None) if !inherited.is_empty() => bail!("more than one socket was passed"),
        (Some((socket, _name)), None) => {
            let listener = UnixListener::from(socket);
            listener.set_nonblocking(true)?;
            Socket::Inherited(listener)
        }
        (None, path) => {
            let path = path.clone().unwrap_or_else(|| DEFAULT_SOCKET.into());
            if !path.is_absolute() {
                bail!("socket path must be absolute");
            }
            let hidden = HiddenSocket::bind(&path, None)
                .with_context(|| format!("socket {}", path.display()))?;
            Socket::Hidden(hidden)
        }
    };
    // Who waits for the parent expects a socket; another user could not rename it.
    let early = arguments.daemon || arguments.user.is_some() || arguments.group.is_some();
    if let (true, Socket::Hidden(_)) = (early, &socket) {
        socket = socket.show()?;
    }
    if arguments.daemon {
        nix::unistd::daemon(false, false).context("going to the background")?;
    }
    let pidfile = match (arguments.pidfile, arguments.daemon) {
        (None, false) => None,
        (path, _) => {
            let path = path.unwrap_or_else(|| DEFAULT_PIDFILE.into());
            let file = PidFile::create(&path);
            Some(file.with_context(|| format!("pid file {}", path.display()))?)
        }
    };
    privileges::drop_to(&Identity {
        user: arguments.user,
        group: arguments.group,
    })
    .context("giving up privileges")?;
    // libvirt's NOTIFY_SOCKET, where there is one, is not ours.
    let control = std::env::var_os("RESERVD_CONTROL_SOCKET");
    let control = control.map_or_else(|| DEFAULT_CONTROL.into(), PathBuf::from);
    helper::run(socket, control)?;
    drop(pidfile);
    Ok(())
}
