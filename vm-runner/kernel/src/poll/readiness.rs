//! Who waits for an object.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use vm_abi::PollEvents;

use crate::mutex::Mutex;

/// The tasks that wait for an object to change, each with the events it waits for.
///
/// An object changes its state under its own lock, then calls [`notify`](Self::notify). A waiter registers, then tries
/// under the object's lock: one of the two sees the other.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    waiting: AtomicUsize,
    waiters: Mutex<Waiters>,
}

#[derive(Debug, Default)]
struct Waiters {
    next_key: u64,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    key: u64,
    events: PollEvents,
    waker: Waker,
}

/// A place among an object's waiters, given up when dropped.
#[derive(Debug)]
pub(crate) struct Registration<'a> {
    readiness: &'a Readiness,
    key: u64,
}

impl Readiness {
    /// Nobody waits.
    pub(crate) const fn new() -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            waiters: Mutex::new(Waiters { next_key: 0, entries: Vec::new() }),
        }
    }

    /// Wakes everybody who waits for any of the events; all waiters for errors and hang-ups.
    pub(crate) fn notify(&self, events: PollEvents) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let for_everybody = events.intersects(PollEvents::ERR | PollEvents::HUP);
        for entry in &self.waiters.lock().entries {
            if for_everybody || entry.events.intersects(events) {
                entry.waker.wake_by_ref();
            }
        }
    }

    /// Joins the waiters.
    pub(crate) fn register(&self, events: PollEvents, waker: &Waker) -> Registration<'_> {
        let mut waiters = self.waiters.lock();
        let key = waiters.next_key;
        waiters.next_key += 1;
        waiters.entries.push(Entry { key, events, waker: waker.clone() });
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Registration { readiness: self, key }
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }
}

impl Registration<'_> {
    /// Follows the waiting future to another task.
    pub(crate) fn update(&self, waker: &Waker) {
        let mut waiters = self.readiness.waiters.lock();
        if let Some(entry) = waiters.entries.iter_mut().find(|entry| entry.key == self.key) {
            entry.waker.clone_from(waker);
        }
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let mut waiters = self.readiness.waiters.lock();
        if let Some(index) = waiters.entries.iter().position(|entry| entry.key == self.key) {
            waiters.entries.swap_remove(index);
            self.readiness.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::task::noop_waker;
    use vm_abi::PollEvents;

    use super::Readiness;

    #[test]
    fn a_dropped_registration_leaves_no_waiter_behind() {
        let readiness = Readiness::new();
        let first = readiness.register(PollEvents::IN, &noop_waker());
        let second = readiness.register(PollEvents::OUT, &noop_waker());
        drop(first);
        assert_eq!(readiness.waiting(), 1);
        drop(second);
        assert_eq!(readiness.waiting(), 0);
    }

    #[test]
    fn only_those_interested_are_woken_but_everybody_on_a_hang_up() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};

        struct Counter(AtomicUsize);
        impl futures::task::ArcWake for Counter {
            fn wake_by_ref(counter: &Arc<Self>) {
                counter.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let counter = Arc::new(Counter(AtomicUsize::new(0)));
        let waker = futures::task::waker(Arc::clone(&counter));
        let readiness = Readiness::new();
        let _registration = readiness.register(PollEvents::IN, &waker);
        readiness.notify(PollEvents::OUT);
        assert_eq!(counter.0.load(Ordering::SeqCst), 0);
        readiness.notify(PollEvents::IN);
        readiness.notify(PollEvents::HUP);
        assert_eq!(counter.0.load(Ordering::SeqCst), 2);
    }
}
