//! When a VM has been idle for long enough. Pure: it is told the time.

use std::time::{Duration, Instant};

/// How often a VM is looked at at least.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Soon after a boot, so that there is a number of what it uses.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// How often at most.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// Since when nothing happened in a VM.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idleness {
    since: Instant,
    is_busy: bool,
}

impl Idleness {
    /// Of a VM that was booted now.
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, is_busy: false }
    }

    /// Somebody looked: whether anything is going on, and when the last request ended.
    pub(super) fn observe(&mut self, now: Instant, is_busy: bool, last_request: Instant) {
        if is_busy || self.is_busy {
            // What was busy when looked at last may have been until just now.
            self.since = now;
        }
        self.since = self.since.max(last_request.min(now));
        self.is_busy = is_busy;
    }

    /// Since when it is idle; `None` while it is not.
    pub(super) fn since(&self) -> Option<Instant> {
        (!self.is_busy).then_some(self.since)
    }

    /// Whether it has been idle for this long.
    pub(super) fn is_due(&self, now: Instant, sleep_after: Duration) -> bool {
        self.since().is_some_and(|since| now.saturating_duration_since(since) >= sleep_after)
    }

    /// When to look again.
    pub(super) fn pause(&self, now: Instant, sleep_after: Option<Duration>) -> Duration {
        let Some(sleep_after) = sleep_after else { return LONGEST_PAUSE };
        let left = match self.since() {
            Some(since) => sleep_after.saturating_sub(now.saturating_duration_since(since)),
            None => sleep_after / 4,
        };
        left.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }

    /// When to look for the first time after a boot.
    pub(super) fn first_pause(sleep_after: Option<Duration>) -> Duration {
        sleep_after.map_or(FIRST_PAUSE, |after| after.clamp(SHORTEST_PAUSE, FIRST_PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_vm_is_idle_from_the_end_of_its_last_request() {
        let start = Instant::now();
        let mut idle = Idleness::new(start);
        idle.observe(start + SECOND, false, start);
        idle.observe(start + 4 * SECOND, false, start + 3 * SECOND);
        assert!(!idle.is_due(start + 7 * SECOND, 5 * SECOND));
        assert!(idle.is_due(start + 8 * SECOND, 5 * SECOND));
        assert_eq!(idle.pause(start + 4 * SECOND, Some(5 * SECOND)), 4 * SECOND);
    }

    #[test]
    fn a_process_in_the_background_counts_until_it_was_seen_to_be_gone() {
        let start = Instant::now();
        let mut idle = Idleness::new(start);
        idle.observe(start + 10 * SECOND, true, start);
        assert!(!idle.is_due(start + 60 * SECOND, SECOND), "it is not idle at all");
        idle.observe(start + 20 * SECOND, false, start);
        assert_eq!(idle.since(), Some(start + 20 * SECOND));
        assert!(idle.is_due(start + 21 * SECOND, SECOND));
    }

    #[test]
    fn a_vm_is_looked_at_in_time_and_not_too_often() {
        let start = Instant::now();
        let mut idle = Idleness::new(start);
        assert_eq!(idle.pause(start, None), LONGEST_PAUSE);
        assert_eq!(idle.pause(start, Some(Duration::from_millis(1))), SHORTEST_PAUSE);
        assert_eq!(idle.pause(start, Some(900 * SECOND)), LONGEST_PAUSE);
        idle.observe(start, false, start);
        idle.observe(start + SECOND, false, start);
        assert_eq!(idle.pause(start + SECOND, Some(3 * SECOND)), 2 * SECOND);
    }
}
