//! How far a connection has come, kept where a killed process does not take it
//! along: in a memory file that the service manager holds beside the connection.
//!
//! A request stays in the socket's queue until its reply is written here. Then it
//! is taken out, and the reply goes to the client by sendfile(2), which moves the
//! file's offset in the same system call. So at any moment the file, its offset
//! and the queue tell together what the next process has to do, and there is no
//! moment at which a reply may or may not have been sent:
//!
//! | record | killed | the next process |
//! |---|---|---|
//! | idle | before the command was run | takes the request from the queue |
//! | running | while it was run | a PERSISTENT RESERVE IN is run again, five times at most; the fate of an OUT is unknown |
//! | replying | while it was answered | takes the request out of the queue if it is there and nothing was sent; sends the rest |
//!
//! This counts on a client that has one request at a time, as the protocol wants.
//! One that sends more ahead only confuses its own replies.

use crate::protocol::{CDB_FIELD, DATA_MAXIMUM, REPLY_HEADER};
use crate::scsi::Cdb;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::sendfile::sendfile;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// First bytes of the record, with the number of its layout.
const MAGIC: [u8; 8] = *b"rsvdled\x01";
const RECORD: usize = 8 + 4 + 4 + 4 + CDB_FIELD;
/// Where the reply begins; the record before it lies within one page, so that a
/// kill cannot cut it.
const REPLY_AT: u64 = 64;

const IDLE: u32 = 0;
const RUNNING: u32 = 1;
const REPLYING: u32 = 2;

/// What a connection is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing; the next request may be in the queue.
    Idle,
    /// A command is being run; its request is in the queue.
    Running {
        /// The command.
        cdb: Cdb,
        /// Processes that ended before this one while they ran it.
        ended: u32,
    },
    /// A reply is on its way.
    Replying {
        /// Bytes of the request, which may still be in the queue.
        request: usize,
        /// Bytes of the reply.
        reply: usize,
    },
}

impl Stage {
    fn encode(self) -> [u8; RECORD] {
        let (word, request, reply, cdb) = match self {
            Stage::Idle => (IDLE, 0, 0, [0; CDB_FIELD]),
            Stage::Running { cdb, ended } => (RUNNING, ended, 0, *cdb.as_wire_bytes()),
            Stage::Replying { request, reply } => {
                (REPLYING, request as u32, reply as u32, [0; CDB_FIELD])
            }
        };
        let mut record = [0; RECORD];
        record[..8].copy_from_slice(&MAGIC);
        record[8..12].copy_from_slice(&word.to_be_bytes());
        record[12..16].copy_from_slice(&request.to_be_bytes());
        record[16..20].copy_from_slice(&reply.to_be_bytes());
        record[20..].copy_from_slice(&cdb);
        record
    }

    /// `None` for what another version wrote, or nobody.
    fn parse(record: &[u8; RECORD]) -> Option<Self> {
        let word = |at: usize| {
            u32::from_be_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]])
        };
        let mut cdb = [0; CDB_FIELD];
        cdb.copy_from_slice(&record[20..]);
        let (request, reply) = (word(12) as usize, word(16) as usize);
        let sound = request <= CDB_FIELD + DATA_MAXIMUM && reply <= REPLY_HEADER + DATA_MAXIMUM;
        match word(8) {
            _ if record[..8] != MAGIC || !sound => None,
            IDLE => Some(Stage::Idle),
            RUNNING => Cdb::try_from(cdb).ok().map(|cdb| Stage::Running {
                cdb,
                ended: word(12),
            }),
            REPLYING => Some(Stage::Replying { request, reply }),
            _ => None,
        }
    }
}

/// The file with the record and the reply.
#[derive(Debug)]
pub struct Ledger(File);

impl Ledger {
    /// For a client between two requests.
    ///
    /// # Errors
    /// Those of memfd_create(2) and pwrite(2).
    pub fn new() -> io::Result<Self> {
        let ledger = Ledger(memfd_create(c"reservd-ledger", MFdFlags::MFD_CLOEXEC)?.into());
        ledger.mark(Stage::Idle)?;
        Ok(ledger)
    }

    /// One that an earlier process has left, and what it says.
    ///
    /// # Errors
    /// `InvalidData` for any other file.
    pub fn adopt(file: OwnedFd) -> io::Result<(Self, Stage)> {
        let ledger = Ledger(file.into());
        let mut record = [0; RECORD];
        ledger.0.read_exact_at(&mut record, 0)?;
        let stage = Stage::parse(&record).ok_or(io::ErrorKind::InvalidData)?;
        Ok((ledger, stage))
    }

