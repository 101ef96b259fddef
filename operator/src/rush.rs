//! The rush: how many Workspaces are on their way to their first Ready. What can wait lets them pass.
//!
//! The API server is what limits how soon many new Workspaces are Ready, so writes that nobody waits for (Events that all is
//! well, finalizers) come after those that somebody does. Whoever waits here does so for a bounded time: a rush may never end.

use std::time::Duration;
use tokio::{sync::watch, time::timeout};

/// How many Workspaces are on their way to their first Ready.
#[derive(Debug)]
pub struct Rush(watch::Sender<usize>);

/// One that is on its way, until this is dropped.
#[derive(Debug)]
pub struct Passage<'a>(&'a Rush);

impl Default for Rush {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Rush {
    /// One more is on its way.
    pub fn enter(&self) -> Passage<'_> {
        self.0.send_modify(|under_way| *under_way += 1);
        Passage(self)
    }

    /// Whether any is on its way.
    pub fn is_on(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// Waits until none is on its way, but no longer than this.
    pub async fn let_pass(&self, most: Duration) {
        let mut under_way = self.0.subscribe();
        // Neither the time nor the end of the rush is a failure.
        let _ = timeout(most, under_way.wait_for(|under_way| *under_way == 0)).await;
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|under_way| *under_way = under_way.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn who_can_wait_waits_for_the_end_of_the_rush_or_for_so_long() {
        let (rush, most) = (Rush::default(), Duration::from_secs(1));
        let started = Instant::now();
        rush.let_pass(most).await;
        assert_eq!(started.elapsed(), Duration::ZERO, "there is no rush");
        let (first, second) = (rush.enter(), rush.enter());
        let passing = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(first);
            assert!(rush.is_on());
            drop(second);
            assert!(!rush.is_on());
        };
        tokio::join!(rush.let_pass(most), passing);
        assert_eq!(started.elapsed(), Duration::from_millis(300));
        let _third = rush.enter();
        rush.let_pass(most).await;
        assert_eq!(started.elapsed(), Duration::from_millis(1300), "it doesn't end");
    }
}
