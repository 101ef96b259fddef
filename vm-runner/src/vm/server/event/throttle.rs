//! Telling that there is more of something, a few times a second at most.

use std::time::Duration;

use tokio::time::Instant;

/// How long one notice is good for.
const INTERVAL: Duration = Duration::from_millis(100);

/// When the next notice is due.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    last: Option<Instant>,
    due: Option<Instant>,
}

impl Throttle {
    /// Notes that there is more.
    pub(crate) fn note(&mut self) {
        let at = self.last.map_or_else(Instant::now, |last| last + INTERVAL);
        self.due.get_or_insert(at);
    }

    /// Whether a notice is due now; it counts as given then.
    pub(crate) fn take_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            self.due = None;
            self.last = Some(now);
        }
        is_due
    }

    /// Whether a notice is owed, be it due or not; it counts as given then.
    pub(crate) fn take_owed(&mut self) -> bool {
        self.due.take().is_some()
    }

    /// Waits until a notice is due; for ever if none is owed.
    pub(crate) async fn wait_due(&self) {
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_notice_is_due_at_once_and_further_ones_later() {
        let mut throttle = Throttle::default();
        assert!(!throttle.take_due());
        throttle.note();
        assert!(throttle.take_due());
        throttle.note();
        throttle.note();
        assert!(!throttle.take_due());
        throttle.wait_due().await;
        assert!(throttle.take_due());
        assert!(!throttle.take_owed());
        throttle.note();
        assert!(throttle.take_owed());
    }
}
