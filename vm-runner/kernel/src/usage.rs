//! What is used of what is limited.
//!
//! A [`Meter`] counts one limited thing of a VM; a [`Charge`] is a share of it that is given back when dropped, so a
//! resource and its accounting cannot come apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much of something is used, and how much may be.
#[derive(Debug)]
pub(crate) struct Meter {
    used: AtomicU64,
    limit: u64,
}

/// A used share of a [`Meter`].
#[derive(Debug)]
pub(crate) struct Charge {
    meter: Arc<Meter>,
    amount: u64,
}

impl Meter {
    /// An unused meter.
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { used: AtomicU64::new(0), limit })
    }

    /// What is used now.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// What may be used.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Takes one; `None` if the limit is reached.
    pub(crate) fn try_take_one(self: &Arc<Self>) -> Option<Charge> {
        let mut charge = Charge { meter: Arc::clone(self), amount: 0 };
        charge.try_set(1).then_some(charge)
    }

    /// A share of nothing yet.
    pub(crate) fn empty_charge(self: &Arc<Self>) -> Charge {
        Charge { meter: Arc::clone(self), amount: 0 }
    }

    /// Adds as many whole steps of an amount as the limit allows; tells how much.
    fn add_steps(&self, amount: u64, step: u64) -> u64 {
        let fitting = |used: u64| {
            let free = self.limit.saturating_sub(used);
            if amount <= free { amount } else { free - free % step }
        };
        let add = |used| Some(used + fitting(used));
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).map_or(0, fitting)
    }

    fn try_add(&self, amount: u64) -> bool {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(amount).filter(|sum| *sum <= self.limit)
            })
            .is_ok()
    }
}

impl Charge {
    /// How much the share is.
    pub(crate) fn amount(&self) -> u64 {
        self.amount
    }

    /// Makes the share as large as the limit allows, in whole steps, up to this.
    pub(crate) fn grow_towards(&mut self, amount: u64, step: u64) {
        if amount > self.amount {
            self.amount += self.meter.add_steps(amount - self.amount, step);
        }
    }

    /// Makes the share larger or smaller; false, and nothing changes, if the limit does not allow it.
    pub(crate) fn try_set(&mut self, amount: u64) -> bool {
        if amount > self.amount {
            if !self.meter.try_add(amount - self.amount) {
                return false;
            }
        } else {
            self.meter.used.fetch_sub(self.amount - amount, Ordering::Relaxed);
        }
        self.amount = amount;
        true
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.meter.used.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

/// What a VM uses at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processes, zombies included.
    pub processes: u64,
    /// File descriptions.
    pub open_files: u64,
    /// Pipes, named ones that are open included.
    pub pipes: u64,
    /// Bytes in pipes beyond what every pipe may hold anyway.
    pub pipe_bytes: u64,
    /// Sockets.
    pub sockets: u64,
    /// Pseudo terminals.
    pub terminals: u64,
    /// Advisory file locks.
    pub locks: u64,
    /// Memory of the programs, as their drivers report it.
    pub memory_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::Meter;

    #[test]
    fn a_dropped_charge_is_given_back() {
        let meter = Meter::new(2);
        let first = meter.try_take_one().unwrap();
        let _second = meter.try_take_one().unwrap();
        assert!(meter.try_take_one().is_none());
        drop(first);
        assert_eq!(meter.used(), 1);
        assert!(meter.try_take_one().is_some());
    }

    #[test]
    fn a_charge_that_cannot_grow_keeps_what_it_has() {
        let meter = Meter::new(10);
        let mut charge = meter.empty_charge();
        assert!(charge.try_set(8));
        assert!(!charge.try_set(11));
        assert_eq!((charge.amount(), meter.used()), (8, 8));
        assert!(charge.try_set(3));
        assert_eq!(meter.used(), 3);
        charge.grow_towards(20, 4);
        assert_eq!((charge.amount(), meter.used()), (7, 7));
    }
}
