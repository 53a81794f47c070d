//! A connection, as a sequence of requests and replies, in each way in which
//! clients reach the service.

use super::SessionError;
use super::ledger::{Ledger, Stage};
use crate::protocol::codec::{Decoder, Request, SUPPORTED_FEATURES, Violation};
use crate::protocol::codec::{encode_reply, greeting};
use crate::protocol::control::{BEGUN, MILLISECONDS, ORIGIN_HEADER, Origin, REPLY};
use crate::protocol::control::{encode_milliseconds, parse_milliseconds};
use crate::protocol::{CDB_FIELD, DATA_MAXIMUM, FEATURES_LENGTH};
use crate::scsi::cdb::Direction;
use crate::scsi::{Cdb, Outcome, SenseCode};
use crate::sys::fdpass;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout, timeout_at};

/// A PERSISTENT RESERVE IN is run this many times at most: one that ends the daemon
/// each time must not do so for ever.
const RUNS: u32 = 5;

/// A request, and how long ago its client sent it.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) request: Request<OwnedFd>,
    pub(super) age: Duration,
}

/// One client's connection.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) stream: UnixStream,
    kind: Kind,
    /// How long a client may stop in the middle of a request.
    patience: Duration,
}

#[derive(Debug)]
enum Kind {
    /// A client of the helper socket.
    Plain(Decoder<OwnedFd>),
    /// A client of the helper socket that the next process can take over.
    Kept {
        ledger: Ledger,
        /// Processes that ended while they ran the request at the head of the queue.
        ended: u32,
    },
    /// A relay on the control socket.
    Relayed(Decoder<OwnedFd>),
}

impl Line {
    /// Greets a client of the helper socket.
    pub(super) async fn plain(
        mut stream: UnixStream,
        patience: Duration,
    ) -> Result<Self, SessionError> {
        stream.write_all(&greeting()).await?;
        Ok(Line {
            stream,
            kind: Kind::Plain(Decoder::default()),
            patience,
        })
    }

    /// Greets a client of the helper socket, and waits for its feature word.
    pub(super) async fn kept(
        mut stream: UnixStream,
        patience: Duration,
    ) -> Result<Self, SessionError> {
        stream.write_all(&greeting()).await?;
        let mut word = [0; FEATURES_LENGTH];
        read(&mut stream, &mut word, patience).await?;
        let wanted = u32::from_be_bytes(word);
        if wanted & !SUPPORTED_FEATURES != 0 {
            return Err(Violation::UnknownFeatures(wanted).into());
        }
        let ledger = Ledger::new()?;
        Ok(Line {
            stream,
            kind: Kind::Kept { ledger, ended: 0 },
            patience,
        })
    }

    /// Goes on with a client that an earlier process has left: answers what that
    /// one was asked.
    pub(super) async fn resume(
        stream: UnixStream,
        ledger: OwnedFd,
        patience: Duration,
    ) -> Result<Self, SessionError> {
        let (ledger, stage) = Ledger::adopt(ledger)?;
        let ended = match stage {
            Stage::Running { ended, .. } => ended + 1,
            Stage::Idle | Stage::Replying { .. } => 0,
        };
        let mut line = Line {
            stream,
            kind: Kind::Kept { ledger, ended },
            patience,
        };
        match stage {
            Stage::Idle => {}
            Stage::Running { cdb, .. } => {
                let code = match cdb.direction() {
                    Direction::Out => SenseCode::TIMEOUT_DURING_PROCESSING,
                    Direction::In if ended >= RUNS => SenseCode::IO_PROCESS_TERMINATED,
                    Direction::In => return Ok(line),
                };
                let fate = Outcome::check(code);
                tracing::warn!(%fate, "a command was in flight when reservd ended");
                line.reply(&cdb, &fate).await?;
            }
            Stage::Replying { request, reply } => line.finish(request, reply).await?,
        }
        Ok(line)
    }

