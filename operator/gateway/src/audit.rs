//! One line per request: who did what to which workspace, and what came of it; for a stream one more, when it begins.
//! Never a body, a path in the guest, a command, or a token. The same record counts the request in the metrics.
//!
//! A record is written when it is dropped, so that there is a line however a request ends; also when the client leaves
//! before there is an answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, StatusCode};

use vm_api::area::{Area, Permission};

use crate::answer::Ending;
use crate::lease::Parting;
use crate::metrics::Metrics;
use crate::route::Call;
use crate::trace::Trace;
use crate::user::User;

/// The client left before there was an answer. Not a status of HTTP; what proxies have for it.
const CLIENT_LEFT: u16 = 499;

/// What is known about a request.
#[derive(Debug)]
pub(crate) struct Record {
    metrics: Arc<Metrics>,
    began: Instant,
    client: IpAddr,
    request_id: HeaderValue,
    trace: Trace,
    user: Option<Arc<User>>,
    target: Option<Target>,
    status: Option<StatusCode>,
    code: Option<String>,
    is_stream: bool,
    ending: Ending,
    /// Whether another record goes on with this one.
    is_continued: bool,
}

#[derive(Clone, Debug)]
struct Target {
    namespace: Box<str>,
    name: Box<str>,
    area: Area,
    permission: Permission,
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A request from its beginning to its end.
    Whole,
    /// The beginning of a stream.
    Began,
    /// The end of a stream.
    Ended,
}

impl Stage {
    fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Began => "began",
            Self::Ended => "ended",
        }
    }
}

impl Record {
    pub(crate) fn new(metrics: Arc<Metrics>, client: IpAddr, request_id: HeaderValue, trace: Trace) -> Self {
        metrics.requests_in_flight.inc();
        Self {
            metrics,
            began: Instant::now(),
            client,
            request_id,
            trace,
            user: None,
            target: None,
            status: None,
            code: None,
            is_stream: false,
            ending: Ending::default(),
            is_continued: false,
        }
    }

    pub(crate) fn set_target(&mut self, call: &Call<'_>) {
        let Call { namespace, name, path: _, area, permission } = *call;
        self.target = Some(Target { namespace: namespace.into(), name: name.into(), area, permission });
    }

    pub(crate) fn set_user(&mut self, user: Arc<User>) {
        self.user = Some(user);
    }

    pub(crate) fn set_answer(&mut self, status: StatusCode, code: Option<String>) {
        self.status = Some(status);
        self.code = code;
    }

    pub(crate) fn set_ending(&mut self, ending: Ending) {
        self.ending = ending;
    }

    /// The request goes on as a stream, which is told now and again when it ends.
    pub(crate) fn begin(&mut self) {
        self.is_stream = true;
        self.metrics.streams.inc();
        self.write(Stage::Began);
    }

    /// The record of a stream that goes on after the request's answer; this one says nothing any longer.
    pub(crate) fn continued(&mut self, status: StatusCode) -> Self {
        self.is_continued = true;
        self.metrics.requests_in_flight.inc();
        let mut record = Self {
            metrics: self.metrics.clone(),
            request_id: self.request_id.clone(),
            trace: self.trace.clone(),
            user: self.user.clone(),
            target: self.target.clone(),
            status: Some(status),
            code: None,
            is_continued: false,
            is_stream: false,
            ..*self
        };
        record.begin();
        record
    }

    fn write(&self, stage: Stage) {
        let target = self.target.as_ref();
        let Ending { bytes, is_complete, parting } = self.ending;
        tracing::info!(
            target: "audit",
            stage = stage.as_str(),
            user = self.user.as_ref().map(|user| user.name.as_str()),
            verb = target.map(|target| target.permission.verb),
            subresource = target.map(|target| target.permission.subresource),
            namespace = target.map(|target| &*target.namespace),
            workspace = target.map(|target| &*target.name),
            status = self.status(),
            code = self.code.as_deref(),
            duration_ms = self.began.elapsed().as_secs_f64() * 1_000.0,
            bytes,
            complete = is_complete,
            ended_by = parting.map(Parting::as_str),
            request_id = self.request_id.to_str().unwrap_or_default(),
            trace_id = self.trace.id(),
            client = %self.client,
        );
    }

    fn status(&self) -> u16 {
        self.status.map_or(CLIENT_LEFT, |status| status.as_u16())
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.metrics.requests_in_flight.dec();
        if self.is_continued {
            return;
        }
        let (area, verb) = self
            .target
            .as_ref()
            .map_or(("none", "none"), |target| (target.area.name(), target.permission.verb));
        self.metrics.request(area, verb, self.status());
        if let Some(parting) = self.ending.parting {
            self.metrics.stream_ended(parting.as_str());
        }
        if self.is_stream {
            self.metrics.streams.dec();
            self.write(Stage::Ended);
        } else {
            self.write(Stage::Whole);
        }
    }
}
