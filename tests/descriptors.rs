//! No request and no violation leaves a file descriptor behind. Alone in its
//! process, where nobody else opens files.

#[path = "rig/mod.rs"]
mod rig;

use rig::{Bounds, Client, End, Rig, eventually, read_keys};
use std::fs;

fn open_files() -> usize {
    let listed = fs::read_dir("/proc/self/fd").expect("procfs").count();
    listed - 1 // the folder itself
}

#[test]
fn no_descriptor_stays_behind() {
    let rig = Rig::start(Bounds::default());
    let devices = ["lun0/host-a", "lun0/host-b.1", "lun1/host-a"].map(|name| rig.device(name));
    // Whatever is opened once and kept.
    assert!(rig.client().read_keys(&devices[0]).is_ok());
    let null = fs::File::open("/dev/null").expect("/dev/null");
    let mut client = rig.client();
    assert!(client.read_keys(&null).is_ok());
    let before = open_files();

    for round in 0..200 {
        let reply = client.read_keys(&devices[round % 3]).expect("a reply");
        assert!(reply.is_good());
        assert!(!client.read_keys(&null).expect("a reply").is_good());
    }
    // In the clients' end too: this process is both.
    assert_eq!(open_files(), before, "after requests");

    for round in 0..200 {
        let mut client = Client::ready(&rig.socket());
        let cdb = *read_keys().as_wire_bytes();
        let device = &devices[round % 3];
        match round % 5 {
            0 => client.send(&cdb, &[device; 2]),
            1 => client.send(&cdb, &[device; 253]),
            2 => client.send(&[0x12; 16], &[device]),
            3 => {
                let mut out = cdb;
                out[0] = 0x5f;
                out[8] = 24;
                client.send(&out, &[device]);
                client.send(&[0; 24], &[device; 3]);
            }
            _ => {
                client.send(&cdb[..5], &[device]);
                client.finish();
            }
        }
        assert_eq!(client.reply(), Err(End::Closed));
    }
    // The service closes its end and what it received just before or after.
    eventually("everything is closed", || open_files() == before);
}
