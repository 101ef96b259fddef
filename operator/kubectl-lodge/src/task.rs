//! The only place where tasks start. A task ends with whoever started it.

use tokio::task::JoinHandle;

/// A task that is stopped when this is dropped.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

/// Starts a task.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Task {
    Task(tokio::spawn(task))
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
