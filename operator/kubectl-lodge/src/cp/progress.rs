//! How far a transfer is: one line of standard error, if somebody watches it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::table::bytes;
use crate::terminal::Terminal;

/// How often the line is written anew.
const INTERVAL: Duration = Duration::from_millis(200);

/// A transfer that is going on.
pub(super) struct Progress {
    label: String,
    total: Option<u64>,
    /// Bytes that have passed.
    pub(super) passed: Arc<AtomicU64>,
    began: Instant,
}

impl Progress {
    pub(super) fn new(label: impl Into<String>, total: Option<u64>) -> Self {
        Self { label: label.into(), total, passed: Arc::default(), began: Instant::now() }
    }

    /// Shows it while `work` is done.
    pub(super) async fn watch<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
        terminal: &mut Terminal,
    ) -> Result<T, Error> {
        if !terminal.is_watched {
            return work.await;
        }
        let mut work = std::pin::pin!(work);
        let mut tick = tokio::time::interval(INTERVAL);
        tick.tick().await;
        let outcome = loop {
            tokio::select! {
                outcome = work.as_mut() => break outcome,
                _ = tick.tick() => self.draw(terminal, ""),
            }
        };
        self.draw(terminal, "\n");
        outcome
    }

    fn draw(&self, terminal: &mut Terminal, end: &str) {
        let line = self.line(self.passed.load(Ordering::Relaxed), self.began.elapsed());
        // Who closed standard error has no use for it.
        let _ = write!(terminal.stderr, "\r\x1b[K{line}{end}");
        let _ = terminal.stderr.flush();
    }

    fn line(&self, passed: u64, took: Duration) -> String {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = bytes(passed.saturating_mul(1000) / millis);
        let of = match self.total {
            Some(total) if total > 0 => {
                format!(" of {} ({}%)", bytes(total), passed.saturating_mul(100) / total)
            }
            Some(_) | None => String::new(),
        };
        format!("{}: {}{of}, {rate}/s", self.label, bytes(passed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_bytes_share_and_rate() {
        let whole = Progress::new("a", Some(4 << 20)).line(1 << 20, Duration::from_secs(2));
        assert_eq!(whole, "a: 1.0 MiB of 4.0 MiB (25%), 512.0 KiB/s");
        assert_eq!(Progress::new("a", None).line(0, Duration::ZERO), "a: 0 B, 0 B/s");
    }
}
