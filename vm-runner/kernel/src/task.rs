//! Tokio tasks of the kernel: each is owned by the process it runs, and aborted when that goes. No task is detached.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::AbortHandle;

/// A task that ends with its owner.
#[derive(Debug)]
pub(crate) struct OwnedTask(AbortHandle);

/// Counts those who keep a thread waiting for the host: each costs the runtime another thread, so they are few.
#[derive(Debug, Default)]
pub(crate) struct Blocked(AtomicUsize);

/// How many may be given another thread at once.
const MAX_BLOCKED: usize = 8;

impl Blocked {
    /// Does work that may take the host long, so that other tasks of this thread need not wait for it, unless too many
    /// do such work already.
    pub(crate) fn run<T>(&self, runtime: &Handle, work: impl FnOnce() -> T) -> T {
        let place = Place::take(&self.0);
        match runtime.runtime_flavor() {
            RuntimeFlavor::MultiThread if place.number < MAX_BLOCKED => tokio::task::block_in_place(work),
            // There is only one thread, or there are enough.
            _ => work(),
        }
    }
}

/// One of those counted, as long as this lives.
struct Place<'a> {
    count: &'a AtomicUsize,
    number: usize,
}

impl<'a> Place<'a> {
    fn take(count: &'a AtomicUsize) -> Self {
        Self { count, number: count.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Starts a task: the only place that does.
pub(crate) fn start(runtime: &Handle, future: impl Future<Output = ()> + Send + 'static) -> OwnedTask {
    OwnedTask(runtime.spawn(future).abort_handle())
}

impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}
