//! A number that may be used up: bytes or inodes.

use std::sync::atomic::{AtomicU64, Ordering};

use vm_abi::Errno;

use crate::error::{Error, VfsResult};

/// A maximum, and how much of it is used. Used never exceeds the maximum.
pub(super) struct Budget {
    max: u64,
    used: AtomicU64,
    /// For the error, so that it tells which limit was hit.
    name: &'static str,
}

impl Budget {
    pub(super) const fn new(max: u64, name: &'static str) -> Self {
        Self { max, used: AtomicU64::new(0), name }
    }

    pub(super) const fn max(&self) -> u64 {
        self.max
    }

    pub(super) fn free(&self) -> u64 {
        self.max - self.used.load(Ordering::Relaxed)
    }

    /// Takes all of an amount or fails with `ENOSPC`.
    pub(super) fn take(&self, amount: u64) -> VfsResult<()> {
        let fits = |used: u64| used.checked_add(amount).filter(|&after| after <= self.max);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.exhausted()),
        }
    }

    /// Takes as many whole units of an amount as are free; tells how much that is.
    pub(super) fn take_up_to(&self, amount: u64, unit: u64) -> u64 {
        let part = |used: u64| amount.min((self.max - used) / unit * unit);
        let before =
            self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(used + part(used)));
        // The closure never refuses, so both arms carry the value before.
        part(before.unwrap_or_else(|used| used))
    }

    /// Gives back what was taken.
    pub(super) fn give(&self, amount: u64) {
        self.used.fetch_sub(amount, Ordering::Relaxed);
    }

    pub(super) const fn exhausted(&self) -> Error {
        Error::limit(Errno::ENOSPC, self.name)
    }
}

#[cfg(test)]
mod tests {
    use vm_abi::Errno;

    use super::Budget;

    #[test]
    fn taking_more_than_is_free_fails_and_takes_nothing() {
        let budget = Budget::new(10, "test units");
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
        let budget = Budget::new(10, "test units");
        assert_eq!(budget.take_up_to(20, 4), 8);
        assert_eq!(budget.take_up_to(4, 4), 0);
        assert_eq!(budget.free(), 2);
    }
}
