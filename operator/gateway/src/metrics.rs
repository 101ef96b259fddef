//! What the gateway counts. No label ever holds a name from outside: namespaces, workspaces and users are in the audit
//! log, and a metric per workspace would grow without bound.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Media type of [`Metrics::render`].
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From a fifth of a millisecond, which is what the gateway may add, by milliseconds to ten, and on to the longest command.
const SECONDS: [f64; 23] = [
    0.0002, 0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007, 0.008, 0.009, 0.01, 0.02, 0.05, 0.1,
    0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0, 600.0,
];

/// What a review is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum ReviewKind {
    /// TokenReview of a token that was not seen before.
    NewToken,
    /// TokenReview of a token that was good before.
    Token,
    /// SubjectAccessReview.
    Access,
}

impl ReviewKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NewToken => "new token",
            Self::Token => "token",
            Self::Access => "access",
        }
    }
}

/// A part of the way of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Phase {
    /// Until the user is known.
    Authenticate,
    /// Until the user may.
    Authorize,
    /// Until the workspace is there and takes the request; zero for most.
    Hold,
    /// From handing over the request to the head of the runner's answer.
    Runner,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    area: &'static str,
    verb: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReviewLabels {
    kind: ReviewKind,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartingLabels {
    reason: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Outcome {
    Answered,
    Failed,
}

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<RequestLabels, Counter>,
    phases: Family<PhaseLabels, Histogram, fn() -> Histogram>,
    /// The same, found already: every request has all of them.
    every_phase: [Histogram; 4],
    reviews: Family<ReviewLabels, Counter>,
    retries: Counter,
    limited: Family<LimitLabels, Counter>,
    streams_ended: Family<PartingLabels, Counter>,
    pub(crate) streams: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) requests_in_flight: Gauge,
    held: Gauge,
    workspaces: Gauge,
    runners: Gauge,
    certificate_expiry: Gauge,
}

/// What is read at the moment of a scrape.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Levels {
    pub(crate) held: usize,
    pub(crate) workspaces: usize,
    pub(crate) runners: usize,
    /// In seconds since 1970.
    pub(crate) certificate_expiry: Option<i64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let phases: Family<PhaseLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(SECONDS));
        let every_phase = [Phase::Authenticate, Phase::Authorize, Phase::Hold, Phase::Runner]
            .map(|phase| phases.get_or_create(&PhaseLabels { phase }).clone());
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("lodge_gateway")),
            requests: Family::default(),
            phases,
            every_phase,
            reviews: Family::default(),
            retries: Counter::default(),
            limited: Family::default(),
            streams_ended: Family::default(),
            streams: Gauge::default(),
            connections: Gauge::default(),
            requests_in_flight: Gauge::default(),
            held: Gauge::default(),
            workspaces: Gauge::default(),
            runners: Gauge::default(),
            certificate_expiry: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let Self {
            registry,
            requests,
            phases,
            every_phase: _,
            reviews,
            retries,
            limited,
            streams_ended,
            streams,
            connections,
            requests_in_flight,
            held,
            workspaces,
            runners,
            certificate_expiry,
        } = self;
        let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register("requests", "Requests by area, verb and status code", requests.clone());
        registry.register(
            "phase_duration_seconds",
            "Time spent in a phase of a request that was forwarded",
            phases.clone(),
        );
        registry.register("reviews", "Reviews asked of the API server", reviews.clone());
        registry.register("retries", "Requests that were sent to a runner once more", retries.clone());
        registry.register(
            "limited",
            "Requests and connections refused, by the limit that was hit",
            limited.clone(),
        );
        registry.register(
            "streams_ended",
            "Streams and long answers that the gateway ended, by reason",
            streams_ended.clone(),
        );
        registry.register("streams", "Streams and long answers going on", streams.clone());
        registry.register("connections", "Open connections of clients", connections.clone());
        registry.register("requests_in_flight", "Requests being worked on", requests_in_flight.clone());
        registry.register("requests_held", "Requests that wait for their workspace", held.clone());
        registry.register("workspaces", "Workspaces known", workspaces.clone());
        registry.register("runners", "Runners known", runners.clone());
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When the first of the certificates that clients are shown ends, in seconds since 1970; 0 if there is none",
            certificate_expiry.clone(),
        );
    }

    pub(crate) fn request(&self, area: &'static str, verb: &'static str, code: u16) {
        self.requests.get_or_create(&RequestLabels { area, verb, code }).inc();
    }

    pub(crate) fn phase(&self, phase: Phase, took: Duration) {
        let histogram = match phase {
            Phase::Authenticate => &self.every_phase[0],
            Phase::Authorize => &self.every_phase[1],
            Phase::Hold => &self.every_phase[2],
            Phase::Runner => &self.every_phase[3],
        };
        histogram.observe(took.as_secs_f64());
    }

    pub(crate) fn review(&self, kind: ReviewKind, is_answered: bool) {
        let outcome = if is_answered { Outcome::Answered } else { Outcome::Failed };
        self.reviews.get_or_create(&ReviewLabels { kind, outcome }).inc();
    }

    pub(crate) fn retry(&self) {
        self.retries.inc();
    }

    pub(crate) fn limited(&self, limit: &'static str) {
        self.limited.get_or_create(&LimitLabels { limit }).inc();
    }

    pub(crate) fn stream_ended(&self, reason: &'static str) {
        self.streams_ended.get_or_create(&PartingLabels { reason }).inc();
    }

    /// Everything as OpenMetrics text.
    pub(crate) fn render(&self, levels: Levels) -> Result<String, std::fmt::Error> {
        let Levels { held, workspaces, runners, certificate_expiry } = levels;
        self.certificate_expiry.set(certificate_expiry.unwrap_or(0));
        for (gauge, level) in [(&self.held, held), (&self.workspaces, workspaces), (&self.runners, runners)] {
            gauge.set(i64::try_from(level).unwrap_or(i64::MAX));
        }
        let mut rendered = String::new();
        text::encode(&mut rendered, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(rendered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_told() {
        let metrics = Metrics::new();
        metrics.request("exec", "create", 200);
        metrics.phase(Phase::Authorize, Duration::from_micros(300));
        metrics.review(ReviewKind::Token, true);
        let text = metrics
            .render(Levels { held: 3, workspaces: 7, runners: 1, certificate_expiry: Some(9) })
            .unwrap();
        for line in [
            "lodge_gateway_requests_total{area=\"exec\",verb=\"create\",code=\"200\"} 1",
            "lodge_gateway_phase_duration_seconds_bucket{le=\"0.0005\",phase=\"Authorize\"} 1",
            "lodge_gateway_reviews_total{kind=\"Token\",outcome=\"Answered\"} 1",
            "lodge_gateway_requests_held 3",
            "lodge_gateway_workspaces 7",
            "lodge_gateway_certificate_expiry_timestamp_seconds 9",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }
}