    /// Hears from a relay whom it stands for.
    pub(super) async fn relayed(
        mut stream: UnixStream,
        deadline: Duration,
        patience: Duration,
    ) -> Result<(Self, Origin), SessionError> {
        let mut header = [0; ORIGIN_HEADER];
        read(&mut stream, &mut header, patience).await?;
        let (origin, length) = Origin::parse(&header)?;
        let mut name = vec![0; length];
        read(&mut stream, &mut name, patience).await?;
        stream.write_all(&encode_milliseconds(deadline)).await?;
        let line = Line {
            stream,
            kind: Kind::Relayed(Decoder::past_features()),
            patience,
        };
        Ok((line, origin.with_machine(&name)))
    }

    /// What the next process needs to take this connection over, if it can.
    pub(super) fn keepsake(&self) -> Option<[BorrowedFd<'_>; 2]> {
        match &self.kind {
            Kind::Kept { ledger, .. } => Some([self.stream.as_fd(), ledger.as_fd()]),
            Kind::Plain(_) | Kind::Relayed(_) => None,
        }
    }

    /// The next request; `None` when the client has left.
    pub(super) async fn receive(&mut self) -> Result<Option<Incoming>, SessionError> {
        let request = match &mut self.kind {
            Kind::Plain(decoder) => take(&self.stream, decoder, self.patience).await?,
            Kind::Relayed(decoder) => take(&self.stream, decoder, self.patience).await?,
            Kind::Kept { .. } => match look(&self.stream, self.patience).await? {
                Seen::Whole(request) => Some(request),
                Seen::End => None,
                Seen::Odd => {
                    // Not what QEMU would send: no longer kept.
                    self.kind = Kind::Plain(Decoder::past_features());
                    return Box::pin(self.receive()).await;
                }
            },
        };
        let Some(request) = request else {
            return Ok(None);
        };
        let age = match &self.kind {
            Kind::Relayed(_) => {
                let mut trailer = [0; MILLISECONDS];
                read(&mut self.stream, &mut trailer, self.patience).await?;
                parse_milliseconds(trailer)
            }
            Kind::Plain(_) | Kind::Kept { .. } => Duration::ZERO,
        };
        Ok(Some(Incoming { request, age }))
    }

    /// The command is about to be run. Where that fails, it must not be.
    pub(super) async fn begin(&mut self, cdb: Cdb) -> Result<(), SessionError> {
        match &self.kind {
            Kind::Plain(_) => {}
            Kind::Kept { ledger, ended } => ledger.run(cdb, *ended)?,
            Kind::Relayed(_) if cdb.direction() == Direction::Out => {
                self.stream.write_all(&[BEGUN]).await?;
            }
            Kind::Relayed(_) => {}
        }
        Ok(())
    }

    /// Answers the request with this CDB.
    pub(super) async fn reply(&mut self, cdb: &Cdb, outcome: &Outcome) -> io::Result<()> {
        let reply = encode_reply(cdb, outcome);
        match &mut self.kind {
            Kind::Plain(_) => self.stream.write_all(&reply).await,
            Kind::Relayed(_) => {
                let mut bytes = Vec::with_capacity(1 + reply.len());
                bytes.push(REPLY);
                bytes.extend_from_slice(&reply);
                self.stream.write_all(&bytes).await
            }
            Kind::Kept { ledger, ended } => {
                *ended = 0;
                let request = request_length(cdb);
                ledger.reply(request, &reply)?;
                self.finish(request, reply.len()).await
            }
        }
    }

    /// Takes a request that was answered out of the queue, and sends what is left
    /// of its reply.
    async fn finish(&mut self, request: usize, reply: usize) -> io::Result<()> {
        let Kind::Kept { ledger, .. } = &mut self.kind else {
            return Ok(());
        };
        if ledger.sent()? == 0 {
            discard(&self.stream, request)?;
        }
        loop {
            let left = reply.saturating_sub(ledger.sent()?);
            if left == 0 {
                return Ok(());
            }
            let send = || ledger.send(self.stream.as_fd(), left);
            self.stream.async_io(Interest::WRITABLE, send).await?;
        }
    }
}

