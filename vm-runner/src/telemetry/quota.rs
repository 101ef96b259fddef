//! How much a vm process logs. Guests can make it say something as often as they like, by starting programs that trap or
//! ask for too much memory; its log is one with those of all others.
//!
//! What is beyond the quota is left out and counted, and the count is logged as soon as there is room again. Must never
//! wait.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

use crate::args::LogFormat;

/// Lines that may come at once.
const BURST: u32 = 200;
/// One more line each.
const INTERVAL: Duration = Duration::from_millis(100);

/// Standard error, for so many lines.
#[derive(Debug)]
pub(super) struct BoundedStderr {
    format: LogFormat,
    /// Guarded by itself; a leaf in the lock order.
    quota: Mutex<Quota>,
}

impl BoundedStderr {
    pub(super) fn new(format: LogFormat) -> Self {
        Self { format, quota: Mutex::new(Quota::new(Instant::now())) }
    }
}

impl<'a> MakeWriter<'a> for BoundedStderr {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// One line of the log, written at once.
pub(super) struct Line<'a>(&'a BoundedStderr);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let BoundedStderr { format, quota } = self.0;
        let granted = quota.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
        match granted {
            None => return Ok(bytes.len()),
            Some(0) => {}
            Some(left_out) => io::stderr().write_all(notice(*format, left_out).as_bytes())?,
        }
        io::stderr().write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn notice(format: LogFormat, left_out: u64) -> String {
    let message = format!("{left_out} lines of this vm process's log were left out");
    match format {
        LogFormat::Json => format!("{{\"level\":\"WARN\",\"message\":\"{message}\"}}\n"),
        LogFormat::Text => format!("{message}\n"),
    }
}

#[derive(Debug)]
struct Quota {
    lines: u32,
    filled: Instant,
    left_out: u64,
}

impl Quota {
    fn new(now: Instant) -> Self {
        Self { lines: BURST, filled: now, left_out: 0 }
    }

    /// Takes a line: `None` if there is none, otherwise how many were left out before.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let passed = now.saturating_duration_since(self.filled);
        let earned = u32::try_from(passed.as_millis() / INTERVAL.as_millis()).unwrap_or(u32::MAX);
        if earned > 0 {
            self.lines = self.lines.saturating_add(earned).min(BURST);
            self.filled = now;
        }
        if self.lines == 0 {
            self.left_out += 1;
            return None;
        }
        self.lines -= 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_quota_is_counted_and_told_when_there_is_room() {
        let start = Instant::now();
        let mut quota = Quota::new(start);
        assert!((0..BURST).all(|_| quota.take(start) == Some(0)));
        assert!((0..7).all(|_| quota.take(start + INTERVAL / 2).is_none()));
        assert_eq!(quota.take(start + INTERVAL), Some(7));
        assert_eq!(quota.take(start + INTERVAL), None);
        assert_eq!(quota.take(start + INTERVAL * 1000), Some(1));
        assert!((1..BURST).all(|_| quota.take(start + INTERVAL * 1000) == Some(0)));
        assert_eq!(quota.take(start + INTERVAL * 1000), None);
    }

    #[test]
    fn the_notice_is_of_the_logs_format() {
        let json: serde_json::Value = serde_json::from_str(&notice(LogFormat::Json, 3)).unwrap();
        assert_eq!(json["message"], "3 lines of this vm process's log were left out");
        assert!(notice(LogFormat::Text, 3).ends_with("left out\n"));
    }
}
