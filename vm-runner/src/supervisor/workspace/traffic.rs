//! The requests of one workspace that are in flight, and its runs: how many there may be, and when the last one ended.
//!
//! Every request enters before it asks for the VM. Its owner takes the VM out of the view before it looks whether
//! anybody is in; so a VM is never stopped under a request that has just taken it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The requests of one workspace.
#[derive(Debug)]
pub(crate) struct Traffic {
    places: Arc<Semaphore>,
    most: usize,
    /// Runs, which take no place of a request; who begins them bounds them.
    runs: AtomicUsize,
    start: Instant,
    /// Microseconds from the start to the end of the last request.
    last: AtomicU64,
}

/// A request in flight, or a run.
#[derive(Debug)]
pub(crate) struct Visit {
    traffic: Arc<Traffic>,
    is_use: bool,
    /// Absent for a run.
    place: Option<OwnedSemaphorePermit>,
}

impl Traffic {
    /// Room for this many requests at once.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(most)),
            most,
            runs: AtomicUsize::new(0),
            start: Instant::now(),
            last: AtomicU64::new(0),
        })
    }

    /// Lets a request in, if there is room.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Visit> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        // Pairs with `is_empty`: either it sees this request, or this request sees that the VM is not to be had.
        fence(Ordering::SeqCst);
        Some(Visit { traffic: Arc::clone(self), is_use: true, place: Some(place) })
    }

    /// Lets a run in.
    pub(super) fn enter_run(self: &Arc<Self>) -> Visit {
        self.runs.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        Visit { traffic: Arc::clone(self), is_use: true, place: None }
    }

    /// Whether nobody is in. What the owner wrote before is seen by all who enter after.
    pub(super) fn is_empty(&self) -> bool {
        fence(Ordering::SeqCst);
        self.places.available_permits() >= self.most && self.runs.load(Ordering::SeqCst) == 0
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
        if self.is_use {
            let now = u64::try_from(self.traffic.start.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.traffic.last.fetch_max(now, Ordering::Relaxed);
        }
        if self.place.is_none() {
            self.traffic.runs.fetch_sub(1, Ordering::SeqCst);
        }
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
    fn a_run_is_in_and_takes_no_place() {
        let traffic = Traffic::new(1);
        let run = traffic.enter_run();
        assert!(!traffic.is_empty() && traffic.enter().is_some());
        assert!(!traffic.is_empty());
        drop(run);
        assert!(traffic.is_empty());
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
