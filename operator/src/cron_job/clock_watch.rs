//! Notices that the clock was set. Timers go by a clock that nobody sets, so every CronJob has to look at the time again.

use crate::context::Context;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often to look.
const TICK: Duration = Duration::from_secs(1);
/// Less is a clock that is corrected gently.
const JUMP: Duration = Duration::from_millis(250);

/// Asks for every CronJob whenever the clock was set, for ever.
pub async fn run(context: Arc<Context>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = (context.clock.now(), Instant::now());
    loop {
        ticks.tick().await;
        let after = (context.clock.now(), Instant::now());
        if has_jumped(before, after) {
            tracing::warn!("the clock was set, all CronJobs are looked at again");
            context.cron_jobs.due.extend(context.cron_jobs.register.all());
        }
        before = after;
    }
}

fn has_jumped(before: (SystemTime, Instant), after: (SystemTime, Instant)) -> bool {
    let expected = before.0 + after.1.duration_since(before.1);
    let off = match after.0.duration_since(expected) {
        Ok(ahead) => ahead,
        Err(behind) => behind.duration(),
    };
    off > JUMP
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_told_from_the_passing_of_time() {
        let (wall, instant) = (SystemTime::UNIX_EPOCH + Duration::from_secs(1000), Instant::now());
        let later = |wall_ms: i64, ms: u64| {
            let base = wall - Duration::from_secs(500);
            (
                base + Duration::from_millis(u64::try_from(500_000 + wall_ms).unwrap()),
                instant + Duration::from_millis(ms),
            )
        };
        assert!(!has_jumped((wall, instant), later(1000, 1000)));
        assert!(!has_jumped((wall, instant), later(1200, 1000)));
        assert!(has_jumped((wall, instant), later(61_000, 1000)));
        assert!(has_jumped((wall, instant), later(-59_000, 1000)));
    }
}
