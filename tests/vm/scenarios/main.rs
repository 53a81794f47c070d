//! Real kernel parts: the SCSI target (LIO), dm-multipath, multipathd and QEMU.
//!
//! This is a test program of its own that runs inside the virtual machine of
//! `tests/vm`, after `lab.sh`, with `--test-threads=1`: all tests share the LUNs
//! and one daemon. `tests/vm/test.sh` builds it, boots the machine and shows its
//! summary. sg_persist, over every path and from the other host, is the witness:
//! nothing is believed because reservd says so.

#![allow(clippy::unwrap_used, reason = "a test may end at once")]

mod authority;
mod bus;
mod engines;
mod fences;
mod guest;
mod hazards;
mod journal;
mod kills;
mod lab;
mod libvirt;
mod lifecycle;
mod multipathd;
mod outage;
mod package;
mod paths;
mod power;
mod readme;
mod sandbox;
mod virt;
mod watch;
