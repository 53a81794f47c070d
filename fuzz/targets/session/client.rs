//! The client: does what the script says, and knows what must come back.

use super::host::{Devices, Permission};
use super::script::{Script, Step};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use reservd::protocol::client::ReplyHeader;
use reservd::protocol::codec::{Decoder, Request};
use reservd::protocol::{FEATURES_LENGTH, REPLY_HEADER};
use reservd::scsi::cdb::Direction;
use std::io::{ErrorKind, IoSlice};
use std::os::fd::AsRawFd;
use tokio::net::UnixStream;
use tokio::task::yield_now;

pub struct Client<'d> {
    stream: Option<UnixStream>,
    devices: &'d Devices,
    /// The same decoder as the service's, fed with what was sent: a descriptor
    /// counts for the field that the first byte of its message lies in.
    model: Decoder<Permission>,
    broken: bool,
    expected: Vec<Request<Permission>>,
}

impl<'d> Client<'d> {
    pub fn new(stream: UnixStream, devices: &'d Devices) -> Self {
        Client {
            stream: Some(stream),
            devices,
            model: Decoder::default(),
            broken: false,
            expected: Vec::new(),
        }
    }

    pub async fn play(&mut self, script: Script<'_>) {
        for step in script {
            let alive = match step {
                Step::Wait => {
                    yield_now().await;
                    true
                }
                Step::Send(bytes, devices) => self.send(&bytes, devices),
                Step::Finish => false,
                Step::Close => {
                    self.stream = None;
                    false
                }
            };
            if !alive {
                return;
            }
        }
    }

    /// False when nothing more can be sent.
    fn send(&mut self, bytes: &[u8], devices: &[u8]) -> bool {
        let Some(stream) = &self.stream else {
            return false;
        };
        if bytes.is_empty() {
            return true;
        }
        let chosen: Vec<_> = devices
            .iter()
            .map(|choice| &self.devices.all[usize::from(*choice) % self.devices.all.len()])
            .collect();
        let raw: Vec<_> = chosen.iter().map(|(file, _)| file.as_raw_fd()).collect();
        let rights = match raw.is_empty() {
            true => vec![],
            false => vec![ControlMessage::ScmRights(&raw)],
        };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let parts = [IoSlice::new(bytes)];
        match sendmsg::<()>(stream.as_raw_fd(), &parts, &rights, flags, None) {
            Ok(sent) => {
                self.feed(
                    &bytes[..sent],
                    chosen.iter().map(|(_, good)| *good).collect(),
                );
                sent == bytes.len()
            }
            // The socket is full, or the service has hung up.
            Err(_) => false,
        }
    }

    fn feed(&mut self, mut bytes: &[u8], mut descriptors: Vec<Permission>) {
        while !bytes.is_empty() && !self.broken {
            let (now, rest) = bytes.split_at(self.model.wanted().min(bytes.len()));
            bytes = rest;
            match self.model.feed(now, std::mem::take(&mut descriptors)) {
                Ok(request) => self.expected.extend(request),
                Err(_) => self.broken = true,
            }
        }
    }

    /// Ends its direction and checks everything that came and comes back:
    /// exactly one reply for every whole request.
    pub async fn check(mut self) {
        let Some(stream) = self.stream.take() else {
            return;
        };
        // The service may have hung up first.
        let _ = nix::sys::socket::shutdown(stream.as_raw_fd(), nix::sys::socket::Shutdown::Write);
        let received = read_all(&stream).await;
        let (greeting, mut rest) = received.split_at(FEATURES_LENGTH);
        assert_eq!(greeting, [0; 4]);
        for request in &self.expected {
            rest = check_reply(request, rest);
        }
        assert!(
            rest.is_empty(),
            "{} bytes that nobody asked for",
            rest.len()
        );
    }
}

async fn read_all(stream: &UnixStream) -> Vec<u8> {
    let mut received = Vec::new();
    let mut buffer = [0; 16384];
    loop {
        stream.readable().await.expect("a socket");
        match stream.try_read(&mut buffer) {
            Ok(0) => return received,
            Ok(length) => received.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // It closed with bytes of ours unread; all of its own came first.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return received,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Checks one reply; returns what follows it.
fn check_reply<'r>(request: &Request<Permission>, received: &'r [u8]) -> &'r [u8] {
    let cdb = &request.cdb;
    let (header, rest) = received
        .split_first_chunk::<REPLY_HEADER>()
        .unwrap_or_else(|| panic!("no reply to {cdb:?}"));
    let header = ReplyHeader::parse(header).expect("a header that keeps the protocol");
    assert!(header.payload <= usize::from(cdb.transfer_length()));
    let (payload, rest) = rest.split_at(header.payload);
    let outcome = header.with_data(payload.to_vec());
    if outcome.is_good() {
        let allowed = match cdb.direction() {
            Direction::In => request.device != Permission::Nothing,
            Direction::Out => request.device == Permission::Everything,
        };
        assert!(allowed, "{cdb:?} is GOOD with {:?}", request.device);
    }
    if !outcome.is_good() || cdb.direction() == Direction::Out {
        assert!(payload.is_empty());
    }
    rest
}
