//! Which commands reach the disk, with which lengths.

use super::bytes::*;
use crate::lab::Target;
use crate::script::{Device, Expect, Vector, padded, vector};

/// The commands themselves, and which of them a helper lets through.
pub fn commands() -> Vec<Vector> {
    let short = "D02";
    vec![
        vector("in: READ KEYS")
            .request(&READ_KEYS, &[])
            .expect(data(&KEYS)),
        vector("in: READ RESERVATION")
            .request(&READ_RESERVATION, &[])
            .expect(data(&RESERVATION)),
        vector("in: REPORT CAPABILITIES")
            .request(&REPORT_CAPABILITIES, &[])
            .expect(data(&CAPABILITIES)),
        vector("in: READ FULL STATUS")
            .request(&READ_FULL_STATUS, &[])
            .expect(data(&FULL_STATUS)),
        out("out: REGISTER", &REGISTER, &PARAMETERS, &[0x5f, 0x00]),
        out("out: RESERVE", &RESERVE, &HELD, &[0x5f, 0x01, 0x05]),
        out("out: RELEASE", &RELEASE, &HELD, &[0x5f, 0x02, 0x05]),
        out("out: CLEAR", &CLEAR, &HELD, &[0x5f, 0x03]),
        out("out: PREEMPT", &PREEMPT, &HELD, &[0x5f, 0x04, 0x05]),
        out(
            "out: PREEMPT AND ABORT",
            &PREEMPT_AND_ABORT,
            &HELD,
            &[0x5f, 0x05, 0x05],
        ),
        out(
            "out: REGISTER AND IGNORE EXISTING KEY",
            &REGISTER_AND_IGNORE,
            &PARAMETERS,
            &[0x5f, 0x06],
        ),
        out(
            "out: REPLACE LOST RESERVATION",
            &REPLACE_LOST_RESERVATION,
            &HELD,
            &[0x5f, 0x08],
        ),
        vector("out: REGISTER AND MOVE")
            .request(&REGISTER_AND_MOVE_48, &MOVE)
            .expect(good())
            .device(Device::Saw(
                &[0x5f, 0x07],
                "dxfer_len=48 data=deadbeef0102030400000000000000090002000100000018",
            )),
        vector("out: REGISTER with a TransportID")
            .request(&REGISTER_52, &FOR_ANOTHER)
            .expect(good())
            .device(Device::Saw(
                &[0x5f, 0x00],
                "dxfer_len=52 data=0000000000000000deadbeef010203040000000008000000",
            )),
        vector("out: REGISTER with APTPL and ALL_TG_PT")
            .request(&REGISTER, &FLAGGED)
            .expect(good())
            .device(Device::Saw(
                &[0x5f, 0x00],
                "data=0000000000000000deadbeef010203040000000005000000",
            )),
        vector("in: service action 4 is refused")
            .request(&PR_IN_SERVICE_ACTION_4, &[])
            .expect(sense(5, 0x24, 0))
            .device(Device::Never(&[0x5e, 0x04]))
            .differs("D01"),
        vector("in: service action 1Fh is refused")
            .request(&PR_IN_SERVICE_ACTION_1F, &[])
            .expect(sense(5, 0x24, 0))
            .device(Device::Never(&[0x5e, 0x1f]))
            .differs("D01"),
        vector("out: service action 9 is refused")
            .request(&PR_OUT_SERVICE_ACTION_9, &HELD)
            .expect(sense(5, 0x24, 0))
            .device(Device::Never(&[0x5f]))
            .differs("D01"),
        vector("out: service action 1Fh is refused")
            .request(&PR_OUT_SERVICE_ACTION_1F, &HELD)
            .expect(sense(5, 0x24, 0))
            .device(Device::Never(&[0x5f]))
            .differs("D01"),
        out_refused(
            "out: 23 bytes of parameters are too few",
            &REGISTER_23,
            &PARAMETERS[..23],
        )
        .differs(short),
        out_refused(
            "out: 8 bytes of parameters are too few",
            &REGISTER_8,
            &PARAMETERS[..8],
        )
        .differs(short),
        out_refused("out: no parameters are too few", &REGISTER_0, &[]).differs(short),
        vector("opcode 12h closes")
            .send(
                &padded(&[0x12, 0, 0, 0, 36, 0, 0, 0, 0, 0]),
                &[Target::Disk],
            )
            .expect(Expect::Closed),
    ]
}

