//! The SG_IO ioctl: one SCSI command on a block or sg device (Linux
//! `scsi/sg.h`, interface version 3).

use super::kernel;
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// Room for sense data handed to the kernel.
const SENSE_LENGTH: usize = 96;

/// The data phase.
#[derive(Debug)]
pub enum Data<'a> {
    /// None.
    None,
    /// The device fills this buffer.
    In(&'a mut [u8]),
    /// The device takes these bytes.
    Out(&'a [u8]),
}

/// What the kernel says of a command it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// SAM status byte.
    pub status: u8,
    /// Host adapter's result, `DID_*`.
    pub host_status: u16,
    /// Driver's result, `DRIVER_*`.
    pub driver_status: u16,
    /// Sense data as far as it was written.
    pub sense: Vec<u8>,
    /// Bytes of the data phase that were not transferred.
    pub residual: i32,
}

nix::ioctl_readwrite_bad!(
    /// SG_IO as it stands in `scsi/sg.h`.
    sg_io,
    kernel::SG_IO,
    kernel::sg_io_hdr
);

/// Sends a CDB and waits for its end.
///
/// The kernel raises a timeout below 7 s to 7 s on block devices
/// (`BLK_MIN_SG_TIMEOUT`).
///
/// # Errors
/// The ioctl's errno where the kernel did not take the command or lost it.
///
/// # Panics
/// When the CDB is longer than 255 bytes.
pub fn execute(
    device: BorrowedFd<'_>,
    cdb: &[u8],
    data: Data<'_>,
    timeout: Duration,
) -> Result<Report, Errno> {
    let mut cdb = cdb.to_vec();
    let mut sense = [0u8; SENSE_LENGTH];
    let (direction, pointer, length) = match data {
        Data::None => (kernel::SG_DXFER_NONE, std::ptr::null_mut(), 0),
        Data::In(buffer) if !buffer.is_empty() => {
            (kernel::SG_DXFER_FROM_DEV, buffer.as_mut_ptr(), buffer.len())
        }
        // The kernel only reads from it for SG_DXFER_TO_DEV.
        Data::Out(buffer) if !buffer.is_empty() => (
            kernel::SG_DXFER_TO_DEV,
            buffer.as_ptr().cast_mut(),
            buffer.len(),
        ),
        Data::In(_) | Data::Out(_) => (kernel::SG_DXFER_NONE, std::ptr::null_mut(), 0),
    };
    let mut header = kernel::sg_io_hdr {
        interface_id: i32::from(b'S'),
        dxfer_direction: direction,
        cmd_len: u8::try_from(cdb.len()).expect("a CDB has at most 255 bytes"),
        mx_sb_len: SENSE_LENGTH as u8,
        dxfer_len: length as u32,
        dxferp: pointer.cast(),
        cmdp: cdb.as_mut_ptr(),
        sbp: sense.as_mut_ptr(),
        timeout: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
        ..Default::default()
    };
    // SAFETY: the header's pointers lead to live buffers of the lengths it
    // states: `cdb`, `sense` and the caller's data, which `data` keeps borrowed
    // until here. The kernel writes to the data only for SG_DXFER_FROM_DEV,
    // where it came from a `&mut`. The descriptor is borrowed, so it is open.
    unsafe { sg_io(device.as_raw_fd(), &mut header) }?;
    Ok(Report {
        status: header.status,
        host_status: header.host_status,
        driver_status: header.driver_status,
        sense: sense[..usize::from(header.sb_len_wr).min(SENSE_LENGTH)].to_vec(),
        residual: header.resid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_file_that_is_no_device_refuses() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let result = execute(null.as_fd(), &[0; 6], Data::None, Duration::from_secs(1));
        assert_eq!(result, Err(Errno::ENOTTY));
    }
}
