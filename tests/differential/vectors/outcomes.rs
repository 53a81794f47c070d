//! How a command can end, and what the client is told.

use super::bytes::*;
use crate::script::{Expect, Vector, vector};

/// Commands that never reached the LUN: the host adapter's word for it, the driver's, the system call's.
pub fn transport() -> Vec<Vector> {
    let mut vectors = vec![];
    for host_status in 1..=0x16 {
        // The mapping of qemu-libvirt.md 2.6 where that has one; where it has none, the command failed all the same.
        let (expect, listed) = match host_status {
            0x01 => (sense(0xb, 0x05, 0), true),
            0x02 => (status(BUSY), true),
            0x03 => (sense(0xb, 0x2e, 2), true),
            0x04 => (sense(0xb, 0x08, 0), true),
            0x05 => (sense(0xb, 0x2f, 2), true),
            0x08 => (sense(6, 0x29, 0), true),
            0x0b..=0x0d => (status(BUSY), false),
            0x0e => (sense(0xb, 0x29, 7), true),
            0x10 => (sense(4, 0x44, 0), true),
            0x11 => (status(CONFLICT), true),
            0x12 => (sense(7, 0x27, 7), true),
            0x13 => (sense(3, 0x11, 0), true),
            _ => (sense(0xb, 0x08, 0), false),
        };
        for (direction, cdb, parameters) in
            [("in", &READ_KEYS, &[][..]), ("out", &REGISTER, &PARAMETERS)]
        {
            let vector = vector(format!("{direction}: host status {host_status:02X}h"))
                .fault(format!("SHIM_HOST_STATUS={host_status}"))
                .request(cdb, parameters)
                .expect(expect.clone());
            vectors.push(if listed {
                vector
            } else {
                vector.differs("W01")
            });
        }
    }
    // The kernel reports only DRIVER_SENSE today; older ones said these. DRIVER_TIMEOUT is what QEMU looks for, in bits.
    for driver_status in 1..=7 {
        let seen_by_old = driver_status & 6 != 0;
        let expect = if driver_status == 6 {
            status(BUSY)
        } else {
            Expect::NotGood
        };
        let vector = vector(format!("out: driver status {driver_status:02X}h"))
            .fault(format!("SHIM_DRIVER_STATUS={driver_status}"))
            .request(&REGISTER, &PARAMETERS)
            .expect(expect);
        vectors.push(if seen_by_old {
            vector
        } else {
            vector.differs("W01")
        });
    }
    for (name, errno, expect) in [
        ("ENOMEDIUM", 123, sense(2, 0x3a, 0)),
        ("EREMOTEIO", 121, sense(4, 0x44, 0)),
        ("ENOMEM", 12, sense(4, 0x44, 0)),
        ("ENODEV", 19, sense(4, 0x44, 0)),
        ("ENODATA", 61, sense(3, 0x11, 0)),
        ("EBADE", 52, status(CONFLICT)),
        ("EDOM", 33, status(TASK_SET_FULL)),
        ("EINVAL", 22, sense(5, 0x24, 0)),
        ("ENOSPC", 28, sense(7, 0x27, 7)),
        ("EIO", 5, sense(0xb, 0, 6)),
        ("EPERM", 1, sense(0xb, 0, 6)),
        ("ENOTTY", 25, sense(0xb, 0, 6)),
        ("EAGAIN", 11, sense(0xb, 0, 6)),
        ("ETIMEDOUT", 110, sense(0xb, 0, 6)),
    ] {
        for (direction, cdb, parameters) in
            [("in", &READ_KEYS, &[][..]), ("out", &REGISTER, &PARAMETERS)]
        {
            let vector = vector(format!("{direction}: {name}"))
                .fault(format!("SHIM_ERRNO={errno}"))
                .request(cdb, parameters)
                .expect(expect.clone());
            vectors.push(if name == "ENODEV" {
                vector.differs("V01")
            } else {
                vector
            });
        }
    }
    vectors
}

/// Commands that the LUN itself turned down: its status and every byte of its sense reach the guest.
pub fn statuses() -> Vec<Vector> {
    let ramp: Vec<u8> = (0..94).collect();
    let fixed_18 = [
        0x70, 0, 5, 0, 0, 0, 0, 10, 1, 2, 3, 4, 0x26, 0x00, 0, 0xc8, 0, 8,
    ];
    let fixed_96 = [&[0x70, 0][..], &ramp].concat();
    let descriptor_18 = [
        0x72, 5, 0x26, 0, 0, 0, 0, 10, 2, 6, 0, 0, 0xc8, 0, 8, 0, 0x80, 0,
    ];
    let descriptor_96 = [&[0x72, 5][..], &ramp].concat();
    let preempted = [
        0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x2a, 0x03, 0, 0, 0, 0,
    ];
    let mut vectors = vec![];
    for (direction, cdb, parameters) in
        [("in", &READ_KEYS, &[][..]), ("out", &REGISTER, &PARAMETERS)]
    {
        for (name, code) in [
            ("BUSY", BUSY),
            ("TASK SET FULL", TASK_SET_FULL),
            ("RESERVATION CONFLICT", CONFLICT),
        ] {
            vectors.push(
                vector(format!("{direction}: {name}"))
                    .fault(format!("SHIM_STATUS={code}"))
                    .request(cdb, parameters)
                    .expect(status(code)),
            );
        }
        for (name, bytes) in [
            ("fixed sense of 18 bytes", &fixed_18[..]),
            ("fixed sense of 96 bytes", &fixed_96),
            ("descriptor sense of 18 bytes", &descriptor_18),
            ("descriptor sense of 96 bytes", &descriptor_96),
            ("UNIT ATTENTION, reservations preempted", &preempted),
        ] {
            vectors.push(
                vector(format!("{direction}: {name}"))
                    .fault(format!("SHIM_SENSE={}", crate::wire::Hex(bytes)))
                    .request(cdb, parameters)
                    .expect(exact_sense(bytes)),
            );
        }
        vectors.push(
            vector(format!("{direction}: CHECK CONDITION without sense"))
                .fault("SHIM_STATUS=2")
                .request(cdb, parameters)
                .expect(Expect::CheckCondition),
        );
    }
    vectors
}

/// What the adapter says it moved, and what it did not.
pub fn transfers() -> Vec<Vector> {
    let dirt = vec![0xaa; 8192 - 24];
    let dirty = [&PARAMETERS[..], &dirt].concat();
    vec![
        vector("in: residual larger than the transfer")
            .fault("SHIM_RESID=100000")
            .request(&READ_KEYS, &[])
            .expect(good())
            .request(&READ_KEYS_8, &[])
            .expect(good())
            .differs("W05"),
        vector("in: residual of everything")
            .fault("SHIM_RESID=8192")
            .request(&READ_KEYS, &[])
            .expect(good()),
        vector("out: residual reported")
            .fault("SHIM_RESID=24")
            .request(&REGISTER, &PARAMETERS)
            .expect(good()),
        vector("out: residual larger than the transfer")
            .fault("SHIM_RESID=100000")
            .request(&REGISTER, &PARAMETERS)
            .expect(good()),
        vector("in: no residual reported")
            .fault("SHIM_RESID=0")
            .request(&READ_KEYS_64, &[])
            .expect(Expect::Begins(&KEYS)),
        vector("in: no residual reported after a long PR OUT")
            .fault("SHIM_RESID=0")
            .request(&REGISTER_8192, &dirty)
            .expect(good())
            .request(&READ_KEYS_64, &[])
            .expect(Expect::Begins(&KEYS))
            .differs("W04"),
    ]
}
