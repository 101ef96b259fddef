//! Tokio tasks of the kernel: each is owned by the process it runs, and aborted when that goes. No task is detached.

use std::future::Future;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::AbortHandle;

/// A task that ends with its owner.
#[derive(Debug)]
pub(crate) struct OwnedTask(AbortHandle);

/// Does work that may take the host long, so that other tasks of this thread need not wait for it.
pub(crate) fn block<T>(runtime: &Handle, work: impl FnOnce() -> T) -> T {
    match runtime.runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        // There is only one thread.
        _ => work(),
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
