//! What a descriptor permits.

use crate::rig::{Bounds, Rig, sense};
use reservd::scsi::pr::RegisterFlags;
use reservd::scsi::{PrOut, ReservationKey, SenseCode};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

fn register() -> PrOut {
    PrOut::register(
        ReservationKey::ZERO,
        ReservationKey(0xa1),
        RegisterFlags::default(),
    )
}

fn opened(rig: &Rig, name: &str, options: &OpenOptions) -> File {
    let folder = rig.socket();
    let folder = folder.parent().expect("a folder");
    options.open(folder.join(name)).expect("a simulated device")
}

#[test]
fn who_may_only_read_a_device_may_not_reserve_it() {
    let rig = Rig::start(Bounds::default());
    let mut client = rig.client();
    for name in ["lun0/host-a", "lun0/host-a.0"] {
        let device = opened(&rig, name, OpenOptions::new().read(true));
        assert!(client.read_keys(&device).expect("a reply").is_good());
        let refused = client.out(&register(), &device);
        assert_eq!(sense(&refused), Some(SenseCode::INVALID_OPCODE));
    }
    assert!(rig.lun(0).registrations().is_empty());
}

#[test]
fn who_only_knows_a_devices_name_gets_nothing() {
    let rig = Rig::start(Bounds::default());
    let mut client = rig.client();
    for name in ["lun0/host-a", "lun0/host-a.0"] {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(nix::libc::O_PATH);
        let device = opened(&rig, name, &options);
        let refused = client.read_keys(&device);
        assert_eq!(sense(&refused), Some(SenseCode::IO_PROCESS_TERMINATED));
        let refused = client.out(&register(), &device);
        assert_eq!(sense(&refused), Some(SenseCode::INVALID_OPCODE));
    }
    assert!(rig.lun(0).log().is_empty());
}
