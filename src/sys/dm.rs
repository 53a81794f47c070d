//! Suspending and resuming a device-mapper device (Linux `linux/dm-ioctl.h`).

use super::kernel;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;

nix::ioctl_readwrite!(
    /// DM_DEV_SUSPEND: suspends, or resumes where the flag is not set.
    dm_dev_suspend,
    kernel::DM_IOCTL,
    kernel::DM_DEV_SUSPEND_CMD,
    kernel::dm_ioctl
);

/// The oldest interface with everything used here.
const VERSION: [u32; 3] = [4, 0, 0];

/// The control node of device-mapper.
#[derive(Debug)]
pub struct Control(File);

impl Control {
    /// Opens `/dev/mapper/control`.
    ///
    /// # Errors
    /// Those of open(2): the host has no device-mapper, or we may not use it.
    pub fn open() -> io::Result<Self> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/mapper/control")
            .map(Control)
    }

    /// Holds back new I/O of the device `major:minor` and waits for what is in
    /// flight, without flushing: a multipath map queues instead.
    ///
    /// # Errors
    /// Those of the ioctl; EPERM without CAP_SYS_ADMIN.
    pub fn suspend(&self, major: u32, minor: u32) -> io::Result<()> {
        let flags = kernel::DM_SUSPEND_FLAG | kernel::DM_NOFLUSH_FLAG | kernel::DM_SKIP_LOCKFS_FLAG;
        self.set(major, minor, flags)
    }

    /// Lets I/O of the device go on.
    ///
    /// # Errors
    /// Those of the ioctl.
    pub fn resume(&self, major: u32, minor: u32) -> io::Result<()> {
        self.set(major, minor, 0)
    }

    fn set(&self, major: u32, minor: u32, flags: u32) -> io::Result<()> {
        let size = size_of::<kernel::dm_ioctl>() as u32;
        let mut request = kernel::dm_ioctl {
            version: VERSION,
            data_size: size,
            data_start: size,
            flags,
            // The kernel's "huge" encoding of a device number.
            dev: u64::from(minor & 0xff | major << 8) | u64::from(minor & !0xff) << 12,
            ..Default::default()
        };
        // SAFETY: `request` is a dm_ioctl with its true size in data_size and
        // nothing behind it; the descriptor is open.
        unsafe { dm_dev_suspend(self.0.as_raw_fd(), &mut request) }?;
        Ok(())
    }
}
