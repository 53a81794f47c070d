//! A nexus that is a device node: SG_IO, and what its result means.

use super::identity::{DeviceNumber, PathDevice, Preference};
use super::{Answer, Nexus, Transfer, TransportError};
use crate::scsi::{Outcome, Sense, SenseCode, Status};
use crate::sys::sg::{self, Data, Report};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

/// A SCSI disk or sg node that somebody opened for us.
#[derive(Debug)]
pub struct SgNexus(OwnedFd);

impl SgNexus {
    /// The nexus this descriptor leads to.
    pub fn new(device: OwnedFd) -> Self {
        SgNexus(device)
    }
}

impl Nexus for SgNexus {
    fn execute(
        &self,
        cdb: &[u8],
        data: Transfer<'_>,
        timeout: Duration,
    ) -> Result<Outcome, TransportError> {
        execute(self.0.as_fd(), cdb, data, timeout)
    }
}

/// A SCSI disk of this host, opened when it is first used: opening waits while
/// the kernel recovers from errors on it.
#[derive(Debug)]
pub struct DiskNexus {
    disk: PathDevice,
    opened: OnceLock<OwnedFd>,
}

impl DiskNexus {
    /// The disk with this name and number.
    pub fn new(disk: PathDevice) -> Self {
        DiskNexus {
            disk,
            opened: OnceLock::new(),
        }
    }

    /// Opens the node for reading only, so that closing it makes udev do
    /// nothing, and checks that it is the device it should be.
    fn open(&self) -> Result<OwnedFd, TransportError> {
        let unreachable = TransportError::not_sent(SenseCode::NO_RESPONSE_TO_SELECTION);
        if self.disk.preference == Preference::Offline {
            return Err(unreachable);
        }
        let node = format!("/dev/{}", self.disk.name.replace('!', "/"));
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = nix::fcntl::open(node.as_str(), flags, Mode::empty()).map_err(|error| {
            tracing::debug!(node, %error, "path not opened");
            unreachable
        })?;
        match DeviceNumber::of_block(file.as_fd()) {
            Some(number) if number == self.disk.number => Ok(file),
            _ => Err(unreachable),
        }
    }
}

impl Nexus for DiskNexus {
    fn execute(
        &self,
        cdb: &[u8],
        data: Transfer<'_>,
        timeout: Duration,
    ) -> Result<Outcome, TransportError> {
        let device = match self.opened.get() {
            Some(device) => device,
            None => {
                let device = self.open()?;
                self.opened.get_or_init(|| device)
            }
        };
        execute(device.as_fd(), cdb, data, timeout)
    }
}

fn execute(
    device: BorrowedFd<'_>,
    cdb: &[u8],
    data: Transfer<'_>,
    timeout: Duration,
) -> Result<Outcome, TransportError> {
    match data {
        Transfer::None => interpret(sg::execute(device, cdb, Data::None, timeout), vec![]),
        Transfer::Out(bytes) => {
            interpret(sg::execute(device, cdb, Data::Out(bytes), timeout), vec![])
        }
        Transfer::In(length) => {
            let mut buffer = vec![0; length];
            let result = sg::execute(device, cdb, Data::In(&mut buffer), timeout);
            interpret(result, buffer)
        }
    }
}

/// What the kernel's report means. GOOD comes out only where host and driver
/// had nothing to say and the status byte is GOOD.
fn interpret(result: Result<Report, Errno>, mut data: Vec<u8>) -> Result<Outcome, TransportError> {
    let report = match result {
        Ok(report) => report,
        // Statuses that older kernels return as an errno.
        Err(Errno::EBADE) => return Ok(Outcome::conflict()),
        Err(Errno::EDOM) => return Ok(Outcome::status(Status::TaskSetFull)),
        Err(errno) => return Err(refused(errno)),
    };
    if report.host_status != 0 {
        return host(report.host_status);
    }
    driver(report.driver_status)?;
    let status = Status::from(report.status);
    if status == Status::Good {
        let missing = usize::try_from(report.residual).unwrap_or(0);
        data.truncate(data.len().saturating_sub(missing));
    } else {
        data.clear();
    }
    Ok(Outcome {
        status,
        sense: (status == Status::CheckCondition).then(|| Sense::from_device(&report.sense)),
        data,
    })
}