fn request_length(cdb: &Cdb) -> usize {
    CDB_FIELD
        + match cdb.direction() {
            Direction::In => 0,
            Direction::Out => usize::from(cdb.transfer_length()),
        }
}

async fn read(
    stream: &mut UnixStream,
    buffer: &mut [u8],
    patience: Duration,
) -> Result<(), SessionError> {
    timeout(patience, stream.read_exact(buffer))
        .await
        .map_err(|_| SessionError::Stalled)??;
    Ok(())
}

/// Reads up to the end of a request; `None` when the client has left.
pub(crate) async fn take(
    stream: &UnixStream,
    decoder: &mut Decoder<OwnedFd>,
    patience: Duration,
) -> Result<Option<Request<OwnedFd>>, SessionError> {
    let mut buffer = [0; 1024];
    let mut until = None;
    loop {
        let length = decoder.wanted().min(buffer.len());
        let chunk = async {
            let window = &mut buffer[..length];
            stream
                .async_io(Interest::READABLE, || {
                    fdpass::receive(stream.as_fd(), window)
                })
                .await
        };
        let received = if decoder.is_idle() {
            until = None;
            chunk.await?
        } else {
            let until = *until.get_or_insert_with(|| Instant::now() + patience);
            timeout_at(until, chunk)
                .await
                .map_err(|_| SessionError::Stalled)??
        };
        if received.truncated {
            return Err(Violation::ExtraDescriptor.into());
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

/// What stands in a queue.
enum Seen {
    /// A request as QEMU sends it.
    Whole(Request<OwnedFd>),
    /// Something else, or a request in other pieces.
    Odd,
    /// The client has left.
    End,
}

/// Looks at the next request and leaves it in the queue.
async fn look(stream: &UnixStream, patience: Duration) -> Result<Seen, SessionError> {
    let mut field = [0; CDB_FIELD];
    let peek = || fdpass::peek(stream.as_fd(), 0, &mut field);
    let mut head = stream.async_io(Interest::READABLE, peek).await?;
    if head.length == 0 {
        return Ok(Seen::End);
    }
    let Ok(cdb) = Cdb::try_from(field) else {
        return Ok(Seen::Odd);
    };
    let length = request_length(&cdb) - CDB_FIELD;
    let sound = head.length == CDB_FIELD
        && head.descriptors.len() == 1
        && !head.truncated
        && usize::from(cdb.transfer_length()) <= DATA_MAXIMUM;
    let Some(device) = head.descriptors.pop().filter(|_| sound) else {
        return Ok(Seen::Odd);
    };
    let mut parameters = vec![0; length];
    if length > 0 {
        let window = &mut parameters[..];
        let peek = || match fdpass::peek(stream.as_fd(), CDB_FIELD, window)? {
            some if some.length > 0 && some.length < length && some.descriptors.is_empty() => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            seen => Ok(seen),
        };
        let body = timeout(patience, stream.async_io(Interest::READABLE, peek))
            .await
            .map_err(|_| SessionError::Stalled)??;
        if body.length == 0 {
            return Ok(Seen::End);
        }
        if !body.descriptors.is_empty() || body.truncated {
            return Ok(Seen::Odd);
        }
    }
    Ok(Seen::Whole(Request {
        cdb,
        parameters,
        device,
    }))
}

/// Takes so many bytes out of the queue, or as many as there are.
fn discard(stream: &UnixStream, mut length: usize) -> io::Result<()> {
    let mut buffer = [0; CDB_FIELD + DATA_MAXIMUM];
    while length > 0 && fdpass::queued(stream.as_fd())? > 0 {
        let window = length.min(buffer.len());
        match fdpass::receive(stream.as_fd(), &mut buffer[..window])?.length {
            0 => return Ok(()),
            taken => length -= taken,
        }
    }
    Ok(())
}
