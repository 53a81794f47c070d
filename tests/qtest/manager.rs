//! The part of systemd that the daemon knows: listening sockets passed by name,
//! notifications, and the store of descriptors that outlives a process.

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reservd::sys::fdpass;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// Longer than a daemon takes to start.
const PATIENCE: Duration = Duration::from_secs(30);
/// Descriptors for a new process wait above this, where those of no process end.
const ASIDE: i32 = 100;

#[derive(Default)]
struct Heard {
    ready: bool,
    barrier: u64,
    watchdogs: u64,
    status: String,
    store: Vec<(String, OwnedFd)>,
}

struct Shared {
    heard: Mutex<Heard>,
    changed: Condvar,
}

pub struct Manager {
    command: Box<dyn Fn() -> Command + Send>,
    sockets: Vec<(&'static str, UnixListener)>,
    notify: PathBuf,
    log: PathBuf,
    shared: Arc<Shared>,
    barriers: u64,
    child: Option<Child>,
}

impl Manager {
    /// For a daemon that this starts; its environment is completed here.
    pub fn new(
        folder: &Path,
        sockets: Vec<(&'static str, UnixListener)>,
        command: impl Fn() -> Command + Send + 'static,
    ) -> Manager {
        let notify = folder.join("notify");
        let socket = UnixDatagram::bind(&notify).expect("a socket for notifications");
        socket.set_nonblocking(true).expect("a socket");
        let shared = Arc::new(Shared {
            heard: Mutex::default(),
            changed: Condvar::new(),
        });
        let hearing = Arc::clone(&shared);
        thread::spawn(move || listen(&socket, &hearing));
        Manager {
            command: Box::new(command),
            sockets,
            notify,
            log: folder.join("log"),
            shared,
            barriers: 0,
            child: None,
        }
    }

    /// Starts the daemon, with everything that is in the store.
    pub fn start(&mut self) {
        self.settle();
        let mut heard = self.shared.heard.lock().expect("heard");
        heard.ready = false;
        heard
            .store
            .retain(|(_, descriptor)| !is_hung_up(descriptor));
        let mut names = Vec::new();
        let mut aside = Vec::new();
        let listeners = self
            .sockets
            .iter()
            .map(|(name, socket)| (*name, socket.as_fd()));
        let stored = heard
            .store
            .iter()
            .map(|(name, fd)| (name.as_str(), fd.as_fd()));
        for (name, descriptor) in listeners.chain(stored) {
            names.push(name.to_owned());
            aside.push(put_aside(descriptor));
        }
        drop(heard);
        let moves: String = (3..)
            .zip(&aside)
            .map(|(to, from)| format!("exec {to}<&{0} {0}<&-; ", from.as_raw_fd()))
            .collect();
        let command = (self.command)();
        let mut bash = Command::new("bash");
        bash.arg("-c")
            .arg(format!("{moves} export LISTEN_PID=$$; exec \"$0\" \"$@\""))
            .arg(command.get_program())
            .args(command.get_args())
            .env("NOTIFY_SOCKET", &self.notify)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(append(&self.log));
        if !names.is_empty() {
            bash.env("LISTEN_FDS", names.len().to_string())
                .env("LISTEN_FDNAMES", names.join(":"));
        }
        for (name, value) in command.get_envs() {
            bash.env(name, value.expect("a value"));
        }
        self.child = Some(bash.spawn().expect("bash starts"));
        drop(aside);
    }

    /// Waits until it says that it is ready.
    pub fn ready(&self) {
        self.wait("READY=1", |heard| heard.ready);
    }

    pub fn is_ready(&self) -> bool {
        self.shared.heard.lock().expect("heard").ready
    }

    fn wait(&self, what: &str, condition: impl Fn(&Heard) -> bool) {
        let heard = self.shared.heard.lock().expect("heard");
        let waited = self
            .shared
            .changed
            .wait_timeout_while(heard, PATIENCE, |heard| !condition(heard))
            .expect("heard");
        assert!(!waited.1.timed_out(), "not heard: {what}");
    }

    /// Waits until everything that was sent so far has been taken in.
    fn settle(&mut self) {
        self.barriers += 1;
        let barrier = self.barriers;
        let socket = UnixDatagram::unbound().expect("a socket");
        let text = format!("X_BARRIER={barrier}");
        socket.send_to(text.as_bytes(), &self.notify).expect("room");
        self.wait("our own words", |heard| heard.barrier >= barrier);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("a running daemon");
        kill(Pid::from_raw(child.id() as i32), signal).expect("our own child");
    }

    /// Sends a signal and waits for the end.
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        let mut child = self.child.take().expect("a running daemon");
        child.wait().expect("our own child")
    }

