//! The client's half of the protocol; it can also say what QEMU never would.

use super::PATIENCE;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use reservd::protocol::REPLY_HEADER;
use reservd::protocol::client::ReplyHeader;
use reservd::scsi::{Cdb, InAction, Outcome, PrIn, PrOut, SenseCode};
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A connection to the service.
pub struct Client(pub UnixStream);

/// What came back.
pub type Reply = Result<Outcome, End>;

/// Why nothing came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The service closed the connection between two replies.
    Closed,
    /// It said nothing in time.
    Silent,
}

impl Client {
    /// Connects; the service may not accept at once.
    pub fn connect(socket: &Path) -> Client {
        let stream = UnixStream::connect(socket).expect("a listening service");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a time-out");
        Client(stream)
    }

    /// Connects and exchanges the feature words.
    pub fn ready(socket: &Path) -> Client {
        let mut client = Client::connect(socket);
        client.handshake([0; 4]);
        client
    }

    /// Reads the service's feature word and sends this one.
    pub fn handshake(&mut self, features: [u8; 4]) {
        let mut word = [1; 4];
        self.0.read_exact(&mut word).expect("a feature word");
        assert_eq!(word, [0; 4]);
        self.send(&features, &[]);
    }

    /// Sends all of the bytes, with these files beside the first.
    pub fn send(&self, bytes: &[u8], files: &[&File]) {
        // A service that has hung up shows in the reply.
        let _ = self.try_send(bytes, files, MsgFlags::empty());
    }

    /// As [`Client::send`], with flags; stops at the first error.
    pub fn try_send(&self, mut bytes: &[u8], files: &[&File], flags: MsgFlags) -> nix::Result<()> {
        let raw: Vec<_> = files.iter().map(|file| file.as_raw_fd()).collect();
        let mut rights = match raw.is_empty() {
            true => Vec::new(),
            false => vec![ControlMessage::ScmRights(&raw)],
        };
        while !bytes.is_empty() {
            let sent = sendmsg::<()>(
                self.0.as_raw_fd(),
                &[IoSlice::new(bytes)],
                &rights,
                MsgFlags::MSG_NOSIGNAL | flags,
                None,
            )?;
            bytes = &bytes[sent..];
            rights.clear();
        }
        Ok(())
    }

    /// Ends its own direction.
    pub fn finish(&self) {
        self.0.shutdown(Shutdown::Write).expect("an open socket");
    }

    /// The next reply.
    pub fn reply(&mut self) -> Reply {
        let mut header = [0; REPLY_HEADER];
        let first = match self.0.read(&mut header) {
            Ok(0) => return Err(End::Closed),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Err(End::Closed),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(End::Silent),
            Err(error) => panic!("{error}"),
        };
        self.0
            .read_exact(&mut header[first..])
            .expect("a whole header");
        let header = ReplyHeader::parse(&header).expect("a header that keeps the protocol");
        let mut data = vec![0; header.payload];
        self.0.read_exact(&mut data).expect("a whole payload");
        Ok(header.with_data(data))
    }

    /// True when the service has sent nothing yet and the connection is open.
    pub fn hears_nothing(&mut self) -> bool {
        self.0.set_nonblocking(true).expect("a socket");
        let heard = self.0.read(&mut [0]);
        self.0.set_nonblocking(false).expect("a socket");
        heard.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Sends READ KEYS and waits for the reply.
    pub fn read_keys(&mut self, device: &File) -> Reply {
        self.send_cdb(&read_keys(), device);
        self.reply()
    }

    /// Sends a CDB beside its device.
    pub fn send_cdb(&self, cdb: &Cdb, device: &File) {
        self.send(cdb.as_wire_bytes(), &[device]);
    }

    /// Sends a PERSISTENT RESERVE OUT the way QEMU does.
    pub fn send_out(&self, command: &PrOut, device: &File) {
        let (cdb, parameters) = command.encode();
        self.send_cdb(&cdb, device);
        self.send(&parameters, &[]);
    }

    /// Sends a PERSISTENT RESERVE OUT and waits for the reply.
    pub fn out(&mut self, command: &PrOut, device: &File) -> Reply {
        self.send_out(command, device);
        self.reply()
    }

    /// How long to wait for a reply.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.0.set_read_timeout(Some(patience))
    }
}

/// READ KEYS with room for a few.
pub fn read_keys() -> Cdb {
    PrIn {
        action: InAction::ReadKeys,
        allocation_length: 512,
    }
    .cdb()
}

/// The sense of a reply that is a CHECK CONDITION.
pub fn sense(reply: &Reply) -> Option<SenseCode> {
    reply.as_ref().ok().and_then(Outcome::sense_code)
}