/// Lengths, at and beyond their limits.
pub fn lengths() -> Vec<Vector> {
    vec![
        vector("in: allocation length 16")
            .request(&READ_KEYS_16, &[])
            .expect(data(&KEYS)),
        vector("in: allocation length 8")
            .request(&READ_KEYS_8, &[])
            .expect(data(&KEYS[..8])),
        vector("in: allocation length 0")
            .request(&READ_KEYS_0, &[])
            .expect(good()),
        vector("in: allocation length 8193 closes")
            .request(&READ_KEYS_8193, &[])
            .expect(Expect::Closed),
        vector("out: 8192 bytes of parameters")
            .request(&REGISTER_8192, &longer(8192))
            .expect(good())
            .device(Device::Saw(&[0x5f, 0x00], "dxfer_len=8192")),
        vector("out: 8193 bytes of parameters close")
            .request(&REGISTER_8193, &[])
            .expect(Expect::Closed)
            .device(Device::Never(&[0x5f])),
        out_refused("out: length above 64 KiB", &REGISTER_65560, &PARAMETERS).differs("W02"),
        out_refused("out: length above 16 MiB", &REGISTER_16777240, &PARAMETERS).differs("W02"),
        vector("in: the device is asked for the allocation length")
            .request(&READ_KEYS_64, &[])
            .expect(data(&KEYS))
            .device(Device::Saw(
                &[0x5e, 0x00, 0, 0, 0, 0, 0, 0, 0x40],
                "dir=-3 dxfer_len=64",
            ))
            .differs("W04"),
        vector("in: the CDB has ten bytes")
            .request(&READ_KEYS_64, &[])
            .expect(data(&KEYS))
            .device(Device::Saw(
                &[0x5e, 0x00, 0, 0, 0, 0, 0, 0, 0x40],
                "cmd_len=10",
            ))
            .differs("W28"),
        vector("out: the CDB has ten bytes")
            .request(&REGISTER, &PARAMETERS)
            .expect(good())
            .device(Device::Saw(&[0x5f, 0x00], "cmd_len=10"))
            .differs("W28"),
        vector("out: the parameters arrive whole")
            .request(&REGISTER, &PARAMETERS)
            .expect(good())
            .device(Device::Saw(
                &[0x5f, 0x00],
                "data=0000000000000000deadbeef010203040000000000000000",
            )),
        vector("in: a timeout that a disk can meet")
            .request(&READ_KEYS, &[])
            .expect(data(&KEYS))
            .device(Device::Timeout(&[0x5e, 0x00, 0, 0, 0, 0, 0, 0x20], 1000))
            .differs("W03"),
        vector("out: a timeout that a disk can meet")
            .request(&PREEMPT_AND_ABORT, &HELD)
            .expect(good())
            .device(Device::Timeout(&[0x5f, 0x05], 1000))
            .differs("W03"),
    ]
}

/// The usual parameters, and zeros up to that length.
fn longer(length: usize) -> Vec<u8> {
    let mut parameters = PARAMETERS.to_vec();
    parameters.resize(length, 0);
    parameters
}

/// A PR OUT that succeeds, and reached the device.
fn out(name: &str, cdb: &[u8; 10], parameters: &[u8], prefix: &'static [u8]) -> Vector {
    let words = "dir=-2 dxfer_len=24 dev=8:240";
    vector(name)
        .request(cdb, parameters)
        .expect(good())
        .device(Device::Saw(prefix, words))
}

/// A PR OUT whose length is wrong, followed by one that is right, on the same connection.
fn out_refused(name: &str, cdb: &[u8; 10], parameters: &[u8]) -> Vector {
    vector(name)
        .request(cdb, parameters)
        .expect(sense(5, 0x1a, 0))
        .request(&READ_KEYS, &[])
        .expect(data(&KEYS))
        .device(Device::Never(&[0x5f]))
}
