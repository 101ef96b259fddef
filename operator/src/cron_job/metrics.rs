//! What is counted about runs. Labels are bounded: outcomes, never names.

use lodge_crds::RunOutcome;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use std::time::Duration;

/// Counts runs.
#[derive(Debug)]
pub struct CronMetrics {
    runs: Family<OutcomeLabel, Counter>,
    missed: Counter,
    start_delay_seconds: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

impl Default for CronMetrics {
    fn default() -> Self {
        Self {
            runs: Family::default(),
            missed: Counter::default(),
            // From a millisecond to an hour.
            start_delay_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 22)),
        }
    }
}

impl CronMetrics {
    /// Shows the counts in a registry.
    pub fn register(&self, registry: &mut Registry) {
        let Self { runs, missed, start_delay_seconds } = self;
        registry.register("cron_runs", "Runs of CronJobs by how they ended", runs.clone());
        registry.register(
            "cron_runs_missed",
            "Runs of CronJobs that were missed and not made up for",
            missed.clone(),
        );
        registry.register(
            "cron_start_delay_seconds",
            "How long after its instant (and jitter) a run was accepted by its runner",
            start_delay_seconds.clone(),
        );
    }

    /// Counts a run that ended, or was skipped.
    pub fn ended(&self, outcome: RunOutcome) {
        self.runs.get_or_create(&OutcomeLabel { outcome: name(outcome) }).inc();
    }

    /// Counts runs that were missed.
    pub fn missed(&self, count: u64) {
        self.missed.inc_by(count);
    }

    /// Counts a run that began by schedule.
    pub fn began(&self, delay: Duration) {
        self.start_delay_seconds.observe(delay.as_secs_f64());
    }
}

/// An outcome as the status writes it.
pub fn name(outcome: RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Succeeded => "Succeeded",
        RunOutcome::Failed => "Failed",
        RunOutcome::TimedOut => "TimedOut",
        RunOutcome::Replaced => "Replaced",
        RunOutcome::Skipped => "Skipped",
        RunOutcome::Lost => "Lost",
    }
}
