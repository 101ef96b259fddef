//! The requests of one workspace that are in flight: how many there may be, and when the last one ended.
//!
//! Every request enters before it asks for the VM. Its owner takes the VM out of the view before it looks whether
//! anybody is in; so a VM is never stopped under a request that has just taken it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The requests of one workspace.
#[derive(Debug)]
pub(crate) struct Traffic {
    places: Arc<Semaphore>,
    most: usize,
    start: Instant,
    /// Microseconds from the start to the end of the last request.
    last: AtomicU64,
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct Visit {
    traffic: Arc<Traffic>,
    is_use: bool,
    _place: OwnedSemaphorePermit,
}

impl Traffic {
    /// Room for this many requests at once.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(most)),
            most,
            start: Instant::now(),
            last: AtomicU64::new(0),
        })
    }

    /// Lets a request in, if there is room.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Visit> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        // Pairs with `is_empty`: either it sees this request, or this request sees that the VM is not to be had.
        fence(Ordering::SeqCst);
        Some(Visit { traffic: Arc::clone(self), is_use: true, _place: place })
    }

    /// Whether nobody is in. What the owner wrote before is seen by all who enter after.
    pub(super) fn is_empty(&self) -> bool {
        fence(Ordering::SeqCst);
        self.places.available_permits() >= self.most
    }

    /// When the last request ended.
    pub(super) fn last_ended(&self) -> Instant {
        self.start + Duration::from_micros(self.last.load(Ordering::Relaxed))
    }
}

impl Visit {
    /// A request that only looks: who asks how a workspace is does not keep it awake.
    pub(crate) fn only_looks(mut self) -> Self {
        self.is_use = false;
        self
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if !self.is_use {
            return;
        }
        let now = u64::try_from(self.traffic.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.traffic.last.fetch_max(now, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_in_until_it_is_dropped() {
        let traffic = Traffic::new(1);
        assert!(traffic.is_empty());
        let began = traffic.last_ended();
        let visit = traffic.enter().unwrap();
        assert!(!traffic.is_empty() && traffic.enter().is_none());
        drop(visit);
        assert!(traffic.is_empty() && traffic.last_ended() >= began);
    }

    #[test]
    fn who_only_looks_is_in_but_is_no_use() {
        let traffic = Traffic::new(1);
        let began = traffic.last_ended();
        let visit = traffic.enter().unwrap().only_looks();
        assert!(!traffic.is_empty());
        std::thread::sleep(Duration::from_millis(1));
        drop(visit);
        assert_eq!(traffic.last_ended(), began);
    }
}
