//! Tasks that have an owner, and work that waits for the host. The only place of this crate that calls `tokio::spawn`.
#![expect(clippy::disallowed_methods, reason = "the one spawn function (conventions, habit 11)")]

use std::future::Future;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio_util::task::AbortOnDropHandle;

/// A task, aborted when this is dropped.
pub(crate) type Task<T> = AbortOnDropHandle<T>;

/// Starts a task that belongs to whoever holds the answer.
#[must_use = "the task ends when its handle is dropped"]
pub(crate) fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    AbortOnDropHandle::new(tokio::spawn(future))
}

/// Does work that may wait for the disk for a moment, without the two changes of thread that a thread of its own costs.
/// The other tasks of this thread go on elsewhere, where there is an elsewhere.
pub(crate) fn in_place<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
