//! The driver of a legacy virtio-scsi device (Virtio 0.9.5, and 1.0 5.6.6), as far
//! as PERSISTENT RESERVE needs one: commands one after another, polled for.

use crate::qemu::Qemu;
use reservd::scsi::{Cdb, InAction, Outcome, Sense, Status};
use std::time::{Duration, Instant};

/// Longer than any command may take.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// The device is PCI 00:05.0; its registers are put here.
const PORT: u32 = 0xc000;
const CONFIGURATION: u32 = 0x8000_0000 | 5 << 11;
/// Queues: control, event, requests, one every 64 KiB.
const QUEUES: u32 = 0x20_0000;
const REQUESTS: u32 = 2;
const QUEUE_STEP: u32 = 0x1_0000;
/// Buffers of the one command in flight.
const HEADER: u32 = 0x30_0000;
const RESPONSE: u32 = 0x30_1000;
const OUT: u32 = 0x31_0000;
const IN: u32 = 0x32_0000;
const HEADER_LENGTH: usize = 51;
const RESPONSE_LENGTH: usize = 108;
/// Most data asked for here.
const IN_LENGTH: usize = 512;

const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// A QEMU with a driver.
pub struct Guest {
    pub qemu: Qemu,
    size: u32,
    count: u16,
}

impl Guest {
    pub fn new(mut qemu: Qemu) -> Guest {
        let register = |offset: u32| PORT + offset;
        let mut script = String::new();
        let mut put = |width: char, port: u32, value: u32| {
            script += &format!("out{width} {port:#x} {value:#x}\n");
        };
        // BAR 0, then I/O space, memory space and bus master.
        put('l', 0xcf8, CONFIGURATION | 0x10);
        put('l', 0xcfc, PORT);
        put('l', 0xcf8, CONFIGURATION | 0x04);
        put('w', 0xcfc, 7);
        for status in [0, 1, 3] {
            put('b', register(0x12), status);
        }
        // No features; the queues; ready.
        put('l', register(4), 0);
        for queue in 0..3 {
            put('w', register(0x0e), queue);
            put('l', register(8), (QUEUES + queue * QUEUE_STEP) >> 12);
        }
        put('b', register(0x12), 7);
        qemu.qtest(&script);
        let size = &qemu.qtest(&format!("inw {:#x}\n", register(0x0c)))[0];
        let size = number(size);
        let mut guest = Guest {
            qemu,
            size,
            count: 0,
        };
        // The unit attention of the reset.
        guest.submit(&[0; 6], &[], 0);
        guest.complete(0, PATIENCE);
        guest
    }

    /// Puts READ KEYS into the queue.
    pub fn submit_read(&mut self) {
        let cdb = Cdb::pr_in(InAction::ReadKeys, IN_LENGTH as u16);
        self.submit(cdb.as_device_bytes(), &[], IN_LENGTH);
    }

    /// Waits for its end.
    pub fn complete_read(&mut self, patience: Duration) -> Outcome {
        self.complete(IN_LENGTH, patience)
    }

    /// Puts a command into the queue.
    pub fn submit(&mut self, cdb: &[u8], out: &[u8], incoming: usize) {
        let queue = QUEUES + REQUESTS * QUEUE_STEP;
        let available = queue + 16 * self.size;
        let mut header = vec![1, 0, 0x40, 0, 0, 0, 0, 0];
        header.extend_from_slice(&u64::from(self.count).to_le_bytes());
        header.extend_from_slice(&[0; 3]);
        header.extend_from_slice(cdb);
        header.resize(HEADER_LENGTH, 0);

        let mut buffers = vec![(HEADER, HEADER_LENGTH, 0)];
        let mut script = write(HEADER, &header);
        script += &format!("memset {RESPONSE:#x} {RESPONSE_LENGTH:#x} 0x70\n");
        if !out.is_empty() {
            script += &write(OUT, out);
            buffers.push((OUT, out.len(), 0));
        }
        buffers.push((RESPONSE, RESPONSE_LENGTH, WRITE));
        if incoming > 0 {
            script += &format!("memset {IN:#x} {incoming:#x} 0xaa\n");
            buffers.push((IN, incoming, WRITE));
        }
        let mut table = Vec::new();
        for (index, (address, length, flags)) in buffers.iter().enumerate() {
            let more = index + 1 < buffers.len();
            table.extend_from_slice(&u64::from(*address).to_le_bytes());
            table.extend_from_slice(&(*length as u32).to_le_bytes());
            table.extend_from_slice(&(flags | if more { NEXT } else { 0 }).to_le_bytes());
            table.extend_from_slice(&(if more { index as u16 + 1 } else { 0 }).to_le_bytes());
        }
        script += &write(queue, &table);
        let slot = u32::from(self.count) % self.size;
        script += &write(available + 4 + 2 * slot, &0u16.to_le_bytes());
        self.count = self.count.wrapping_add(1);
        script += &write(available + 2, &self.count.to_le_bytes());
        script += &format!("outw {:#x} {REQUESTS:#x}\n", PORT + 0x10);
        self.qemu.qtest(&script);
    }

    /// Waits for the end of the command in the queue.
    pub fn complete(&mut self, incoming: usize, patience: Duration) -> Outcome {
        let queue = QUEUES + REQUESTS * QUEUE_STEP;
        let available = queue + 16 * self.size;
        let used = (available + 6 + 2 * self.size).next_multiple_of(4096);
        let until = Instant::now() + patience;
        while self.read(used + 2, 2) != self.count.to_le_bytes() {
            assert!(Instant::now() < until, "no end within {patience:?}");
            std::thread::sleep(Duration::from_micros(500));
        }
        let response = self.read(RESPONSE, RESPONSE_LENGTH);
        let word = |at: usize| u32::from_le_bytes(response[at..at + 4].try_into().expect("4"));
        let (sense, residual) = (word(0) as usize, word(4) as usize);
        assert_eq!(response[11], 0, "virtio-scsi's own response is OK");
        let status = Status::from(response[10]);
        let data = match (status, incoming) {
            (Status::Good, 1..) => self.read(IN, incoming - residual),
            _ => Vec::new(),
        };
        Outcome {
            status,
            sense: (sense > 0).then(|| Sense::from_device(&response[12..12 + sense])),
            data,
        }
    }

    fn read(&mut self, address: u32, length: usize) -> Vec<u8> {
        if length == 0 {
            return Vec::new();
        }
        let answer = self.qemu.qtest(&format!("read {address:#x} {length:#x}\n"));
        let digits = answer[0].strip_prefix("0x").expect("hexadecimal");
        (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal"))
            .collect()
    }
}

fn write(address: u32, bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("write {address:#x} {:#x} 0x{digits}\n", bytes.len())
}

fn number(text: &str) -> u32 {
    let digits = text.strip_prefix("0x").expect("hexadecimal");
    u32::from_str_radix(digits, 16).expect("a number")
}
