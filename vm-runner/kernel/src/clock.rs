//! The source of time, injected into every kernel, so that tests never sleep.
//!
//! [`Clock`] is the role; [`SystemClock`] is the host's time, measured by Tokio so that a paused Tokio clock pauses it
//! too. Instants are [`Duration`]s since the clock was made. Nothing else in this crate may ask the host what time
//! it is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use vm_abi::Timespec;

/// Where a kernel gets its time from.
pub trait Clock: Send + Sync {
    /// The time of day.
    fn realtime(&self) -> Timespec;

    /// Time since some fixed point; never goes back.
    fn monotonic(&self) -> Duration;

    /// Completes when [`Clock::monotonic`] has reached the instant.
    fn sleep_until(&self, instant: Duration) -> BoxFuture<'static, ()>;

    /// CPU time of the calling thread, since some fixed point. A clock that cannot tell says that all time is.
    fn thread_time(&self) -> Duration {
        self.monotonic()
    }
}

/// The host's clock.
#[derive(Debug)]
pub struct SystemClock {
    origin: tokio::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn realtime(&self) -> Timespec {
        Timespec::since_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn sleep_until(&self, instant: Duration) -> BoxFuture<'static, ()> {
        match self.origin.checked_add(instant) {
            Some(deadline) => Box::pin(tokio::time::sleep_until(deadline)),
            None => Box::pin(std::future::pending()),
        }
    }

    fn thread_time(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
        Duration::from_secs(seconds).saturating_add(Duration::from_nanos(u64::from(nanos)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Clock, SystemClock};

    #[tokio::test(start_paused = true)]
    async fn the_monotonic_clock_follows_tokios() {
        let clock = SystemClock::new();
        clock.sleep_until(Duration::from_secs(5)).await;
        assert!(clock.monotonic() >= Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_thread_passes_only_while_it_computes() {
        let clock = SystemClock::new();
        let before = clock.thread_time();
        clock.sleep_until(Duration::from_secs(3600)).await;
        let mut sum = 0_u64;
        while clock.thread_time() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(clock.thread_time() - before < Duration::from_secs(60));
    }
}
