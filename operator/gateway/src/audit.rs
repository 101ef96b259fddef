//! One line per request: who did what to which workspace, and what came of it. Never a body, a path in the guest, a
//! command, or a token. The same record counts the request in the metrics.
//!
//! A record is written when it is dropped, so that there is a line however a request ends; also when the client leaves
//! before there is an answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, StatusCode};

use crate::body::Ending;
use crate::metrics::Metrics;
use crate::route::{Action, Call};
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
    user: Option<Arc<User>>,
    target: Option<Target>,
    status: Option<StatusCode>,
    code: Option<String>,
    ending: Ending,
}

#[derive(Debug)]
struct Target {
    namespace: Box<str>,
    name: Box<str>,
    action: Action,
}

impl Record {
    pub(crate) fn new(metrics: Arc<Metrics>, client: IpAddr, request_id: HeaderValue) -> Self {
        metrics.requests_in_flight.inc();
        Self {
            metrics,
            began: Instant::now(),
            client,
            request_id,
            user: None,
            target: None,
            status: None,
            code: None,
            ending: Ending::default(),
        }
    }

    pub(crate) fn set_target(&mut self, call: &Call<'_>) {
        let Call { namespace, name, area: _, action } = *call;
        self.target = Some(Target { namespace: namespace.into(), name: name.into(), action });
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
}

impl Drop for Record {
    fn drop(&mut self) {
        let (subresource, verb) = self
            .target
            .as_ref()
            .map_or(("none", "none"), |target| (target.action.subresource(), target.action.verb()));
        let status = self.status.map_or(CLIENT_LEFT, |status| status.as_u16());
        let Ending { bytes, is_complete } = self.ending;
        self.metrics.requests_in_flight.dec();
        self.metrics.request(subresource, verb, status);
        tracing::info!(
            target: "audit",
            user = self.user.as_ref().map(|user| user.name.as_str()),
            verb,
            subresource,
            namespace = self.target.as_ref().map(|target| &*target.namespace),
            workspace = self.target.as_ref().map(|target| &*target.name),
            status,
            code = self.code.as_deref(),
            duration_ms = self.began.elapsed().as_secs_f64() * 1_000.0,
            bytes,
            complete = is_complete,
            request_id = self.request_id.to_str().unwrap_or_default(),
            client = %self.client,
        );
    }
}
