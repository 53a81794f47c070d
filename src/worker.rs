//! The process in which libmpathpersist runs: a hidden mode of our programs.
//!
//! It is a helper of its own, with the protocol of QEMU's: it serves PERSISTENT
//! RESERVE OUT on the maps whose descriptors come with the commands, one after
//! another, on the socket that is its standard input. It knows nothing else,
//! and may be killed at any time.

use crate::engine::mpathpersist::code::Code;
use crate::engine::mpathpersist::{CODE_BYTE, FLAG, LIBRARY_VARIABLE, PROBE, Probe};
use crate::engine::policy::Operation;
use crate::protocol::codec::{Decoder, Request, encode_reply, greeting};
use crate::scsi::{Command, Outcome, PrOut, SenseCode};
use crate::sys::mpath::{Arguments, Library, SONAME};
use crate::sys::{fdpass, process};
use anyhow::{Context, bail};
use caps::{CapSet, Capability};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use std::io::{self, Write, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

/// sysexits(3) EX_UNAVAILABLE.
const EXIT_UNAVAILABLE: u8 = 69;
/// What the library may take, in bytes; it has a thread with a stack for each
/// path, and leaks.
const MEMORY: u64 = 2 << 30;

/// True when this process was started as a worker.
pub fn is_requested() -> bool {
    std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == FLAG)
}

/// Runs a worker, as the arguments of this process say. To be called before
/// the process has opened anything.
pub fn main() -> ExitCode {
    let result = match std::env::args_os().nth(2).is_some_and(|arg| arg == PROBE) {
        true => probe(),
        false => serve(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error:#}");
            ExitCode::from(EXIT_UNAVAILABLE)
        }
    }
}

fn load() -> anyhow::Result<Library> {
    let path = std::env::var_os(LIBRARY_VARIABLE).unwrap_or_else(|| SONAME.into());
    Ok(Library::load(&path)?)
}

fn probe() -> anyhow::Result<()> {
    confine()?;
    let library = load()?;
    let probe = Probe {
        version: library.version(),
        has_update_map_pr: library.has_update_map_pr(),
    };
    writeln!(stdout(), "{}", serde_json::to_string(&probe)?)?;
    Ok(())
}

/// Gives up what the library must not have, and keeps it from changing limits.
fn confine() -> anyhow::Result<()> {
    process::close_from(3).context("inherited descriptors")?;
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("parent")?;
    nix::sys::prctl::set_no_new_privs().context("PR_SET_NO_NEW_PRIVS")?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("RLIMIT_CORE")?;
    setrlimit(Resource::RLIMIT_DATA, MEMORY, MEMORY).context("RLIMIT_DATA")?;
    // The library raises the limit of descriptors to a million where it may.
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::drop(None, set, Capability::CAP_SYS_RESOURCE).context("CAP_SYS_RESOURCE")?;
    }
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, soft, soft).context("RLIMIT_NOFILE")
}

fn serve() -> anyhow::Result<()> {
    confine()?;
    let mut library = load()?;
    library.init()?;
    let socket = stdin();
    let socket = socket.as_fd();
    send(socket, &greeting())?;
    let mut decoder = Decoder::default();
    while let Some(request) = receive(socket, &mut decoder)? {
        let (outcome, code) = answer(&mut library, &request);
        let mut reply = encode_reply(&request.cdb, &outcome);
        reply[CODE_BYTE] = code.0.cast_unsigned();
        send(socket, &reply)?;
    }
    Ok(())
}

fn answer(library: &mut Library, request: &Request<OwnedFd>) -> (Outcome, Code) {
    let command = match request.cdb.command(&request.parameters) {
        Ok(Command::Out(command)) if Operation::of(&command).library_from().is_some() => command,
        _ => return (Outcome::check(SenseCode::INVALID_FIELD_IN_CDB), Code(0)),
    };
    let code = Code::new(library.reserve_out(request.device.as_fd(), &arguments(&command)));
    (code.outcome(), code)
}

fn arguments(command: &PrOut) -> Arguments {
    let parameters = &command.parameters;
    Arguments {
        action: command.action as u8,
        scope: command.scope_type.0 >> 4,
        kind: command.scope_type.0 & 0x0f,
        key: parameters.key.0.to_be_bytes(),
        service_action_key: parameters.service_action_key.0.to_be_bytes(),
        aptpl: parameters.flags.aptpl,
        all_tg_pt: parameters.flags.all_tg_pt,
    }
}

/// Reads up to the end of a request; `None` when the parent has closed.
fn receive(
    socket: BorrowedFd<'_>,
    decoder: &mut Decoder<OwnedFd>,
) -> anyhow::Result<Option<Request<OwnedFd>>> {
    let mut buffer = [0; 1024];
    loop {
        let mut ready = [PollFd::new(socket, PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::NONE) {
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let length = decoder.wanted().min(buffer.len());
        let received = fdpass::receive(socket, &mut buffer[..length])?;
        if received.truncated {
            bail!("a descriptor was lost");
        }
        if received.length == 0 {
            return Ok(None);
        }
        let request = decoder.feed(&buffer[..received.length], received.descriptors)?;
        if request.is_some() {
            return Ok(request);
        }
    }
}

fn send(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = fdpass::send(socket, bytes, None)?;
        bytes = &bytes[sent..];
    }
    Ok(())
}
