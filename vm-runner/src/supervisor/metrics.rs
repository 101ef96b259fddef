//! What the supervisor counts. No label ever names a workspace, so that the number of series stays small.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use vm_api::Power;

/// From 100 µs to 10 s; what we promise lies below 10 ms.
const SECONDS: [f64; 16] =
    [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// How a VM came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum BootPath {
    /// In a process that was warm.
    Spare,
    /// In a process that was started for it.
    Cold,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    area: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AreaLabel {
    area: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabel {
    path: BootPath,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PowerLabel {
    power: &'static str,
}

type Seconds = Family<AreaLabel, Histogram, fn() -> Histogram>;
type BootSeconds = Family<PathLabel, Histogram, fn() -> Histogram>;

/// The supervisor's metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Seconds,
    boots: BootSeconds,
    boot_failures: Counter,
    vm_deaths: Counter,
    workspaces: Family<PowerLabel, Gauge>,
    spares: Gauge<i64>,
    landlock: Gauge<i64>,
    refused: Family<AreaLabel, Counter<u64, AtomicU64>>,
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("vm_runner"),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(histogram as fn() -> Histogram),
            boots: Family::new_with_constructor(histogram as fn() -> Histogram),
            boot_failures: Counter::default(),
            vm_deaths: Counter::default(),
            workspaces: Family::default(),
            spares: Gauge::default(),
            landlock: Gauge::default(),
            refused: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("requests", "Requests by area and status class", self.requests.clone());
        registry.register_with_unit(
            "request_duration",
            "From the request to the head of its response",
            Unit::Seconds,
            self.request_seconds.clone(),
        );
        registry.register_with_unit(
            "boot_duration",
            "From the start of a boot until the VM could serve",
            Unit::Seconds,
            self.boots.clone(),
        );
        registry.register("boot_failures", "Boots that failed", self.boot_failures.clone());
        registry.register("vm_deaths", "VMs that ended without being asked to", self.vm_deaths.clone());
        registry.register("workspaces", "Workspaces by power", self.workspaces.clone());
        registry.register("spares", "Warm vm processes", self.spares.clone());
        registry.register(
            "landlock_version",
            "Version of landlock that bounds the files of vm processes, 0 if the kernel has none",
            self.landlock.clone(),
        );
        registry.register(
            "requests_refused",
            "Requests refused because a limit was reached",
            self.refused.clone(),
        );
    }

    pub(crate) fn observe_request(&self, area: &'static str, status: u16, duration: Duration) {
        let status = match status {
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.requests.get_or_create(&RequestLabels { area, status }).inc();
        self.request_seconds.get_or_create(&AreaLabel { area }).observe(duration.as_secs_f64());
    }

    pub(crate) fn observe_boot(&self, path: BootPath, duration: Duration) {
        self.boots.get_or_create(&PathLabel { path }).observe(duration.as_secs_f64());
    }

    pub(crate) fn count_boot_failure(&self) {
        self.boot_failures.inc();
    }

    pub(crate) fn count_vm_death(&self) {
        self.vm_deaths.inc();
    }

    pub(crate) fn count_refused(&self, area: &'static str) {
        self.refused.get_or_create(&AreaLabel { area }).inc();
    }

    pub(crate) fn set_landlock(&self, version: i32) {
        self.landlock.set(version.into());
    }

    pub(crate) fn set_spares(&self, count: usize) {
        self.spares.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A workspace went from one power to another; `None` is not being there.
    pub(crate) fn moved(&self, from: Option<Power>, to: Option<Power>) {
        if let Some(power) = from {
            self.workspaces.get_or_create(&PowerLabel { power: power_name(power) }).dec();
        }
        if let Some(power) = to {
            self.workspaces.get_or_create(&PowerLabel { power: power_name(power) }).inc();
        }
    }

    /// All of them, as OpenMetrics text.
    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

fn power_name(power: Power) -> &'static str {
    match power {
        Power::Asleep => "asleep",
        Power::Waking => "waking",
        Power::Awake => "awake",
        Power::Stopping => "stopping",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_written_with_their_units_and_fine_buckets() {
        let metrics = Metrics::new();
        metrics.observe_request("exec", 200, Duration::from_micros(300));
        metrics.observe_boot(BootPath::Spare, Duration::from_millis(1));
        metrics.moved(None, Some(Power::Asleep));
        let text = metrics.encode();
        for line in [
            r#"vm_runner_requests_total{area="exec",status="2xx"} 1"#,
            r#"vm_runner_request_duration_seconds_bucket{le="0.0005",area="exec"} 1"#,
            r#"vm_runner_boot_duration_seconds_count{path="Spare"} 1"#,
            r#"vm_runner_workspaces{power="asleep"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