    /// Sends a signal, waits for the end, and starts it again.
    pub fn restart(&mut self, signal: Signal) {
        self.end(signal);
        self.start();
        self.ready();
    }

    /// The names in the store, each as often as it has descriptors.
    pub fn stored(&mut self) -> Vec<String> {
        self.settle();
        let heard = self.shared.heard.lock().expect("heard");
        heard.store.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The last STATUS=.
    pub fn status(&mut self) -> String {
        self.settle();
        self.shared.heard.lock().expect("heard").status.clone()
    }

    /// How often the watchdog was fed.
    pub fn watchdogs(&mut self) -> u64 {
        self.settle();
        self.shared.heard.lock().expect("heard").watchdogs
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn listen(socket: &UnixDatagram, shared: &Shared) {
    let mut buffer = [0; 4096];
    loop {
        let received = match fdpass::receive(socket.as_fd(), &mut buffer) {
            Ok(received) => received,
            Err(_) => {
                let mut wait = [nix::poll::PollFd::new(
                    socket.as_fd(),
                    nix::poll::PollFlags::POLLIN,
                )];
                let _ = nix::poll::poll(&mut wait, nix::poll::PollTimeout::NONE);
                continue;
            }
        };
        let text = String::from_utf8_lossy(&buffer[..received.length]).into_owned();
        let value = |name: &str| {
            let mut lines = text.lines();
            lines.find_map(|line| {
                line.strip_prefix(name)?
                    .strip_prefix('=')
                    .map(str::to_owned)
            })
        };
        let mut heard = shared.heard.lock().expect("heard");
        heard.ready |= value("READY").is_some();
        heard.watchdogs += u64::from(value("WATCHDOG").is_some());
        if let Some(status) = value("STATUS") {
            heard.status = status;
        }
        if let Some(number) = value("X_BARRIER") {
            heard.barrier = number.parse().expect("a number");
        }
        let name = value("FDNAME").unwrap_or_default();
        if value("FDSTOREREMOVE").is_some() {
            heard.store.retain(|(known, _)| *known != name);
        } else if value("FDSTORE").is_some() {
            let more = received.descriptors.into_iter();
            heard
                .store
                .extend(more.map(|descriptor| (name.clone(), descriptor)));
        }
        shared.changed.notify_all();
    }
}

/// A file that gets what several processes say.
pub fn append(log: &Path) -> File {
    let file = File::options().create(true).append(true).open(log);
    file.expect("a log")
}

/// A duplicate that a new process inherits.
fn put_aside(descriptor: BorrowedFd<'_>) -> OwnedFd {
    let mut low = Vec::new();
    loop {
        let copy = descriptor.try_clone_to_owned().expect("a duplicate");
        if copy.as_raw_fd() > ASIDE {
            fcntl(&copy, FcntlArg::F_SETFD(FdFlag::empty())).expect("a flag");
            return copy;
        }
        low.push(copy);
    }
}

/// systemd drops these by itself.
fn is_hung_up(descriptor: &OwnedFd) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut ask = [PollFd::new(descriptor.as_fd(), PollFlags::empty())];
    poll(&mut ask, PollTimeout::ZERO).is_ok()
        && ask[0]
            .revents()
            .is_some_and(|seen| seen.contains(PollFlags::POLLHUP))
}