/// The ioctl failed. The kernel refuses before it sends, but for the errors
/// that stand for a result it had to give up on.
fn refused(errno: Errno) -> TransportError {
    match errno {
        Errno::ENOMEDIUM => TransportError::not_sent(SenseCode::MEDIUM_NOT_PRESENT),
        Errno::ENOMEM | Errno::ENODEV => TransportError::not_sent(SenseCode::TARGET_FAILURE),
        Errno::EINVAL => TransportError::not_sent(SenseCode::INVALID_FIELD_IN_CDB),
        Errno::EREMOTEIO => TransportError::unknown(SenseCode::TARGET_FAILURE),
        Errno::ENODATA => TransportError::unknown(SenseCode::READ_ERROR),
        Errno::ENOSPC => TransportError::unknown(SenseCode::SPACE_ALLOCATION_FAILED),
        Errno::EIO | Errno::EFAULT | Errno::EINTR | Errno::ETIMEDOUT => {
            TransportError::unknown(SenseCode::IO_PROCESS_TERMINATED)
        }
        _ => TransportError::not_sent(SenseCode::IO_PROCESS_TERMINATED),
    }
}

/// The host adapter's result (`DID_*` of the Linux SCSI layer), not zero.
fn host(status: u16) -> Result<Outcome, TransportError> {
    match status {
        // NO_CONNECT: nobody is there.
        0x01 => Err(TransportError::not_sent(
            SenseCode::NO_RESPONSE_TO_SELECTION,
        )),
        // BUS_BUSY, SOFT_ERROR, IMM_RETRY, REQUEUE: the kernel would try again.
        0x02 | 0x0b..=0x0d => Err(TransportError::Unknown(Answer::Busy)),
        // TIME_OUT
        0x03 => Err(TransportError::unknown(
            SenseCode::TIMEOUT_DURING_PROCESSING,
        )),
        // ABORT
        0x05 => Err(TransportError::unknown(SenseCode::COMMANDS_CLEARED)),
        // RESET
        0x08 => Err(TransportError::unknown(SenseCode::POWER_ON_OR_RESET)),
        // TRANSPORT_DISRUPTED
        0x0e => Err(TransportError::unknown(SenseCode::NEXUS_LOSS)),
        // TARGET_FAILURE, NEXUS_FAILURE, ALLOC_FAILURE, MEDIUM_ERROR: the
        // logical unit's own word, in the words of older kernels.
        0x10 => Ok(Outcome::check(SenseCode::TARGET_FAILURE)),
        0x11 => Ok(Outcome::conflict()),
        0x12 => Ok(Outcome::check(SenseCode::SPACE_ALLOCATION_FAILED)),
        0x13 => Ok(Outcome::check(SenseCode::READ_ERROR)),
        // BAD_TARGET, PARITY, ERROR, BAD_INTR, PASSTHROUGH, TRANSPORT_FAILFAST,
        // TRANSPORT_MARGINAL and whatever a later kernel adds.
        _ => Err(TransportError::unknown(SenseCode::COMMUNICATION_FAILURE)),
    }
}

/// The driver's result (`DRIVER_*`): zero, or eight for "there is sense".
fn driver(status: u16) -> Result<(), TransportError> {
    match status & 0x0f {
        0x00 | 0x08 => Ok(()),
        // BUSY, SOFT, TIMEOUT
        0x01 | 0x02 | 0x06 => Err(TransportError::Unknown(Answer::Busy)),
        _ => Err(TransportError::unknown(SenseCode::COMMUNICATION_FAILURE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(status: u8, host_status: u16, driver_status: u16, residual: i32) -> Report {
        Report {
            status,
            host_status,
            driver_status,
            sense: vec![0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x2a, 3],
            residual,
        }
    }

    #[test]
    fn no_host_or_driver_result_becomes_good() {
        for status in 1..=u16::MAX {
            if let Ok(outcome) = interpret(Ok(report(0, status, 0, 0)), vec![]) {
                assert!(!outcome.is_good(), "host status {status:#x}");
            }
            let driver = interpret(Ok(report(0, 0, status, 0)), vec![]);
            let good = driver.is_ok_and(|outcome| outcome.is_good());
            assert_eq!(
                good,
                matches!(status & 0x0f, 0 | 8),
                "driver status {status:#x}"
            );
        }
    }

    #[test]
    fn no_errno_becomes_good() {
        for errno in 1..200 {
            let result = interpret(Err(Errno::from_raw(errno)), vec![]);
            let outcome = result.unwrap_or_else(TransportError::answer);
            assert!(!outcome.is_good(), "errno {errno}");
        }
    }

    #[test]
    fn residuals_shorten_the_data_and_never_more_than_all_of_it() {
        for (residual, left) in [(0, 16), (8, 8), (16, 0), (17, 0), (i32::MAX, 0), (-1, 16)] {
            let outcome = interpret(Ok(report(0, 0, 0, residual)), vec![7; 16]).unwrap();
            assert_eq!(outcome.data.len(), left, "residual {residual}");
        }
    }

    #[test]
    fn true_sense_is_passed_on() {
        let outcome = interpret(Ok(report(2, 0, 8, 0)), vec![7; 16]).unwrap();
        assert_eq!(
            outcome.sense_code(),
            Some(SenseCode::RESERVATIONS_PREEMPTED)
        );
        assert!(outcome.data.is_empty());
    }
}
