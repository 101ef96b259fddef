//! What the supervisor counts. No label ever names a workspace, so that the number of series stays small.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use vm_api::{Power, SleepReason};

/// From 100 µs to 10 s; what we promise lies below 10 ms, where each has its millisecond.
const SECONDS: [f64; 23] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007, 0.008, 0.009, 0.01,
    0.015, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// How a VM came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum BootPath {
    /// In a process that was warm.
    Spare,
    /// In a process that was started for it.
    Cold,
    /// In a process that read the files of the sleeping workspace already.
    Promoted,
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

type PhaseSeconds = Family<PhaseLabel, Histogram, fn() -> Histogram>;
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
    wake_phases: PhaseSeconds,
    sleeps: Family<ReasonLabel, Counter>,
    stops: Histogram,
    readers: Counter,
    over_memory: Counter,
    memory_used: Gauge<i64>,
    memory_limit: Gauge<i64>,
    memory_stall: Gauge<f64, AtomicU64>,
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
            wake_phases: Family::new_with_constructor(histogram as fn() -> Histogram),
            sleeps: Family::default(),
            stops: histogram(),
            readers: Counter::default(),
            over_memory: Counter::default(),
            memory_used: Gauge::default(),
            memory_limit: Gauge::default(),
            memory_stall: Gauge::default(),
        };
        metrics.register();
        metrics.register_sleep();
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

    fn register_sleep(&mut self) {
        let registry = &mut self.registry;
        registry.register_with_unit(
            "wake_duration",
            "Phases of a request that woke a workspace",
            Unit::Seconds,
            self.wake_phases.clone(),
        );
        registry.register("sleeps", "Workspaces that went to sleep, by reason", self.sleeps.clone());
        registry.register_with_unit(
            "stop_duration",
            "From the decision to stop a VM until its files are back",
            Unit::Seconds,
            self.stops.clone(),
        );
        registry.register("readers", "VMs booted to read files of sleeping workspaces", self.readers.clone());
        registry.register("vms_over_memory", "VMs ended for their use of memory", self.over_memory.clone());
        registry.register_with_unit(
            "memory_used",
            "Memory of the runner that cannot be taken back",
            Unit::Bytes,
            self.memory_used.clone(),
        );
        registry.register_with_unit(
            "memory_limit",
            "Memory that the runner may use",
            Unit::Bytes,
            self.memory_limit.clone(),
        );
        registry.register(
            "memory_stall_percent",
            "Share of the last ten seconds in which something waited for memory",
            self.memory_stall.clone(),
        );
    }

    /// A request that had to wait for a boot was answered.
    pub(crate) fn observe_wake(&self, queued: Duration, booted: Duration, first_byte: Duration) {
        let phases = [("queue", queued), ("boot", booted), ("first-byte", first_byte)];
        for (phase, duration) in phases {
            self.wake_phases.get_or_create(&PhaseLabel { phase }).observe(duration.as_secs_f64());
        }
    }

    /// A workspace went to sleep.
    pub(crate) fn count_sleep(&self, reason: SleepReason) {
        self.sleeps.get_or_create(&ReasonLabel { reason: reason_name(reason) }).inc();
    }

    pub(crate) fn observe_stop(&self, duration: Duration) {
        self.stops.observe(duration.as_secs_f64());
    }

    pub(crate) fn count_reader(&self) {
        self.readers.inc();
    }

    pub(crate) fn count_over_memory(&self) {
        self.over_memory.inc();
    }

    pub(crate) fn set_memory(&self, used_bytes: u64, limit_bytes: u64, stall_percent: f64) {
        self.memory_used.set(i64::try_from(used_bytes).unwrap_or(i64::MAX));
        self.memory_limit.set(i64::try_from(limit_bytes).unwrap_or(i64::MAX));
        self.memory_stall.set(stall_percent);
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

fn reason_name(reason: SleepReason) -> &'static str {
    match reason {
        SleepReason::NotStarted => "not-started",
        SleepReason::Requested => "requested",
        SleepReason::Idle => "idle",
        SleepReason::OnDemand => "on-demand",
        SleepReason::MemoryPressure => "memory-pressure",
        SleepReason::MemoryLimit => "memory-limit",
        SleepReason::VmDied => "vm-died",
        SleepReason::BootFailed => "boot-failed",
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
