//! A client of the helper socket: asks what QEMU would ask, and waits for it.

#![forbid(unsafe_code)]

use crate::protocol::client::ReplyHeader;
use crate::protocol::codec::SUPPORTED_FEATURES;
use crate::protocol::{DATA_MAXIMUM, FEATURES_LENGTH, REPLY_HEADER};
use crate::scsi::cdb::Direction;
use crate::scsi::pr::{Capabilities, FullStatus, KeyList, MalformedData, ReservationData};
use crate::scsi::{Cdb, InAction, OutAction, Outcome, PrOut, SenseCode};
use crate::sys::fdpass;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr};
use nix::sys::socket::{connect, setsockopt, socket, sockopt};
use nix::sys::time::TimeVal;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long to wait for an answer. A helper answers well before (reservd within
/// its deadline, 15 seconds unless configured otherwise), so this only ends the
/// wait for one that hangs.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Room for all data the protocol can carry; 8192 fits 16 bits.
const ALLOCATION: u16 = DATA_MAXIMUM as u16;

/// A connection to a helper.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    timeout: Duration,
    attentions: Vec<SenseCode>,
}

/// Why a command brought no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection failed. Where the command was a PERSISTENT RESERVE OUT,
    /// nobody knows whether it was executed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The helper answered, and not with GOOD.
    #[error("{0}")]
    Answered(Outcome),
    /// GOOD, but with data that is none.
    #[error(transparent)]
    Malformed(#[from] MalformedData),
}

impl Client {
    /// Connects to a helper and waits for its greeting, with [`TIMEOUT`] for
    /// this and each command.
    ///
    /// # Errors
    /// Those of connect(2); `TimedOut` for a helper that does not answer.
    pub fn connect(path: &Path) -> io::Result<Self> {
        Self::connect_within(path, TIMEOUT)
    }