    /// A command is about to be run, which so many processes did not survive.
    ///
    /// # Errors
    /// Those of pwrite(2).
    pub fn run(&self, cdb: Cdb, ended: u32) -> io::Result<()> {
        self.mark(Stage::Running { cdb, ended })
    }

    /// A reply is there, to a request of that many bytes.
    ///
    /// # Errors
    /// Those of lseek(2) and pwrite(2).
    pub fn reply(&mut self, request: usize, reply: &[u8]) -> io::Result<()> {
        // The offset means nothing before the mark.
        self.0.seek(SeekFrom::Start(REPLY_AT))?;
        self.0.write_all_at(reply, REPLY_AT)?;
        self.mark(Stage::Replying {
            request,
            reply: reply.len(),
        })
    }

    /// How much of the reply was sent.
    ///
    /// # Errors
    /// Those of lseek(2).
    pub fn sent(&mut self) -> io::Result<usize> {
        Ok(self.0.stream_position()?.saturating_sub(REPLY_AT) as usize)
    }

    /// Sends up to `length` more bytes of the reply; returns how many.
    ///
    /// # Errors
    /// Those of sendfile(2), `WouldBlock` while the client does not read.
    pub fn send(&self, socket: BorrowedFd<'_>, length: usize) -> io::Result<usize> {
        match sendfile(socket, &self.0, None, length)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            sent => Ok(sent),
        }
    }

    fn mark(&self, stage: Stage) -> io::Result<()> {
        self.0.write_all_at(&stage.encode(), 0)
    }
}

impl AsFd for Ledger {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::InAction;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn records_survive_and_strange_ones_do_not() {
        let cdb = Cdb::pr_in(InAction::ReadKeys, 512);
        for stage in [
            Stage::Idle,
            Stage::Running { cdb, ended: 2 },
            Stage::Replying {
                request: 40,
                reply: 104,
            },
        ] {
            assert_eq!(Stage::parse(&stage.encode()), Some(stage));
        }
        assert_eq!(Stage::parse(&[0; RECORD]), None);
        let mut other_version = Stage::Idle.encode();
        other_version[7] += 1;
        assert_eq!(Stage::parse(&other_version), None);
        let mut no_such_stage = Stage::Idle.encode();
        no_such_stage[11] = 9;
        assert_eq!(Stage::parse(&no_such_stage), None);
    }

    #[test]
    fn the_offset_says_what_was_sent_and_outlives_its_writer() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut ledger = Ledger::new().unwrap();
        ledger.reply(16, &[7; 300]).unwrap();
        assert_eq!(ledger.sent().unwrap(), 0);
        assert_eq!(ledger.send(ours.as_fd(), 100).unwrap(), 100);
        let left = ledger.as_fd().try_clone_to_owned().unwrap();
        drop(ledger);
        let (mut ledger, stage) = Ledger::adopt(left).unwrap();
        assert_eq!(
            stage,
            Stage::Replying {
                request: 16,
                reply: 300
            }
        );
        assert_eq!(ledger.sent().unwrap(), 100);
        assert_eq!(ledger.send(ours.as_fd(), 200).unwrap(), 200);
        assert_eq!(ledger.sent().unwrap(), 300);
        let mut got = [0; 300];
        theirs.read_exact(&mut got).unwrap();
        assert_eq!(got, [7; 300]);
        // The next reply starts anew.
        ledger.reply(16, &[8; 104]).unwrap();
        assert_eq!(ledger.sent().unwrap(), 0);
    }

    #[test]
    fn a_full_socket_takes_what_it_can_and_the_offset_keeps_count() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut ledger = Ledger::new().unwrap();
        let (mut sent, mut got) = (0, 0);
        for round in 0..200u8 {
            ledger.reply(16, &[round; 8000]).unwrap();
            while ledger.sent().unwrap() < 8000 {
                let left = 8000 - ledger.sent().unwrap();
                match ledger.send(ours.as_fd(), left) {
                    Ok(length) => sent += length,
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                        let mut buffer = [0; 3000];
                        got += theirs.read(&mut buffer).unwrap();
                    }
                }
            }
        }
        while let Ok(length) = theirs.read(&mut [0; 3000]) {
            got += length;
        }
        assert_eq!(sent, 200 * 8000);
        assert_eq!(got, sent);
    }
}
