//! A client against helpers that misbehave.

use super::*;
use crate::protocol::CDB_FIELD;
use crate::protocol::codec::encode_reply;
use crate::scsi::{ReservationKey, ReservationType, ScopeType};
use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::thread::{self, JoinHandle};

const PATIENCE: Duration = Duration::from_millis(100);

/// A helper that does as told with its first client, and the client's view.
fn with_helper<T>(
    helper: impl FnOnce(&mut UnixStream) + Send + 'static,
    client: impl FnOnce(io::Result<Client>) -> T,
) -> T {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let helper: JoinHandle<()> = thread::spawn(move || helper(&mut listener.accept().unwrap().0));
    let result = client(Client::connect_within(&path, PATIENCE));
    helper.join().unwrap();
    result
}

fn shake_hands(stream: &mut UnixStream) {
    stream.write_all(&[0; FEATURES_LENGTH]).unwrap();
    stream.read_exact(&mut [0; FEATURES_LENGTH]).unwrap();
}

/// Reads one CDB without parameters and sends a reply.
fn reply(stream: &mut UnixStream, outcome: &Outcome) {
    let mut cdb = [0; CDB_FIELD];
    stream.read_exact(&mut cdb).unwrap();
    let cdb = Cdb::try_from(cdb).unwrap();
    let mut list = vec![0; usize::from(cdb.transfer_length())];
    if cdb.direction() == Direction::Out {
        stream.read_exact(&mut list).unwrap();
    }
    stream.write_all(&encode_reply(&cdb, outcome)).unwrap();
}

/// Waits until the client hangs up.
fn hang(stream: &mut UnixStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

fn null() -> File {
    File::open("/dev/null").unwrap()
}

fn kind(result: Result<KeyList, ClientError>) -> io::ErrorKind {
    match result {
        Err(ClientError::Io(error)) => error.kind(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_helper_without_a_greeting_is_given_up() {
    let error = with_helper(hang, |client| client.unwrap_err());
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(error.to_string(), "no answer within 100ms");
}

#[test]
fn a_full_backlog_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    // Shrinks the backlog to room for one.
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let _waiting = UnixStream::connect(&path).unwrap();
    let error = Client::connect_within(&path, PATIENCE).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn silence_ends_a_command_and_the_connection() {
    let helper = |stream: &mut UnixStream| {
        shake_hands(stream);
        stream.read_exact(&mut [0; CDB_FIELD]).unwrap();
        stream.write_all(&[0; 50]).unwrap();
        hang(stream);
    };
    with_helper(helper, |client| {
        let mut client = client.unwrap();
        assert_eq!(
            kind(client.read_keys(null().as_fd())),
            io::ErrorKind::TimedOut
        );
        assert_eq!(
            kind(client.read_keys(null().as_fd())),
            io::ErrorKind::BrokenPipe
        );
    });
}

#[test]
fn a_helper_that_hangs_up_or_lies_is_an_error() {
    let hangs_up = |stream: &mut UnixStream| {
        shake_hands(stream);
        stream.read_exact(&mut [0; CDB_FIELD]).unwrap();
    };
    with_helper(hangs_up, |client| {
        let keys = client.unwrap().read_keys(null().as_fd());
        assert_eq!(kind(keys), io::ErrorKind::UnexpectedEof);
    });
    let lies = |stream: &mut UnixStream| {
        shake_hands(stream);
        stream.read_exact(&mut [0; CDB_FIELD]).unwrap();
        stream.write_all(&[0xff; REPLY_HEADER]).unwrap();
    };
    with_helper(lies, |client| {
        let keys = client.unwrap().read_keys(null().as_fd());
        assert_eq!(kind(keys), io::ErrorKind::InvalidData);
    });
}

#[test]
fn a_parameter_list_of_another_length_is_not_sent() {
    let helper = |stream: &mut UnixStream| {
        shake_hands(stream);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty());
    };
    with_helper(helper, |client| {
        let cdb = Cdb::pr_out(OutAction::Register, ScopeType(0), 24);
        let error = client.unwrap().run(null().as_fd(), &cdb, &[0; 25]);
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    });
}

#[test]
fn reads_and_registers_pass_one_unit_attention() {
    let attention = || Outcome::check(SenseCode::POWER_ON_OR_RESET);
    let helper = move |stream: &mut UnixStream| {
        shake_hands(stream);
        let keys = KeyList {
            generation: 1,
            keys: vec![ReservationKey(0xa1)],
            additional_length: 8,
        };
        reply(stream, &attention());
        reply(stream, &Outcome::good(keys.encode()));
        reply(stream, &attention());
        reply(stream, &attention());
        reply(stream, &attention());
    };
    with_helper(helper, |client| {
        let (mut client, null) = (client.unwrap(), null());
        let keys = client.read_keys(null.as_fd()).unwrap();
        assert_eq!(keys.keys, [ReservationKey(0xa1)]);
        let key = ReservationKey(0xa1);
        let register = PrOut::register(ReservationKey::ZERO, key, Default::default());
        let reserve = PrOut::basic(
            OutAction::Reserve,
            ReservationType::WriteExclusive.into(),
            key,
            ReservationKey::ZERO,
        );
        for command in [register, reserve] {
            let Err(ClientError::Answered(outcome)) = client.out(null.as_fd(), &command) else {
                panic!("a second unit attention is the answer")
            };
            assert_eq!(outcome, attention());
        }
        assert_eq!(client.take_attentions().len(), 2);
        assert_eq!(client.take_attentions(), []);
    });
}
