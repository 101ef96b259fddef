//! Tasks that have an owner. The only place of this crate that calls `tokio::spawn`.
#![expect(clippy::disallowed_methods, reason = "the one spawn function (conventions, habit 11)")]

use std::future::Future;

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
