//! Suspending and resuming a device-mapper device, and messages to its target
//! (Linux `linux/dm-ioctl.h`).

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

/// A dm_ioctl with its payload behind it, as DM_TARGET_MSG wants it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Message {
    header: kernel::dm_ioctl,
    /// The sector whose target gets it.
    sector: u64,
    /// Ends with a NUL.
    text: [u8; MESSAGE_LENGTH],
}

/// Bytes of a message, the NUL included.
const MESSAGE_LENGTH: usize = 64;

nix::ioctl_readwrite!(
    /// DM_TARGET_MSG: sends a message to the target of a device.
    dm_target_msg,
    kernel::DM_IOCTL,
    kernel::DM_TARGET_MSG_CMD,
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

    /// Tells the multipath map `major:minor` to use the path with the device
    /// number `path` no more (`fail_path`), until it is reinstated. One that it
    /// does not use stays as it is.
    ///
    /// # Errors
    /// Those of the ioctl; EINVAL where the map has no such path, EBUSY while it
    /// is suspended, EPERM without CAP_SYS_ADMIN.
    pub fn fail_path(&self, major: u32, minor: u32, path: (u32, u32)) -> io::Result<()> {
        let header = size_of::<kernel::dm_ioctl>() as u32;
        let mut message = Message {
            header: request(major, minor, size_of::<Message>() as u32, header),
            sector: 0,
            text: [0; MESSAGE_LENGTH],
        };
        let text = format!("fail_path {}:{}", path.0, path.1);
        // Two numbers of 32 bits fit well, with a NUL behind them.
        for (to, from) in message.text.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        // SAFETY: the header's data_size is that of all of `message`, which is
        // laid out as in C and outlives the call; the header is its first field.
        unsafe { dm_target_msg(self.0.as_raw_fd(), (&raw mut message).cast()) }?;
        Ok(())
    }

    fn set(&self, major: u32, minor: u32, flags: u32) -> io::Result<()> {
        let size = size_of::<kernel::dm_ioctl>() as u32;
        let mut request = kernel::dm_ioctl {
            flags,
            ..request(major, minor, size, size)
        };
        // SAFETY: `request` is a dm_ioctl with its true size in data_size and
        // nothing behind it; the descriptor is open.
        unsafe { dm_dev_suspend(self.0.as_raw_fd(), &mut request) }?;
        Ok(())
    }
}

/// A request about the device `major:minor`, of `size` bytes, with what comes
/// behind it from `start` on.
fn request(major: u32, minor: u32, size: u32, start: u32) -> kernel::dm_ioctl {
    kernel::dm_ioctl {
        version: VERSION,
        data_size: size,
        data_start: start,
        // The kernel's "huge" encoding of a device number.
        dev: u64::from(minor & 0xff | major << 8) | u64::from(minor & !0xff) << 12,
        ..Default::default()
    }
}
