//! Bytes and descriptors, cut anywhere, into the decoder; what comes out goes
//! through command parsing and back out as a reply.
//!
//! Input: steps of one control byte, then as many bytes as its low six bits
//! say; its high two bits are the number of descriptors beside them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reservd::protocol::client::ReplyHeader;
use reservd::protocol::codec::{Decoder, Request, Violation, encode_reply};
use reservd::protocol::{CDB_FIELD, DATA_MAXIMUM, FEATURES_LENGTH, REPLY_HEADER};
use reservd::scsi::cdb::Direction;
use reservd::scsi::{Command, Outcome, SenseCode, Status};

fuzz_target!(|input: &[u8]| {
    let (requests, violation) = whole(input);
    let cut = bytewise(input);
    assert_eq!((&requests, violation), (&cut.0, cut.1), "cutting matters");
    for request in &requests {
        check(request);
    }
});

/// The steps of the input.
fn steps(mut input: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    std::iter::from_fn(move || {
        let (control, rest) = input.split_first()?;
        let length = usize::from(control & 0x3f).min(rest.len());
        let (bytes, rest) = rest.split_at(length);
        input = rest;
        // A descriptor needs a byte to come with.
        let descriptors = if bytes.is_empty() { 0 } else { control >> 6 };
        Some((usize::from(descriptors), bytes))
    })
}

type Decoded = (Vec<Request<()>>, Option<Violation>);

/// Decodes in chunks as long as the decoder takes.
fn whole(input: &[u8]) -> Decoded {
    decode(input, usize::MAX)
}

/// Decodes byte by byte.
fn bytewise(input: &[u8]) -> Decoded {
    decode(input, 1)
}

fn decode(input: &[u8], chunk: usize) -> Decoded {
    let mut decoder = Decoder::<()>::default();
    let mut requests = Vec::new();
    let mut taken = 0;
    let mut between = false;
    for (mut descriptors, mut bytes) in steps(input) {
        while !bytes.is_empty() {
            assert_eq!(decoder.is_idle(), between);
            let wanted = decoder.wanted();
            assert!((1..=DATA_MAXIMUM).contains(&wanted), "wants {wanted}");
            let (now, rest) = bytes.split_at(wanted.min(chunk).min(bytes.len()));
            bytes = rest;
            match decoder.feed(now, vec![(); std::mem::take(&mut descriptors)]) {
                Ok(request) => {
                    taken += now.len();
                    between = request.is_some() || taken == FEATURES_LENGTH;
                    requests.extend(request);
                }
                Err(violation) => return (requests, Some(violation)),
            }
        }
    }
    let most = input.len().saturating_sub(FEATURES_LENGTH) / CDB_FIELD;
    assert!(requests.len() <= most, "requests out of nothing");
    (requests, None)
}

/// What holds for every request that gets this far.
fn check(request: &Request<()>) {
    let cdb = &request.cdb;
    let length = usize::from(cdb.transfer_length());
    assert!(length <= DATA_MAXIMUM);
    let sent = match cdb.direction() {
        Direction::In => 0,
        Direction::Out => length,
    };
    assert_eq!(request.parameters.len(), sent);
    match cdb.command(&request.parameters) {
        Ok(Command::In(command)) => {
            assert_eq!(usize::from(command.allocation_length), length);
            assert_eq!(command.cdb().command(&[]), Ok(Command::In(command)));
        }
        Ok(Command::Out(command)) => {
            let (cdb, parameters) = command.encode();
            assert_eq!(parameters.len(), sent, "nothing is added or lost");
            assert_eq!(cdb.command(&parameters), Ok(Command::Out(command)));
        }
        Err(code) => assert_eq!(code.key, 5, "ILLEGAL REQUEST: {code}"),
    }

    let fill = vec![0xa5; 2 * DATA_MAXIMUM];
    for outcome in [
        Outcome::good(fill[..length / 2].to_vec()),
        Outcome::good(fill),
        Outcome::status(Status::from(cdb.as_wire_bytes()[9])),
        Outcome::check(SenseCode::TARGET_FAILURE),
    ] {
        let reply = encode_reply(cdb, &outcome);
        let (head, payload) = reply.split_at(REPLY_HEADER);
        let head: &[u8; REPLY_HEADER] = head.try_into().expect("a whole header");
        let header = ReplyHeader::parse(head).expect("a header that keeps the protocol");
        assert_eq!(header.payload, payload.len());
        assert!(payload.len() <= length, "more than was asked for");
        if cdb.direction() == Direction::Out || !outcome.is_good() {
            assert!(payload.is_empty(), "data without a reason");
        }
        let received = header.with_data(payload.to_vec());
        assert_eq!(received.status, outcome.status);
        assert_eq!(received.sense_code(), outcome.sense_code());
        assert!(outcome.data.starts_with(payload));
    }
}
