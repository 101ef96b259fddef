//! The only place where tasks start. Every task belongs to a [`Spawner`]'s owner: it ends when the owner says so, and the
//! owner can wait until all have ended.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Starts tasks that end when the token is cancelled.
#[derive(Clone, Debug)]
pub(crate) struct Spawner {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Spawner {
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self { tasks: TaskTracker::new(), stop }
    }

    /// Starts a task.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            // A task that was stopped has nothing to tell.
            let _: Option<()> = stop.run_until_cancelled(task).await;
        });
    }

    /// Waits until every task has ended by itself or was stopped. No task may be started after this.
    pub(crate) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_end_with_their_owner() {
        let stop = CancellationToken::new();
        let spawner = Spawner::new(stop.clone());
        spawner.spawn(std::future::pending());
        stop.cancel();
        spawner.ended().await;
    }
}
