//! What a load came to: counts, times, what was lost, and when it went well again.

use super::{End, Kind, Outcome, Target};
use crate::percentile::Samples;
use std::time::{Duration, Instant};

/// A request that takes longer was disturbed.
const DISTURBED: Duration = Duration::from_millis(500);

/// Everything that became of a load.
#[derive(Debug)]
pub struct Account {
    /// Who was asked.
    pub targets: Vec<Target>,
    /// Requests that were due while too many were on their way, and never sent.
    pub shed: u64,
    /// Acknowledged writes that were not found afterwards.
    pub lost: Vec<String>,
    outcomes: Vec<Outcome>,
}

/// Counts over some targets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Total {
    /// Requests.
    pub requests: usize,
    /// Those that were repeated at least once.
    pub repeated: usize,
    /// Commands whose connection broke.
    pub uncertain: Vec<String>,
    /// Failures that no client may repeat, or that repeating did not mend.
    pub failed: Vec<String>,
}

impl Account {
    pub(super) fn new(targets: Vec<Target>) -> Self {
        Self { targets, shed: 0, lost: Vec::new(), outcomes: Vec::new() }
    }

    pub(super) fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    /// The writes that were answered with success.
    pub fn acknowledged_writes(&self) -> impl Iterator<Item = u64> + '_ {
        let writes = self.outcomes.iter().filter(|o| o.kind == Kind::Write && o.end == End::Done);
        writes.map(|outcome| outcome.number)
    }

    /// Counts over the targets that `concerns`.
    #[must_use]
    pub fn total(&self, concerns: impl Fn(&Target) -> bool) -> Total {
        let mut total = Total::default();
        for outcome in self.outcomes.iter().filter(|outcome| concerns(&self.targets[outcome.target])) {
            total.requests += 1;
            total.repeated += usize::from(outcome.last_failure.is_some());
            let describe = |why: &str| {
                let Target { namespace, workspace } = &self.targets[outcome.target];
                format!("{:?} {} of {namespace}/{workspace}: {why}", outcome.kind, outcome.number)
            };
            match &outcome.end {
                End::Done => {}
                End::Uncertain(why) => total.uncertain.push(describe(why)),
                End::Failed(why) => total.failed.push(describe(why)),
            }
        }
        total
    }

    /// When the last request that began after `instant` was disturbed: failed once, or took long. `None` if none was.
    #[must_use]
    pub fn disturbed_until(&self, instant: Instant, concerns: impl Fn(&Target) -> bool) -> Option<Instant> {
        let concerned =
            self.outcomes.iter().filter(|o| o.ended >= instant && concerns(&self.targets[o.target]));
        concerned
            .filter_map(|outcome| match (&outcome.end, outcome.last_failure) {
                (End::Uncertain(_) | End::Failed(_), _) => Some(outcome.ended),
                (End::Done, Some(last)) => Some(last),
                (End::Done, None) => (outcome.ended - outcome.began > DISTURBED).then_some(outcome.ended),
            })
            .max()
    }

    /// The times of requests that succeeded at once.
    #[must_use]
    pub fn undisturbed(&self) -> Samples {
        let mut samples = Samples::default();
        for outcome in self.outcomes.iter().filter(|o| o.end == End::Done && o.last_failure.is_none()) {
            samples.add(outcome.ended - outcome.began);
        }
        samples
    }

    /// Why requests were repeated, with how often, most often first.
    #[must_use]
    pub fn reasons(&self) -> Vec<(usize, String)> {
        let mut counts = std::collections::BTreeMap::<&str, usize>::new();
        for reason in self.outcomes.iter().filter_map(|outcome| outcome.last_reason.as_deref()) {
            *counts.entry(reason).or_default() += 1;
        }
        let mut reasons: Vec<_> = counts.into_iter().map(|(why, count)| (count, why.to_owned())).collect();
        reasons.sort_unstable_by(|a, b| b.cmp(a));
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(number: u64, kind: Kind, end: End) -> Outcome {
        let began = Instant::now();
        let ended = began + Duration::from_millis(1);
        Outcome { number, target: 0, kind, began, ended, last_failure: None, last_reason: None, end }
    }

    fn account(outcomes: Vec<Outcome>) -> Account {
        let target = Target { namespace: "team-a".to_owned(), workspace: "ada".to_owned() };
        Account { outcomes, ..Account::new(vec![target]) }
    }

    #[test]
    fn a_write_that_failed_is_not_owed() {
        let account = account(vec![
            outcome(1, Kind::Write, End::Done),
            outcome(2, Kind::Write, End::Failed("500".to_owned())),
            outcome(3, Kind::Read, End::Done),
        ]);
        assert_eq!(account.acknowledged_writes().collect::<Vec<_>>(), [1]);
        assert_eq!(account.total(|_| true).failed.len(), 1);
        assert_eq!(account.total(|_| false), Total::default());
    }

    #[test]
    fn a_disturbance_lasts_until_the_last_attempt_that_failed() {
        let start = Instant::now();
        let mut repeated = outcome(1, Kind::Read, End::Done);
        repeated.last_failure = Some(start + Duration::from_millis(300));
        repeated.ended = start + Duration::from_secs(9);
        let account = account(vec![repeated, outcome(2, Kind::Read, End::Done)]);
        assert_eq!(account.disturbed_until(start, |_| true), Some(start + Duration::from_millis(300)));
        assert_eq!(account.disturbed_until(start + Duration::from_secs(10), |_| true), None);
    }
}
