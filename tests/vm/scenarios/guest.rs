//! A real QEMU with a real guest, whose disk is the map.

use super::lab::*;
use std::process::Command;

#[test]
fn a_guest_registers_reserves_reads_and_releases() {
    let lab = lab();
    let output = Command::new("/rig/guest.sh").arg(SOCKET).output().unwrap();
    let console = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{console}\n{errors}");
    // The guest saw both of its host's nexuses in READ FULL STATUS.
    for nexus in ["NEXUS_A", "NEXUS_B"] {
        assert!(
            console.contains(&lab.initiator(nexus)),
            "{nexus} in {console}"
        );
    }
    assert_eq!(keys(lab.env("HOST_B")), [0; 0], "and left nothing behind");
}
