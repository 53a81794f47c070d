//! The client's half of the helper protocol, in raw bytes: it can say what QEMU would never say.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// Longer than anything a healthy helper needs, shorter than anybody's patience with a hung test.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct Client(UnixStream);

/// What came back for one request.
#[derive(Debug, PartialEq)]
pub enum Answer {
    Reply {
        status: u32,
        sense: Vec<u8>,
        payload: Vec<u8>,
    },
    /// The connection ended cleanly before the first byte of a reply.
    Closed,
    /// Nothing at all within the time allowed.
    Silence,
    /// A reply that breaks the protocol.
    Broken(String),
}

impl Client {
    pub fn connect(socket: &Path) -> io::Result<Client> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client(stream))
    }

    /// Connects and exchanges the feature words, which must be zero both ways.
    pub fn ready(socket: &Path) -> io::Result<Client> {
        let mut client = Client::connect(socket)?;
        client.handshake([0; 4])?;
        Ok(client)
    }

    pub fn handshake(&mut self, requested: [u8; 4]) -> io::Result<()> {
        let mut supported = [0; 4];
        self.0.read_exact(&mut supported)?;
        if supported != [0; 4] {
            return Err(io::Error::other(format!(
                "supported features {supported:02x?}, not none"
            )));
        }
        self.0.write_all(&requested)
    }

    /// One sendmsg, with the descriptors attached to it. A helper that has hung up is not an error yet: its answer is.
    pub fn send(&mut self, mut bytes: &[u8], fds: &[BorrowedFd]) -> io::Result<()> {
        let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let mut rights = if raw.is_empty() {
            vec![]
        } else {
            vec![ControlMessage::ScmRights(&raw)]
        };
        while !bytes.is_empty() {
            match sendmsg::<()>(
                self.0.as_raw_fd(),
                &[IoSlice::new(bytes)],
                &rights,
                MsgFlags::MSG_NOSIGNAL,
                None,
            ) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(nix::Error::EPIPE | nix::Error::ECONNRESET) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            rights.clear();
        }
        Ok(())
    }

    pub fn finish_writing(&self) -> io::Result<()> {
        self.0.shutdown(std::net::Shutdown::Write)
    }

    pub fn answer(&mut self) -> Answer {
        self.answer_within(PATIENCE)
    }

    pub fn answer_within(&mut self, patience: Duration) -> Answer {
        self.0
            .set_read_timeout(Some(patience))
            .expect("a positive timeout");
        let mut head = [0; 104];
        match self.fill(&mut head) {
            Ok(104) => {}
            Ok(0) => return Answer::Closed,
            Ok(n) => return Answer::Broken(format!("{n} bytes of a reply, then the end")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Answer::Silence,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Answer::Closed,
            Err(error) => return Answer::Broken(error.to_string()),
        }
        let word =
            |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (status, size) = (word(0), word(4));
        if size > 8192 {
            return Answer::Broken(format!("payload size {size:#x}"));
        }
        let mut payload = vec![0; size as usize];
        match self.fill(&mut payload) {
            Ok(n) if n == payload.len() => Answer::Reply {
                status,
                sense: head[8..].to_vec(),
                payload,
            },
            Ok(n) => Answer::Broken(format!("{n} bytes of a payload of {size}, then the end")),
            Err(error) => Answer::Broken(format!("payload: {error}")),
        }
    }

    /// True if more bytes lie unread.
    pub fn has_more(&mut self) -> bool {
        self.0.set_nonblocking(true).expect("fcntl on a socket");
        let more = matches!(self.0.read(&mut [0; 1]), Ok(1));
        self.0.set_nonblocking(false).expect("fcntl on a socket");
        more
    }

    /// Reads until the buffer is full or the stream ends; says how far it came.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut at = 0;
        while at < buffer.len() {
            match self.0.read(&mut buffer[at..]) {
                Ok(0) => break,
                Ok(n) => at += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(at)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Reply {
                status,
                sense,
                payload,
            } => {
                match status {
                    0x00 => write!(f, "GOOD")?,
                    0x02 => write!(f, "CHECK CONDITION")?,
                    0x08 => write!(f, "BUSY")?,
                    0x18 => write!(f, "RESERVATION CONFLICT")?,
                    0x28 => write!(f, "TASK SET FULL")?,
                    other => write!(f, "status {other:#x}")?,
                }
                if let Some(end) = sense.iter().rposition(|&byte| byte != 0) {
                    write!(f, " sense {}", Hex(&sense[..=end]))?;
                }
                match payload.as_slice() {
                    [] => Ok(()),
                    short if short.len() <= 16 => write!(f, " data {}", Hex(short)),
                    long => write!(f, " data[{}] {}…", long.len(), Hex(&long[..16])),
                }
            }
            Answer::Closed => write!(f, "closed"),
            Answer::Silence => write!(f, "no answer"),
            Answer::Broken(how) => write!(f, "{how}"),
        }
    }
}

pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
