//! The one place that starts Tokio tasks: a task belongs to somebody, and ends with its owner.

use std::future::Future;
use tokio::task::JoinHandle;

/// A running task. Dropping it aborts the task.
#[derive(Debug)]
#[must_use = "dropping a task ends it"]
pub struct Task<T>(JoinHandle<T>);

/// Starts a task that lives as long as what is returned.
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Task(tokio::spawn(future))
}

impl<T> Task<T> {
    /// Waits for the task's end. `None` if it panicked or was aborted.
    pub async fn join(&mut self) -> Option<T> {
        (&mut self.0).await.ok()
    }

    /// Whether it ended.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
