//! How much CPU time a process has used: ever, and lately.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::nanos;
use crate::limit::Hits;

/// The CPU time of one process.
#[derive(Debug)]
pub(crate) struct CpuTime {
    /// All it was charged.
    used: AtomicU64,
    /// All that its children were charged that it has waited for, theirs included.
    children: AtomicU64,
    /// When the slice it is in began, on the monotonic clock; [`ASLEEP`] or [`QUEUED`] outside of slices.
    slice: AtomicU64,
    /// How long it has waited for the host within the slice it is in.
    blocked: AtomicU64,
    /// The most it was ever told: a clock does not go back.
    told: AtomicU64,
    /// What it was charged lately.
    pub(super) recent: Recent,
    /// What it competes as.
    pub(super) share: Arc<Share>,
}

/// It does not want to run.
const ASLEEP: u64 = 0;
/// It waits for its turn.
const QUEUED: u64 = u64::MAX;

/// What competes for CPU time: a command of the host and all that descends from it, whatever groups and sessions those
/// make. So many processes of one command get no more than another command's one.
#[derive(Debug, Default)]
pub(crate) struct Share {
    pub(super) recent: Recent,
    /// Limits that it has hit.
    pub(crate) hits: Hits,
}

/// CPU time charged in the current and the last period. Written under the governor's lock only.
#[derive(Debug, Default)]
pub(super) struct Recent {
    period: AtomicU64,
    now: AtomicU64,
    before: AtomicU64,
}

impl CpuTime {
    /// Of a process that has not run.
    pub(crate) fn new(share: Arc<Share>) -> Self {
        Self {
            used: AtomicU64::new(0),
            children: AtomicU64::new(0),
            slice: AtomicU64::new(0),
            blocked: AtomicU64::new(0),
            told: AtomicU64::new(0),
            recent: Recent::default(),
            share,
        }
    }

    /// What its children compete as, too.
    pub(crate) fn share(&self) -> Arc<Share> {
        Arc::clone(&self.share)
    }

    /// All it was charged.
    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used.load(Ordering::Relaxed))
    }

    /// All that its children were charged that it has waited for.
    pub(crate) fn children(&self) -> Duration {
        Duration::from_nanos(self.children.load(Ordering::Relaxed))
    }

    /// It has waited for this child.
    pub(crate) fn add_child(&self, child: &Self) {
        let all = nanos(child.used().saturating_add(child.children()));
        self.children.fetch_add(all, Ordering::Relaxed);
    }

    /// What it has used, the slice included that it is in.
    pub(crate) fn used_at(&self, monotonic: Duration) -> Duration {
        let slice = match self.slice.load(Ordering::Relaxed) {
            ASLEEP | QUEUED => 0,
            began => nanos(monotonic).saturating_sub(began),
        };
        let used = self.used.load(Ordering::Relaxed).saturating_add(slice);
        Duration::from_nanos(self.told.fetch_max(used, Ordering::Relaxed).max(used))
    }

    pub(super) fn begin_slice(&self, monotonic: Duration) {
        self.slice.store(nanos(monotonic).max(1), Ordering::Relaxed);
    }

    /// It has waited for the host, within the slice it is in.
    pub(crate) fn add_blocked(&self, time: Duration) {
        self.blocked.fetch_add(nanos(time), Ordering::Relaxed);
    }

    /// How long it has waited so.
    pub(super) fn take_blocked(&self) -> Duration {
        Duration::from_nanos(self.blocked.swap(0, Ordering::Relaxed))
    }

    pub(super) fn end_slice(&self) {
        self.slice.store(ASLEEP, Ordering::Relaxed);
    }

    pub(super) fn wait_for_slice(&self) {
        self.slice.store(QUEUED, Ordering::Relaxed);
    }

    /// Whether it runs or waits for its turn.
    pub(crate) fn is_runnable(&self) -> bool {
        self.slice.load(Ordering::Relaxed) != ASLEEP
    }

    pub(super) fn add(&self, period: u64, used: u64) {
        self.used.fetch_add(used, Ordering::Relaxed);
        self.recent.add(period, used);
        self.share.recent.add(period, used);
    }
}

impl Recent {
    /// What was charged in this period and the one before it.
    pub(super) fn get(&self, period: u64) -> u64 {
        let (now, before) = (self.now.load(Ordering::Relaxed), self.before.load(Ordering::Relaxed));
        match period.saturating_sub(self.period.load(Ordering::Relaxed)) {
            0 => now.saturating_add(before),
            1 => now,
            _ => 0,
        }
    }

    pub(super) fn add(&self, period: u64, used: u64) {
        let past = period.saturating_sub(self.period.load(Ordering::Relaxed));
        if past > 0 {
            let before = if past == 1 { self.now.load(Ordering::Relaxed) } else { 0 };
            self.before.store(before, Ordering::Relaxed);
            self.now.store(0, Ordering::Relaxed);
            self.period.store(period, Ordering::Relaxed);
        }
        self.now.fetch_add(used, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CpuTime, Recent};

    #[test]
    fn what_was_used_two_periods_ago_is_forgotten() {
        let recent = Recent::default();
        recent.add(4, 10);
        recent.add(5, 3);
        assert_eq!([4, 5, 6, 7].map(|period| recent.get(period)), [13, 13, 3, 0]);
        recent.add(9, 1);
        assert_eq!(recent.get(9), 1);
    }

    #[test]
    fn the_clock_of_a_process_counts_its_slice_and_never_goes_back() {
        let time = CpuTime::new(Default::default());
        let at = Duration::from_millis;
        time.begin_slice(at(10));
        assert_eq!(time.used_at(at(13)), at(3));
        time.end_slice();
        time.add(0, 2_000_000);
        assert_eq!((time.used(), time.used_at(at(20))), (at(2), at(3)));
    }
}
