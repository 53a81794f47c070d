//! The front-end as a process: what it needs before its socket appears, signals.

use super::{Assembled, DRAIN, assemble, listen};
use crate::config::Config;
use crate::frontend::{Entrance, Frontend, Local};
use crate::socket::{BoundSocket, HiddenSocket};
use crate::vacancy::Vacancy;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// The socket for QEMU.
#[derive(Debug)]
pub enum Socket {
    /// Passed by the service manager.
    Inherited(UnixListener),
    /// Not to be seen before all else is done.
    Hidden(HiddenSocket),
    /// There already.
    Shown(BoundSocket),
}

impl Socket {
    /// Can be found from now on.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn show(self) -> io::Result<Self> {
        match self {
            Socket::Hidden(hidden) => {
                let shown = hidden.show();
                shown.map(Socket::Shown).map_err(|error| {
                    io::Error::new(error.kind(), format!("socket not put in place: {error}"))
                })
            }
            other => Ok(other),
        }
    }
}

/// Serves until SIGTERM or SIGINT. SIGHUP changes nothing: there is no
/// configuration to read again.
///
/// # Errors
/// What keeps it from starting. No socket is left then.
pub fn run(socket: Socket, control: PathBuf) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(serve(socket, control));
    runtime.shutdown_timeout(DRAIN);
    result
}

async fn serve(socket: Socket, control: PathBuf) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let local = by_ourselves(&control).await?;
    let mode = match local {
        Some(_) => "runs commands itself: no daemon is here",
        None => "relays to the daemon",
    };
    let frontend = Arc::new(Frontend::new(control, local));
    let (stop, stopping) = watch::channel(false);
    let entrance = enter(socket)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), mode, "ready");
    let mut serving = tokio::spawn(frontend.serve(entrance, stopping));
    loop {
        tokio::select! {
            ended = &mut serving => return ended.map_err(io::Error::other),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => tracing::info!("SIGHUP: nothing to reload"),
        }
    }
    // The receiver lives as long as the task.
    let _ = stop.send(true);
    serving.await.map_err(io::Error::other)
}

/// What runs commands in this process, where no daemon is. One journal for each
/// machine would need a directory for each: there is none.
async fn by_ourselves(control: &Path) -> io::Result<Option<Local>> {
    let Some(vacancy) = Vacancy::take(control)? else {
        return Ok(None);
    };
    let Assembled { service, .. } = assemble(&Config::default(), None, None).await?;
    let task = tokio::spawn(listen(Arc::clone(&service)));
    Ok(Some(Local {
        service,
        task,
        vacancy,
    }))
}

/// The last thing that can fail.
fn enter(socket: Socket) -> io::Result<Entrance> {
    let (listener, bound) = match socket {
        Socket::Inherited(listener) => (listener, None),
        Socket::Shown(bound) => (bound.listener.try_clone()?, Some(bound)),
        Socket::Hidden(_) => return enter(socket.show()?),
    };
    Ok(Entrance {
        listener: tokio::net::UnixListener::from_std(listener)?,
        bound,
    })
}
