//! Whether something waits to be written, since when, and whether the flusher thread has to be told.
//!
//! While there is much to do every write would otherwise wake the flusher, which would only note when to look again. So
//! as long as it looks by itself before anything has waited too long, nobody wakes it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What waits to be written.
pub(super) struct Work {
    opened: Instant,
    is_waiting: AtomicBool,
    /// When the first of it came, in nanoseconds after `opened`.
    since: AtomicU64,
    /// Whether the flusher looks only when it is woken.
    is_asleep: AtomicBool,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            opened: Instant::now(),
            is_waiting: AtomicBool::new(false),
            since: AtomicU64::new(0),
            is_asleep: AtomicBool::new(false),
        }
    }
}

impl Work {
    /// Notes some; tells whether the flusher has to be woken for it.
    pub(super) fn note(&self) -> bool {
        // Either this sees that the flusher sleeps, or the flusher, before it sleeps, sees this.
        if self.is_waiting.swap(true, Ordering::SeqCst) {
            return false;
        }
        let since = u64::try_from(self.opened.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.since.store(since, Ordering::Relaxed);
        self.is_asleep.load(Ordering::SeqCst)
    }

    /// Notes that a batch is about to have all of it.
    pub(super) fn take(&self) {
        self.is_waiting.store(false, Ordering::SeqCst);
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::SeqCst)
    }

    /// When the first of it came. Of work that is being noted this instant it may tell when some came before.
    pub(super) fn since(&self) -> Instant {
        self.opened + Duration::from_nanos(self.since.load(Ordering::Relaxed))
    }

    /// The flusher is about to sleep until it is woken; false if there is work, so that it must not.
    pub(super) fn fall_asleep(&self) -> bool {
        self.is_asleep.store(true, Ordering::SeqCst);
        let may_sleep = !self.is_waiting();
        if !may_sleep {
            self.wake_up();
        }
        may_sleep
    }

    /// The flusher looks by itself again.
    pub(super) fn wake_up(&self) {
        self.is_asleep.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::Work;

    #[test]
    fn only_a_flusher_that_sleeps_is_woken_and_only_by_the_first() {
        let work = Work::default();
        assert!(!work.note(), "it is about");
        assert!(!work.fall_asleep(), "there is work");
        work.take();
        assert!(work.fall_asleep());
        assert!(work.note(), "it sleeps");
        assert!(!work.note(), "it was woken");
        work.wake_up();
        work.take();
        assert!(!work.is_waiting());
    }

    #[test]
    fn work_waits_since_its_first_change() {
        let work = Work::default();
        let before = std::time::Instant::now();
        work.note();
        let since = work.since();
        assert!(since >= before);
        work.note();
        assert_eq!(work.since(), since);
        work.take();
        work.note();
        assert!(work.since() >= since);
    }
}
