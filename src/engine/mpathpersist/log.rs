//! What a worker prints, into our log, line by line.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::time::Instant;

/// Lines let through in each [`PERIOD`]; the rest is counted.
const LINES: usize = 20;
const PERIOD: Duration = Duration::from_secs(1);
/// Longer lines are cut here.
const LONGEST: usize = 400;

/// Logs what comes out of the pipe until its other end is closed. Everything is
/// read, so that a worker never waits for its output.
pub(super) fn forward(worker: Option<u32>, pipe: OwnedFd) -> io::Result<()> {
    let mut pipe = Receiver::from_owned_fd(pipe)?;
    tokio::spawn(async move {
        let mut lines = Lines::default();
        let mut buffer = vec![0; 8192];
        while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
            lines.take(&buffer[..length], Instant::now(), |line| {
                // That it cannot is our own doing.
                match line.contains("open fds limit") {
                    true => tracing::debug!(worker, "libmpathpersist: {line}"),
                    false => tracing::warn!(worker, "libmpathpersist: {line}"),
                }
            });
            // A flood does not keep the event loop to itself.
            tokio::task::yield_now().await;
        }
        lines.end(|line| tracing::warn!(worker, "libmpathpersist: {line}"));
    });
    Ok(())
}

#[derive(Debug, Default)]
struct Lines {
    partial: Vec<u8>,
    cut: bool,
    period: Option<Instant>,
    passed: usize,
    dropped: u64,
}

impl Lines {
    fn take(&mut self, bytes: &[u8], now: Instant, mut print: impl FnMut(&str)) {
        for byte in bytes {
            match *byte {
                b'\n' => self.line(now, &mut print),
                _ if self.partial.len() >= LONGEST => self.cut = true,
                byte => self.partial.push(byte),
            }
        }
    }

    fn line(&mut self, now: Instant, print: &mut impl FnMut(&str)) {
        if self.period.is_none_or(|start| now >= start + PERIOD) {
            self.period = Some(now);
            self.passed = 0;
            self.note_dropped(print);
        }
        self.passed += 1;
        if self.passed > LINES {
            self.dropped += 1;
        } else if !self.partial.is_empty() {
            let text = String::from_utf8_lossy(&self.partial);
            let text = text.trim_end().escape_debug();
            match self.cut {
                true => print(&format!("{text} …")),
                false => print(&text.to_string()),
            }
        }
        self.partial.clear();
        self.cut = false;
    }

    fn end(&mut self, mut print: impl FnMut(&str)) {
        if !self.partial.is_empty() {
            self.line(Instant::now(), &mut print);
        }
        self.note_dropped(&mut print);
    }

    fn note_dropped(&mut self, print: &mut impl FnMut(&str)) {
        if self.dropped > 0 {
            print(&format!("({} more lines)", self.dropped));
            self.dropped = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_not_logged() {
        let mut lines = Lines::default();
        let mut printed = Vec::new();
        let start = Instant::now();
        lines.take(b"half a ", start, |line| printed.push(line.to_owned()));
        lines.take(b"line\n\x1b[2J\n", start, |line| {
            printed.push(line.to_owned())
        });
        assert_eq!(printed, ["half a line", "\\u{1b}[2J"]);
        let flood = [b'x'; 100_000].map(|byte| byte);
        lines.take(&flood, start, |line| printed.push(line.to_owned()));
        lines.take(&b"\ny".repeat(1000), start, |line| {
            printed.push(line.to_owned())
        });
        assert_eq!(printed.len(), LINES);
        assert!(printed[2].len() < LONGEST + 10);
        lines.take(b"\n", start + PERIOD, |line| printed.push(line.to_owned()));
        assert_eq!(printed[LINES..], ["(982 more lines)", "y"]);
    }
}
