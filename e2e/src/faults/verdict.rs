//! What a fault came to, against what Lodge promises.

use super::{
    Fault, Stage,
    fault::{Injury, VICTIM},
};
use crate::load::{Account, Target, Total};
use std::{fmt, time::Duration};

/// What a fault came to.
#[derive(Debug)]
pub struct Verdict {
    fault: Fault,
    all: Total,
    healthy: Total,
    lost: Vec<String>,
    shed: u64,
    p50: Duration,
    p99: Duration,
    disturbed: Duration,
    recovery: Recovery,
    reasons: Vec<(usize, String)>,
}

/// A time to recover, and its goal.
#[derive(Debug)]
struct Recovery {
    what: &'static str,
    took: Duration,
    goal: Duration,
}

impl Verdict {
    pub(super) fn of(fault: Fault, stage: &Stage, injury: Injury, account: Account) -> Self {
        let is_healthy = |target: &Target| match fault {
            Fault::Vm => target.workspace != VICTIM,
            Fault::Runner | Fault::Drain => target.namespace == stage.beside.name,
            Fault::Gateway | Fault::Operator | Fault::ApiServer => true,
        };
        let disturbed = account.disturbed_until(injury.at, |_| true).unwrap_or(injury.at);
        let after = disturbed.saturating_duration_since(injury.back);
        let (what, took, goal) = match fault {
            Fault::Vm => ("served again", after, 1),
            Fault::Gateway => ("served again", after, 3),
            Fault::Runner | Fault::Drain => ("served, pod being back", after, 3),
            Fault::Operator => ("new one Ready", injury.recovered.unwrap_or(after), 5),
            Fault::ApiServer => ("new one Ready, server being back", injury.recovered.unwrap_or(after), 5),
        };
        let samples = account.undisturbed();
        Self {
            fault,
            all: account.total(|_| true),
            healthy: account.total(is_healthy),
            shed: account.shed,
            p50: samples.percentile(50),
            p99: samples.percentile(99),
            disturbed: disturbed - injury.at,
            recovery: Recovery { what, took, goal: Duration::from_secs(goal) },
            reasons: account.reasons(),
            lost: account.lost,
        }
    }

    /// The line above the verdicts.
    #[must_use]
    pub fn heading() -> String {
        format!(
            "{:<11} {:>8} {:>8} {:>9} {:>6} {:>4} {:>7} {:>7} {:>10}  recovered",
            "fault", "requests", "repeated", "uncertain", "failed", "lost", "p50 ms", "p99 ms", "disturbed"
        )
    }

    /// What did not hold, in words; empty if everything did. A killed gateway breaks the connections that it had: commands on
    /// them are uncertain, and are no broken promise.
    #[must_use]
    pub fn broken_promises(&self) -> Vec<String> {
        let name = self.fault.name();
        let mut broken: Vec<_> = self.lost.iter().map(|what| format!("{name}: lost {what}")).collect();
        broken.extend(self.healthy.failed.iter().map(|what| format!("{name}: on a healthy path: {what}")));
        if self.fault != Fault::Gateway {
            broken.extend(
                self.healthy.uncertain.iter().map(|what| format!("{name}: on a healthy path: {what}")),
            );
        }
        // What was hit may be uncertain, but repeating has to help.
        broken.extend(self.all.failed.iter().map(|what| format!("{name}: repeating did not help: {what}")));
        broken.dedup();
        if self.shed > 0 {
            broken.push(format!("{name}: {} requests were not even begun", self.shed));
        }
        broken
    }

    /// Whether it was over as soon as it should be.
    #[must_use]
    pub fn is_in_time(&self) -> bool {
        self.recovery.took <= self.recovery.goal
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, all, lost, p50, p99, disturbed, recovery, reasons, .. } = self;
        let ms = |time: &Duration| time.as_secs_f64() * 1e3;
        write!(
            f,
            "{:<11} {:>8} {:>8} {:>9} {:>6} {:>4} {:>7.1} {:>7.1} {:>8.2} s  {:.2} s ({}; goal {} s{})",
            fault.name(),
            all.requests,
            all.repeated,
            all.uncertain.len(),
            all.failed.len(),
            lost.len(),
            ms(p50),
            ms(p99),
            disturbed.as_secs_f64(),
            recovery.took.as_secs_f64(),
            recovery.what,
            recovery.goal.as_secs(),
            if self.is_in_time() { "" } else { ", missed" },
        )?;
        for (count, why) in reasons.iter().take(4) {
            write!(f, "\n            {count:>8} repeated: {}", why.replace('\n', " "))?;
        }
        Ok(())
    }
}
