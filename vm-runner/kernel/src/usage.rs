//! What is used of what is limited.
//!
//! A [`Meter`] counts one limited thing of a VM; a [`Charge`] is a share of it that is given back when dropped, so a
//! resource and its accounting cannot come apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vm_abi::Errno;

use crate::limit::{Limit, Refusals};

/// How much of something is used, and how much may be.
#[derive(Debug)]
pub(crate) struct Meter {
    used: AtomicU64,
    maximum: u64,
    limit: Limit,
    refusals: Arc<Refusals>,
    /// Whatever counts here counts there, too.
    whole: Option<Arc<Self>>,
}

/// A used share of a [`Meter`].
#[derive(Debug)]
pub(crate) struct Charge {
    meter: Arc<Meter>,
    amount: u64,
}

impl Meter {
    /// An unused meter of what a limit allows.
    pub(crate) fn new(limit: Limit, maximum: u64, refusals: &Arc<Refusals>) -> Arc<Self> {
        Self::with_whole(limit, maximum, refusals, None)
    }

    /// An unused meter of a part of what another one counts.
    pub(crate) fn part_of(
        whole: &Arc<Self>,
        limit: Limit,
        maximum: u64,
        refusals: &Arc<Refusals>,
    ) -> Arc<Self> {
        Self::with_whole(limit, maximum, refusals, Some(Arc::clone(whole)))
    }

    fn with_whole(
        limit: Limit,
        maximum: u64,
        refusals: &Arc<Refusals>,
        whole: Option<Arc<Self>>,
    ) -> Arc<Self> {
        Arc::new(Self { used: AtomicU64::new(0), maximum, limit, refusals: Arc::clone(refusals), whole })
    }

    /// What is used now.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// What may be used.
    pub(crate) fn maximum(&self) -> u64 {
        self.maximum
    }

    /// Takes one; if the limit is reached, answers what the guest sees.
    pub(crate) fn take_one(self: &Arc<Self>) -> Result<Charge, Errno> {
        self.take(1)
    }

    /// Takes some; if that is over the limit, answers what the guest sees.
    pub(crate) fn take(self: &Arc<Self>, amount: u64) -> Result<Charge, Errno> {
        let mut charge = self.empty_charge();
        charge.set(amount)?;
        Ok(charge)
    }

    /// A share of nothing yet.
    pub(crate) fn empty_charge(self: &Arc<Self>) -> Charge {
        Charge { meter: Arc::clone(self), amount: 0 }
    }

    /// Adds as many whole steps of an amount as the limit allows; tells how much.
    fn add_steps(&self, amount: u64, step: u64) -> u64 {
        let fitting = |used: u64| {
            let free = self.maximum.saturating_sub(used);
            if amount <= free { amount } else { free - free % step }
        };
        let add = |used| Some(used + fitting(used));
        let added = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).map_or(0, fitting);
        let of_whole = self.whole.as_ref().map_or(added, |whole| whole.add_steps(added, step));
        self.used.fetch_sub(added - of_whole, Ordering::Relaxed);
        if of_whole < amount {
            self.refusals.note(self.limit);
        }
        of_whole
    }

    fn add(&self, amount: u64) -> Result<(), Errno> {
        let fitting = |used: u64| used.checked_add(amount).filter(|sum| *sum <= self.maximum);
        if self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fitting).is_err() {
            return Err(self.refusals.note(self.limit));
        }
        match self.whole.as_ref().map_or(Ok(()), |whole| whole.add(amount)) {
            Ok(()) => Ok(()),
            Err(errno) => {
                self.used.fetch_sub(amount, Ordering::Relaxed);
                Err(errno)
            }
        }
    }

    fn give_back(&self, amount: u64) {
        self.used.fetch_sub(amount, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.give_back(amount);
        }
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

    /// Makes the share larger or smaller; if the limit does not allow it, nothing changes, and this answers what the
    /// guest sees.
    pub(crate) fn set(&mut self, amount: u64) -> Result<(), Errno> {
        if amount > self.amount {
            self.meter.add(amount - self.amount)?;
        } else {
            self.meter.give_back(self.amount - amount);
        }
        self.amount = amount;
        Ok(())
    }

    /// Makes the share so small, if it is larger.
    pub(crate) fn shrink_to(&mut self, amount: u64) {
        if amount < self.amount {
            self.meter.give_back(self.amount - amount);
            self.amount = amount;
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.meter.give_back(self.amount);
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
    /// Bytes in sockets beyond what every socket may hold anyway.
    pub socket_bytes: u64,
    /// Pseudo terminals.
    pub terminals: u64,
    /// Advisory file locks.
    pub locks: u64,
    /// Memory: of the programs, as their drivers report it, their arguments, lists of directories being read, and the
    /// bytes in pipes and sockets that are counted above.
    pub memory_bytes: u64,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vm_abi::Errno;

    use super::Meter;
    use crate::limit::{Limit, Refusals};

    #[test]
    fn a_dropped_charge_is_given_back() {
        let refusals = Arc::<Refusals>::default();
        let meter = Meter::new(Limit::Sockets, 2, &refusals);
        let first = meter.take_one().unwrap();
        let _second = meter.take_one().unwrap();
        assert_eq!(meter.take_one().unwrap_err(), Errno::ENFILE);
        assert_eq!(refusals.count(Limit::Sockets), 1);
        drop(first);
        assert_eq!(meter.used(), 1);
        assert!(meter.take_one().is_ok());
    }

    #[test]
    fn a_charge_that_cannot_grow_keeps_what_it_has() {
        let meter = Meter::new(Limit::Memory, 10, &Arc::default());
        let mut charge = meter.empty_charge();
        charge.set(8).unwrap();
        assert_eq!(charge.set(11), Err(Errno::ENOMEM));
        assert_eq!((charge.amount(), meter.used()), (8, 8));
        charge.set(3).unwrap();
        assert_eq!(meter.used(), 3);
        charge.grow_towards(20, 4);
        assert_eq!((charge.amount(), meter.used()), (7, 7));
        charge.shrink_to(2);
        assert_eq!((charge.amount(), meter.used()), (2, 2));
    }

    #[test]
    fn what_a_part_takes_is_missing_in_the_whole() {
        let refusals = Arc::<Refusals>::default();
        let whole = Meter::new(Limit::Memory, 10, &refusals);
        let part = Meter::part_of(&whole, Limit::PipeBytes, 100, &refusals);
        let _other = whole.take(4).unwrap();
        let mut charge = part.empty_charge();
        assert_eq!(charge.set(7), Err(Errno::ENOMEM));
        assert_eq!((part.used(), whole.used()), (0, 4));
        charge.grow_towards(8, 2);
        assert_eq!((part.used(), whole.used()), (6, 10));
        drop(charge);
        assert_eq!((part.used(), whole.used()), (0, 4));
    }
}
