//! How long a request is sent again: while the gateway says "not yet", and for as long as the user wants to wait.

use std::time::{Duration, Instant};

use vm_api::{Problem, WireDuration};

use crate::error::Error;
use crate::terminal::Terminal;

/// First pause before a request is sent again; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often a request that only reads is sent again when its connection breaks.
const REPEATS: u8 = 3;

/// Patience with one request.
pub(crate) struct Patience<'a> {
    began: Instant,
    wait: WireDuration,
    pause: Duration,
    repeats: u8,
    name: &'a str,
    /// Who is told that there is something to wait for; once.
    terminal: Option<&'a mut Terminal>,
}

impl<'a> Patience<'a> {
    /// With workspace `name`, for `wait`.
    pub(crate) fn new(name: &'a str, wait: WireDuration, terminal: Option<&'a mut Terminal>) -> Self {
        Self { began: Instant::now(), wait, pause: FIRST_PAUSE, repeats: REPEATS, name, terminal }
    }

    /// Waits as long as the gateway says, and a little longer each time; or gives up.
    pub(super) async fn wait(&mut self, problem: Problem, after: Option<Duration>) -> Result<(), Error> {
        let pause = after.unwrap_or_default().max(self.pause);
        if self.began.elapsed() + pause > self.wait.0 {
            return Err(Error::Problem(Box::new(problem)));
        }
        if let Some(terminal) = self.terminal.take() {
            let Self { wait, name, .. } = self;
            terminal.tell(&format!("waiting up to {wait} for workspace {name}: {}", problem.detail));
        }
        tokio::time::sleep(pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }

    /// Waits before a request that only reads is sent again; or gives up.
    pub(super) async fn repeat(&mut self, error: Error) -> Result<(), Error> {
        self.repeats = self.repeats.checked_sub(1).ok_or(error)?;
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use vm_api::ProblemCode;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_the_gateway_says_about_the_time_is_heeded() {
        let problem = || Problem::new(ProblemCode::LimitWorkspaceRequests, "busy");
        let began = tokio::time::Instant::now();
        let mut patience = Patience::new("ada", WireDuration(Duration::from_mins(1)), None);
        patience.wait(problem(), Some(Duration::from_secs(7))).await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(7));
        let late = patience.wait(problem(), Some(Duration::from_mins(2))).await;
        assert_eq!(late.unwrap_err().to_string(), "busy");
    }
}
