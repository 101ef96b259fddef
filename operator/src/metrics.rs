//! What the operator counts. Labels are bounded: controllers, variants of errors, kinds, never names of objects.

use crate::cron_job::metrics::CronMetrics;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use std::{fmt, time::Duration};

/// The operator's metrics, and the registry that shows them.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<ReconcileLabels, Counter>,
    reconcile_seconds: Family<ControllerLabel, Histogram>,
    api_writes: Family<WriteLabels, Counter>,
    pushes: Family<ResultLabel, Counter>,
    push_seconds: Histogram,
    cleanups_abandoned: Family<ReasonLabel, Counter>,
    expired: Counter,
    data_lost: Counter,
    events: Family<ReasonLabel, Counter>,
    workspaces: Family<PowerLabel, Gauge>,
    runners_connected: Gauge,
    leader: Gauge,
    /// About runs of CronJobs.
    pub cron: CronMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    controller: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControllerLabel {
    controller: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    resource: &'static str,
    verb: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PowerLabel {
    power: &'static str,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("lodge_operator"),
            reconciles: Family::default(),
            reconcile_seconds: Family::new_with_constructor(seconds),
            api_writes: Family::default(),
            pushes: Family::default(),
            push_seconds: seconds(),
            cleanups_abandoned: Family::default(),
            expired: Counter::default(),
            data_lost: Counter::default(),
            events: Family::default(),
            workspaces: Family::default(),
            runners_connected: Gauge::default(),
            leader: Gauge::default(),
            cron: CronMetrics::default(),
        };
        metrics.register();
        metrics
    }
}

fn seconds() -> Histogram {
    // From half a millisecond to 16 seconds.
    Histogram::new(exponential_buckets(0.0005, 2.0, 16))
}

impl Metrics {
    fn register(&mut self) {
        let Self {
            registry,
            reconciles,
            reconcile_seconds,
            api_writes,
            pushes,
            push_seconds,
            cleanups_abandoned,
            expired,
            data_lost,
            events,
            workspaces,
            runners_connected,
            leader,
            cron,
        } = self;
        registry.register(
            "reconciles",
            "Reconciles by their result: ok, or the failed step",
            reconciles.clone(),
        );
        registry.register(
            "reconcile_duration_seconds",
            "How long reconciles take",
            reconcile_seconds.clone(),
        );
        registry.register("api_writes", "Writes to the Kubernetes API", api_writes.clone());
        registry.register("runner_pushes", "Configurations sent to runners by result", pushes.clone());
        registry.register(
            "runner_push_duration_seconds",
            "How long a runner takes to accept",
            push_seconds.clone(),
        );
        registry.register(
            "cleanups_abandoned",
            "Workspaces that were let go without their runner's confirmation",
            cleanups_abandoned.clone(),
        );
        registry.register(
            "workspaces_expired",
            "Workspaces that were deleted because nobody used them for spec.idle.deleteAfter",
            expired.clone(),
        );
        registry.register(
            "workspaces_data_lost",
            "Workspaces whose runner came back without their files",
            data_lost.clone(),
        );
        registry.register("events", "Published Events by reason", events.clone());
        registry.register("workspaces", "Workspaces by power", workspaces.clone());
        registry.register(
            "runners_connected",
            "Runners that the operator is connected to",
            runners_connected.clone(),
        );
        registry.register("leader", "1 if this replica leads", leader.clone());
        cron.register(registry);
    }

    /// Counts a reconcile. `result` is `ok` or the name of an error's variant.
    pub fn reconciled(&self, controller: &'static str, result: &'static str, took: Duration) {
        self.reconciles.get_or_create(&ReconcileLabels { controller, result }).inc();
        self.reconcile_seconds.get_or_create(&ControllerLabel { controller }).observe(took.as_secs_f64());
    }

    /// Counts a write to the API server.
    pub fn wrote(&self, resource: &'static str, verb: &'static str) {
        self.api_writes.get_or_create(&WriteLabels { resource, verb }).inc();
    }

    /// Counts a configuration sent to a runner.
    pub fn pushed(&self, result: &'static str, took: Duration) {
        self.pushes.get_or_create(&ResultLabel { result }).inc();
        self.push_seconds.observe(took.as_secs_f64());
    }

    /// Counts a Workspace that was let go without its runner's confirmation.
    pub fn abandoned(&self, reason: &'static str) {
        self.cleanups_abandoned.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a Workspace that was deleted for being idle.
    pub fn expired(&self) {
        self.expired.inc();
    }

    /// Counts a Workspace whose files are gone.
    pub fn lost_data(&self) {
        self.data_lost.inc();
    }

    /// Counts an Event.
    pub fn published(&self, reason: &'static str) {
        self.events.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Tells how many Workspaces have this power.
    pub fn set_workspaces(&self, power: &'static str, count: usize) {
        self.workspaces.get_or_create(&PowerLabel { power }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Tells how many runners are connected.
    pub fn set_runners_connected(&self, count: usize) {
        self.runners_connected.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Tells whether this replica leads.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// All of it as OpenMetrics text.
    pub fn expose(&self) -> String {
        let mut text = String::new();
        // Writing into a String doesn't fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::default();
        metrics.reconciled("workspace", "ok", Duration::from_millis(3));
        metrics.wrote("workspaces/status", "apply");
        metrics.abandoned("RunnerGone");
        metrics.set_workspaces("Awake", 3);
        metrics.set_leader(true);
        let text = metrics.expose();
        for line in [
            "lodge_operator_reconciles_total{controller=\"workspace\",result=\"ok\"} 1",
            "lodge_operator_api_writes_total{resource=\"workspaces/status\",verb=\"apply\"} 1",
            "lodge_operator_cleanups_abandoned_total{reason=\"RunnerGone\"} 1",
            "lodge_operator_workspaces{power=\"Awake\"} 3",
            "lodge_operator_leader 1",
        ] {
            assert!(text.contains(line), "{line} not in {text}");
        }
    }
}
