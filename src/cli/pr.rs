//! `reservctl pr`: one command through the helper socket.

use super::arguments::pr::{Flags, Hold, Pr};
use super::failure::{Action, Failure};
use super::report::{Done, Report};
use crate::client::{Client, ClientError};
use crate::scsi::pr::RegisterFlags;
use crate::scsi::{InAction, OutAction, PrOut, ReservationKey, ScopeType};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A command line in terms of SCSI.
enum Request {
    Read(InAction),
    /// With what to say once it is done.
    Write(PrOut, String),
}

/// Runs one command and says what came of it. Unit attentions on the way are
/// noted on standard error.
///
/// # Errors
/// [`Failure`], for every outcome but GOOD.
pub fn run(socket: &Path, command: &Pr) -> Result<Report, Failure> {
    let request = request(command);
    let path = &command.target().device;
    let device = open(path, matches!(request, Request::Write(..)))
        .map_err(|error| Failure::Device(path.clone(), error))?;
    let mut client = Client::connect(socket)
        .map_err(|error| Failure::Connection(socket.to_path_buf(), error))?;
    let (action, result) = match request {
        Request::Read(action) => {
            let result = read(&mut client, device.as_fd(), action);
            (Action::In(action), result)
        }
        Request::Write(out, text) => {
            let result = client.out(device.as_fd(), &out);
            let done = Done {
                done: out.action.to_string(),
                text,
            };
            (Action::Out(out.action), result.map(|()| Report::Done(done)))
        }
    };
    for code in client.take_attentions() {
        let _ = writeln!(
            io::stderr(),
            "reservctl: note: UNIT ATTENTION {code}; {action} sent again"
        );
    }
    result.map_err(|error| Failure::command(action, error))
}

/// Does not wait for a medium or for the other end of a pipe.
fn open(path: &Path, write: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

fn read(
    client: &mut Client,
    device: BorrowedFd<'_>,
    action: InAction,
) -> Result<Report, ClientError> {
    Ok(match action {
        InAction::ReadKeys => Report::Keys(client.read_keys(device)?.into()),
        InAction::ReadReservation => Report::Reservation(client.read_reservation(device)?.into()),
        InAction::ReportCapabilities => Report::Capabilities(client.capabilities(device)?.into()),
        InAction::ReadFullStatus => Report::FullStatus(client.full_status(device)?.into()),
    })
}

fn request(command: &Pr) -> Request {
    let (out, text) = match command {
        Pr::Keys(_) => return Request::Read(InAction::ReadKeys),
        Pr::Reservation(_) => return Request::Read(InAction::ReadReservation),
        Pr::FullStatus(_) => return Request::Read(InAction::ReadFullStatus),
        Pr::Capabilities(_) => return Request::Read(InAction::ReportCapabilities),
        Pr::Register(register) => {
            let (from, to) = (register.key, register.newkey);
            let text = match from.is_zero() {
                true => format!("registered {to}"),
                false => format!("registered {to} in place of {from}"),
            };
            let out = PrOut::register(from, to, flags(&register.flags));
            (ignoring(out, register.ignore), text)
        }
        Pr::Unregister(unregister) => {
            let text = match unregister.key {
                Some(key) => format!("unregistered {key}"),
                None => "unregistered".to_owned(),
            };
            let from = unregister.key.unwrap_or_default();
            let out = PrOut::register(from, ReservationKey::ZERO, flags(&unregister.flags));
            (ignoring(out, unregister.ignore), text)
        }
        Pr::Reserve(hold) => (
            holding(OutAction::Reserve, hold, ReservationKey::ZERO),
            format!("reserved {} with {}", hold.kind, hold.key),
        ),
        Pr::Release(hold) => (
            holding(OutAction::Release, hold, ReservationKey::ZERO),
            format!("released {} with {}", hold.kind, hold.key),
        ),
        Pr::Clear(clear) => {
            let zero = ReservationKey::ZERO;
            let out = PrOut::basic(OutAction::Clear, ScopeType(0), clear.key, zero);
            (out, format!("cleared with {}", clear.key))
        }
        Pr::Preempt(preempt) => {
            let (action, aborted) = match preempt.abort {
                true => (OutAction::PreemptAndAbort, " and aborted its commands"),
                false => (OutAction::Preempt, ""),
            };
            (
                holding(action, &preempt.hold, preempt.victim),
                format!("preempted {}{aborted}", preempt.victim),
            )
        }
    };
    Request::Write(out, text)
}

fn ignoring(mut out: PrOut, ignore: bool) -> PrOut {
    if ignore {
        out.action = OutAction::RegisterAndIgnore;
    }
    out
}

fn holding(action: OutAction, hold: &Hold, victim: ReservationKey) -> PrOut {
    PrOut::basic(action, hold.kind.into(), hold.key, victim)
}

fn flags(flags: &Flags) -> RegisterFlags {
    RegisterFlags {
        aptpl: flags.aptpl,
        all_tg_pt: flags.all_tg_pt,
        spec_i_pt: false,
    }
}
