//! One line per request: who did what to which workspace, and what came of it. Never a body, a path in the guest, a
//! command, or a token.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, StatusCode};

use crate::body::Ending;
use crate::route::{Action, Call};
use crate::user::User;

/// What is known about a request when its answer begins.
#[derive(Debug)]
pub(crate) struct Record {
    began: Instant,
    client: IpAddr,
    request_id: HeaderValue,
    user: Option<Arc<User>>,
    target: Option<Target>,
}

#[derive(Debug)]
struct Target {
    namespace: Box<str>,
    name: Box<str>,
    action: Action,
}

impl Record {
    pub(crate) fn new(client: IpAddr, request_id: HeaderValue) -> Self {
        Self { began: Instant::now(), client, request_id, user: None, target: None }
    }

    pub(crate) fn set_target(&mut self, call: &Call<'_>) {
        let Call { namespace, name, area: _, action } = *call;
        self.target = Some(Target { namespace: namespace.into(), name: name.into(), action });
    }

    pub(crate) fn set_user(&mut self, user: Arc<User>) {
        self.user = Some(user);
    }

    /// Area and verb, for metrics.
    pub(crate) fn labels(&self) -> (&'static str, &'static str) {
        self.target
            .as_ref()
            .map_or(("none", "none"), |target| (target.action.subresource(), target.action.verb()))
    }

    /// Writes the line.
    pub(crate) fn write(&self, status: StatusCode, code: Option<&str>, ending: Ending) {
        let (subresource, verb) = self.labels();
        let Ending { bytes, is_complete } = ending;
        tracing::info!(
            target: "audit",
            user = self.user.as_ref().map(|user| user.name.as_str()),
            verb,
            subresource,
            namespace = self.target.as_ref().map(|target| &*target.namespace),
            workspace = self.target.as_ref().map(|target| &*target.name),
            status = status.as_u16(),
            code,
            duration_ms = self.began.elapsed().as_secs_f64() * 1_000.0,
            bytes,
            complete = is_complete,
            request_id = self.request_id.to_str().unwrap_or_default(),
            client = %self.client,
        );
    }
}
