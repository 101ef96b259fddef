//! A number that may be used up: bytes or inodes of a file system. Its maximum can change at any time.

use std::sync::atomic::{AtomicU64, Ordering};

use vm_abi::Errno;

use crate::error::{Error, VfsResult};

/// A maximum, and how much of it is used. Lowering the maximum below what is used takes nothing away; it only keeps
/// more from being taken.
pub(crate) struct Budget {
    max: AtomicU64,
    used: AtomicU64,
    /// For the error, so that it tells which limit was hit.
    name: &'static str,
}

impl Budget {
    pub(crate) const fn new(max: u64, used: u64, name: &'static str) -> Self {
        Self { max: AtomicU64::new(max), used: AtomicU64::new(used), name }
    }

    pub(crate) fn max(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    pub(crate) fn set_max(&self, max: u64) {
        self.max.store(max, Ordering::Relaxed);
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn free(&self) -> u64 {
        self.max().saturating_sub(self.used())
    }

    /// Takes all of an amount or fails with `ENOSPC`.
    pub(crate) fn take(&self, amount: u64) -> VfsResult<()> {
        let max = self.max();
        let fits = |used: u64| used.checked_add(amount).filter(|&after| amount == 0 || after <= max);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.exhausted()),
        }
    }

    /// Takes as many whole units of an amount as are free; tells how much that is.
    pub(crate) fn take_up_to(&self, amount: u64, unit: u64) -> u64 {
        let max = self.max();
        let part = |used: u64| amount.min(max.saturating_sub(used) / unit * unit);
        let before =
            self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(used + part(used)));
        // The closure never refuses, so both arms carry the value before.
        part(before.unwrap_or_else(|used| used))
    }

    /// Gives back what was taken. A database that counted wrongly must not make it wrap.
    pub(crate) fn give(&self, amount: u64) {
        let less = |used: u64| Some(used.saturating_sub(amount));
        // The closure never refuses.
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    pub(crate) const fn exhausted(&self) -> Error {
        Error::limit(Errno::ENOSPC, self.name)
    }
}

#[cfg(test)]
mod tests {
    use vm_abi::Errno;

    use super::Budget;

    #[test]
    fn taking_more_than_is_free_fails_and_takes_nothing() {
        let budget = Budget::new(10, 0, "test units");
        budget.take(7).unwrap();
        let error = budget.take(4).unwrap_err();
        assert_eq!((error.errno(), error.hit_limit()), (Errno::ENOSPC, Some("test units")));
        assert_eq!((budget.free(), budget.take_up_to(20, 2), budget.used()), (3, 2, 9));
        assert!(budget.take(u64::MAX).is_err());
    }

    #[test]
    fn a_lowered_maximum_takes_nothing_away_and_gives_nothing_more() {
        let budget = Budget::new(10, 8, "test units");
        budget.set_max(5);
        assert_eq!((budget.free(), budget.take_up_to(1, 1)), (0, 0));
        assert!(budget.take(1).is_err());
        budget.take(0).unwrap();
        budget.give(4);
        budget.take(1).unwrap();
        budget.give(100);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let budget = Budget::new(10, 0, "test units");
        budget.take(7).unwrap();
        let error = budget.take(4).unwrap_err();
        assert_eq!(error, Errno::ENOSPC);
        assert_eq!(error.hit_limit(), Some("test units"));
        assert_eq!(budget.free(), 3);
        budget.give(7);
        budget.take(10).unwrap();
        assert!(budget.take(u64::MAX).is_err());
    }

    #[test]
    fn a_part_is_taken_in_whole_units() {
        let budget = Budget::new(10, 0, "test units");
        assert_eq!(budget.take_up_to(20, 4), 8);
        assert_eq!(budget.take_up_to(4, 4), 0);
        assert_eq!(budget.free(), 2);
    }
}
