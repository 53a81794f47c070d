//! Parameter data of PERSISTENT RESERVE IN as a device may send it, and the
//! TransportIDs in it. The first byte chooses, the rest is the data.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reservd::scsi::TransportId;
use reservd::scsi::pr::{Capabilities, FullStatus, KeyList, ReservationData};

fuzz_target!(|input: &[u8]| {
    let Some((choice, data)) = input.split_first() else {
        return;
    };
    match choice % 5 {
        0 => transport_ids(data),
        1 => full_status(data),
        2 => keys(data),
        3 => {
            if let Ok(reservation) = ReservationData::parse(data) {
                let again = ReservationData::parse(&reservation.encode());
                assert_eq!(again, Ok(reservation));
            }
        }
        _ => {
            if let Ok(capabilities) = Capabilities::parse(data) {
                assert!(capabilities.types().len() <= 6);
                let again = Capabilities::parse(&capabilities.encode());
                assert_eq!(again.as_ref(), Ok(&capabilities));
            }
        }
    }
});

fn transport_ids(mut data: &[u8]) {
    while let Ok((id, rest)) = TransportId::parse(data) {
        let length = id.bytes().len();
        assert!(length >= 24 && length % 4 == 0 && length + rest.len() == data.len());
        assert_eq!(TransportId::parse(id.bytes()), Ok((id.clone(), &[][..])));
        let name = id.to_string();
        assert!(!name.chars().any(char::is_control), "{name:?} in a log");
        data = rest;
    }
}

fn full_status(data: &[u8]) {
    let Ok(status) = FullStatus::parse(data) else {
        return;
    };
    for row in &status.descriptors {
        assert!(status.row(&row.nexus).is_some());
    }
    if status.complete {
        assert!(data.len() >= 8 + status.additional_length as usize);
    }
    // Padding after a TransportID is not kept, so only what is written once
    // more is the same.
    let rewritten = FullStatus::new(status.generation, status.descriptors);
    assert_eq!(FullStatus::parse(&rewritten.encode()), Ok(rewritten));
}

fn keys(data: &[u8]) {
    let Ok(list) = KeyList::parse(data) else {
        return;
    };
    assert!(list.keys.len() * 8 <= list.additional_length as usize);
    assert!(list.keys.len() * 8 + 8 <= data.len());
    assert_eq!(
        KeyList::parse(&list.encode()).map(|again| again.keys),
        Ok(list.keys)
    );
}