    /// As [`Client::connect`], with a time limit of its own.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_within(path: &Path, timeout: Duration) -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        // Bounds connect(2) too, which waits while the backlog is full.
        let limit = TimeVal::new(timeout.as_secs() as i64, timeout.subsec_micros().into());
        setsockopt(&socket, sockopt::SendTimeout, &limit)?;
        let address = UnixAddr::new(path)?;
        connect(socket.as_raw_fd(), &address).map_err(|error| silent(error.into(), timeout))?;
        let mut client = Client {
            stream: UnixStream::from(socket),
            timeout,
            attentions: Vec::new(),
        };
        client.greet()?;
        Ok(client)
    }

    /// Takes the feature bits on offer and wants none.
    fn greet(&mut self) -> io::Result<()> {
        let mut offered = [0; FEATURES_LENGTH];
        self.receive(&mut offered, Instant::now() + self.timeout)?;
        self.send(&SUPPORTED_FEATURES.to_be_bytes(), None)
    }

    /// Sends one command for this device and waits for its outcome. After an
    /// error the connection is closed and all later commands fail.
    ///
    /// # Errors
    /// `InvalidInput` where the CDB announces another length than that of the
    /// parameters; then nothing was sent. All others leave the fate of the
    /// command unknown: those of the socket, `TimedOut`, `UnexpectedEof` for a
    /// helper that hangs up, `InvalidData` for an answer against the protocol.
    pub fn run(
        &mut self,
        device: BorrowedFd<'_>,
        cdb: &Cdb,
        parameters: &[u8],
    ) -> io::Result<Outcome> {
        let announced = match cdb.direction() {
            Direction::In => 0,
            Direction::Out => usize::from(cdb.transfer_length()),
        };
        if announced != parameters.len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the parameter list is not as long as the CDB says",
            ));
        }
        self.exchange(device, cdb, parameters).inspect_err(|_| {
            // What arrives from now on could be the answer to this command: it
            // must not be taken for that of another. Closed already is fine.
            let _ = self.stream.shutdown(Shutdown::Both);
        })
    }

    fn exchange(
        &mut self,
        device: BorrowedFd<'_>,
        cdb: &Cdb,
        parameters: &[u8],
    ) -> io::Result<Outcome> {
        let until = Instant::now() + self.timeout;
        self.send(cdb.as_wire_bytes(), Some(device))?;
        self.send(parameters, None)?;
        let mut header = [0; REPLY_HEADER];
        self.receive(&mut header, until)?;
        let header = ReplyHeader::parse(&header)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let mut data = vec![0; header.payload];
        self.receive(&mut data, until)?;
        Ok(header.with_data(data))
    }

    fn send(&self, mut bytes: &[u8], mut device: Option<BorrowedFd<'_>>) -> io::Result<()> {
        while !bytes.is_empty() {
            match fdpass::send(self.stream.as_fd(), bytes, device) {
                Ok(sent) => {
                    bytes = &bytes[sent..];
                    device = None;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(silent(error, self.timeout)),
            }
        }
        Ok(())
    }

    fn receive(&mut self, mut buffer: &mut [u8], until: Instant) -> io::Result<()> {
        while !buffer.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(silent(io::ErrorKind::WouldBlock.into(), self.timeout));
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(buffer) {
                Ok(0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the helper closed the connection",
                    ));
                }
                Ok(length) => buffer = &mut buffer[length..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(silent(error, self.timeout)),
            }
        }
        Ok(())
    }

    /// READ KEYS.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn read_keys(&mut self, device: BorrowedFd<'_>) -> Result<KeyList, ClientError> {
        let data = self.read(device, InAction::ReadKeys, ALLOCATION)?;
        Ok(KeyList::parse(&data)?)
    }

    /// READ RESERVATION.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn read_reservation(
        &mut self,
        device: BorrowedFd<'_>,
    ) -> Result<ReservationData, ClientError> {
        let length = ReservationData::LENGTH;
        let data = self.read(device, InAction::ReadReservation, length)?;
        Ok(ReservationData::parse(&data)?)
    }

    /// REPORT CAPABILITIES.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn capabilities(&mut self, device: BorrowedFd<'_>) -> Result<Capabilities, ClientError> {
        let length = Capabilities::LENGTH;
        let data = self.read(device, InAction::ReportCapabilities, length)?;
        Ok(Capabilities::parse(&data)?)
    }

    /// READ FULL STATUS, as much as the protocol can carry.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn full_status(&mut self, device: BorrowedFd<'_>) -> Result<FullStatus, ClientError> {
        let data = self.read(device, InAction::ReadFullStatus, ALLOCATION)?;
        Ok(FullStatus::parse(&data)?)
    }

    /// PERSISTENT RESERVE OUT.
    ///
    /// # Errors
    /// [`ClientError`]; a unit attention is one, save for the registers, which
    /// are sent once more.
    pub fn out(&mut self, device: BorrowedFd<'_>, command: &PrOut) -> Result<(), ClientError> {
        let (cdb, parameters) = command.encode();
        let registers = matches!(
            command.action,
            OutAction::Register | OutAction::RegisterAndIgnore
        );
        let outcome = match registers {
            true => self.run_past_attention(device, &cdb, &parameters)?,
            false => self.run(device, &cdb, &parameters)?,
        };
        good(outcome).map(drop)
    }

    /// The unit attentions that did not end their command, in the order they
    /// came, since this was last called.
    pub fn take_attentions(&mut self) -> Vec<SenseCode> {
        std::mem::take(&mut self.attentions)
    }

    fn read(
        &mut self,
        device: BorrowedFd<'_>,
        action: InAction,
        length: u16,
    ) -> Result<Vec<u8>, ClientError> {
        let cdb = Cdb::pr_in(action, length);
        good(self.run_past_attention(device, &cdb, &[])?)
    }

    /// A command that ends with UNIT ATTENTION was not executed; it goes out
    /// once more.
    fn run_past_attention(
        &mut self,
        device: BorrowedFd<'_>,
        cdb: &Cdb,
        parameters: &[u8],
    ) -> io::Result<Outcome> {
        let outcome = self.run(device, cdb, parameters)?;
        match outcome.sense_code() {
            Some(code) if code.is_unit_attention() => {
                self.attentions.push(code);
                self.run(device, cdb, parameters)
            }
            _ => Ok(outcome),
        }
    }
}

fn good(outcome: Outcome) -> Result<Vec<u8>, ClientError> {
    match outcome.is_good() {
        true => Ok(outcome.data),
        false => Err(ClientError::Answered(outcome)),
    }
}

/// Says in words that a socket's time limit was reached.
fn silent(error: io::Error, timeout: Duration) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {timeout:?}"),
        ),
        _ => error,
    }
}

#[cfg(test)]
mod tests;
