//! What clients send, and how.

use super::bytes::*;
use crate::lab::Target;
use crate::script::{Device, Expect, Vector, padded, vector};

/// What a client may pass as its disk.
pub fn descriptors() -> Vec<Vector> {
    let no_device = || sense(0xb, 0x00, 0x06);
    let no_opcode = || sense(5, 0x20, 0);
    let read = |name: &str, target| vector(name).request_to(target, &READ_KEYS, &[]);
    let write = |name: &str, target| vector(name).request_to(target, &REGISTER, &PARAMETERS);
    vec![
        read("in: read-only descriptor", Target::DiskReadOnly).expect(data(&KEYS)),
        read("in: write-only descriptor", Target::DiskWriteOnly).expect(data(&KEYS)),
        read("in: O_PATH descriptor takes no ioctl", Target::DiskPath).expect(no_device()),
        write("out: write-only descriptor", Target::DiskWriteOnly).expect(good()),
        write("out: read-only descriptor", Target::DiskReadOnly)
            .expect(no_opcode())
            .device(Device::Never(&[0x5f])),
        write("out: O_PATH descriptor", Target::DiskPath)
            .expect(no_opcode())
            .device(Device::Never(&[0x5f])),
        read("in: regular file", Target::RegularFile).expect(no_device()),
        write("out: regular file", Target::RegularFile).expect(no_device()),
        read("in: /dev/zero", Target::DevZero).expect(no_device()),
        write("out: /dev/zero", Target::DevZero).expect(no_device()),
        read("in: sg node", Target::Sg).expect(data(&KEYS)),
        write("out: sg node", Target::Sg).expect(good()),
        read("in: partition", Target::Partition)
            .expect(no_opcode())
            .device(Device::Never(&[0x5e]))
            .differs("W21"),
        write("out: partition", Target::Partition)
            .expect(no_opcode())
            .device(Device::Never(&[0x5f]))
            .differs("W21"),
        read("in: logical volume", Target::LogicalVolume)
            .expect(no_opcode())
            .device(Device::Never(&[0x5e]))
            .differs("W21"),
        write("out: logical volume", Target::LogicalVolume)
            .expect(no_opcode())
            .device(Device::Never(&[0x5f]))
            .differs("W21"),
        read("in: loop device", Target::Loop)
            .expect(no_opcode())
            .differs("D03"),
        write("out: loop device", Target::Loop)
            .expect(no_opcode())
            .differs("D03"),
    ]
}

/// How the bytes of a request may be cut, and how many descriptors come with them.
pub fn framing() -> Vec<Vector> {
    let cdb = padded(&READ_KEYS);
    let twice = [cdb, cdb].concat();
    let register = [&padded(&REGISTER)[..], &PARAMETERS].concat();
    vec![
        vector("requested features close")
            .connect([0, 0, 0, 1])
            .expect(Expect::Closed),
        vector("requested features, top bit, close")
            .connect([0x80, 0, 0, 0])
            .expect(Expect::Closed),
        vector("no descriptor closes")
            .send(&cdb, &[])
            .expect(Expect::Closed),
        vector("two descriptors close")
            .send(&cdb, &[Target::Disk, Target::Disk])
            .expect(Expect::Closed),
        vector("sixteen descriptors close")
            .send(&cdb, &[Target::Disk; 16])
            .expect(Expect::Closed),
        vector("a hundred descriptors close")
            .send(&cdb, &[Target::Disk; 100])
            .expect(Expect::Closed),
        vector("split 5+11, descriptor first")
            .send(&cdb[..5], &[Target::Disk])
            .send(&cdb[5..], &[])
            .expect(data(&KEYS)),
        vector("split 5+11, descriptor second")
            .send(&cdb[..5], &[])
            .send(&cdb[5..], &[Target::Disk])
            .expect(data(&KEYS)),
        vector("split 5+11, a descriptor with each closes")
            .send(&cdb[..5], &[Target::Disk])
            .send(&cdb[5..], &[Target::Disk])
            .expect(Expect::Closed),
        vector("byte by byte")
            .send(&cdb[..1], &[Target::Disk])
            .send_each(&cdb[1..])
            .expect(data(&KEYS)),
        vector("out: parameters split 10+14")
            .send(&padded(&REGISTER), &[Target::Disk])
            .send(&PARAMETERS[..10], &[])
            .send(&PARAMETERS[10..], &[])
            .expect(good()),
        vector("out: CDB and parameters in one piece")
            .send(&register, &[Target::Disk])
            .expect(good()),
        vector("out: a descriptor with the parameters closes")
            .send(&padded(&REGISTER), &[Target::Disk])
            .send(&PARAMETERS, &[Target::Disk])
            .expect(Expect::Closed)
            .device(Device::Never(&[0x5f]))
            .differs("D04"),
        vector("end of stream inside a CDB closes")
            .send(&cdb[..7], &[Target::Disk])
            .finish_writing()
            .expect(Expect::Closed),
        vector("end of stream inside parameters closes")
            .send(&register[..30], &[Target::Disk])
            .finish_writing()
            .expect(Expect::Closed)
            .device(Device::Never(&[0x5f])),
        vector("end of stream between requests closes")
            .request(&READ_KEYS, &[])
            .expect(data(&KEYS))
            .finish_writing()
            .expect(Expect::Closed),
        vector("pipelined, a descriptor with each")
            .send(&cdb, &[Target::Disk])
            .send(&cdb, &[Target::Disk])
            .expect(data(&KEYS))
            .expect(data(&KEYS)),
        vector("pipelined, the second without a descriptor closes")
            .send(&twice, &[Target::Disk])
            .expect(data(&KEYS))
            .expect(Expect::Closed),
    ]
}

/// More than one command, more than one client.
pub fn connections() -> Vec<Vector> {
    let mut crowd = vector("sixty idle connections and a busy one");
    for connection in 1..=60 {
        crowd = crowd.on(connection).connect([0; 4]);
    }
    vec![
        vector("three commands in a row")
            .request(&READ_KEYS, &[])
            .expect(data(&KEYS))
            .request(&REGISTER, &PARAMETERS)
            .expect(good())
            .request(&READ_KEYS_8, &[])
            .expect(data(&KEYS[..8])),
        vector("two disks on one connection")
            .request(&READ_KEYS, &[])
            .expect(data(&KEYS))
            .request_to(Target::OtherDisk, &READ_KEYS, &[])
            .expect(data(&KEYS))
            .device(Device::Saw(&[0x5e, 0x00], "dev=65:0")),
        vector("three connections, requests before answers")
            .request(&READ_KEYS, &[])
            .on(1)
            .request(&READ_RESERVATION, &[])
            .on(2)
            .request(&REGISTER, &PARAMETERS)
            .expect(good())
            .on(1)
            .expect(data(&RESERVATION))
            .on(0)
            .expect(data(&KEYS)),
        vector("a half-sent request, others are served")
            .send(&padded(&REGISTER), &[Target::Disk])
            .send(&PARAMETERS[..10], &[])
            .on(1)
            .request(&READ_KEYS, &[])
            .expect(data(&KEYS))
            .on(0)
            .send(&PARAMETERS[10..], &[])
            .expect(good()),
        vector("a connection that never says hello, others are served")
            .connect_mutely()
            .on(1)
            .request(&READ_KEYS, &[])
            .expect(data(&KEYS)),
        crowd.on(0).request(&READ_KEYS, &[]).expect(data(&KEYS)),
    ]
}
