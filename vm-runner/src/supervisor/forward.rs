//! The way of a request into a VM: limits, waking, and the stream through.
//!
//! Bodies pass both ways as they come; nothing is collected. A request for another protocol (WebSocket) gets a
//! connection of its own, which is passed through byte by byte once the VM has agreed (`tunnel`).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{
    CONNECTION, EXPECT, HOST, HeaderMap, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderName, Version};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vm_api::area::Area;
use vm_api::{Problem, ProblemCode, header};

use super::client::{self, VmClient};
use super::tunnel::Tunnels;
use super::workspace::{Awake, Purpose, Visit, WakeTiming, Workspace};
use crate::http::{Body, BodyError, Request, Response};
use crate::task::Task;

/// Headers that are about one connection, not about the message (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] =
    [CONNECTION, EXPECT, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// Forwards requests to VMs.
#[derive(Debug)]
pub(crate) struct Forwarder {
    /// Places for requests in flight, over all workspaces.
    places: Arc<Semaphore>,
    max_requests: usize,
    max_requests_per_workspace: usize,
    tunnels: Tunnels,
}

/// A request's places, kept until its answer has ended.
#[derive(Debug)]
pub(super) struct Places {
    _ours: OwnedSemaphorePermit,
    _theirs: Visit,
}

impl Places {
    fn only_looks(self) -> Self {
        let Self { _ours, _theirs } = self;
        Self { _ours, _theirs: _theirs.only_looks() }
    }
}

impl Forwarder {
    pub(crate) fn new(max_requests: usize, max_requests_per_workspace: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(max_requests)),
            max_requests,
            max_requests_per_workspace,
            tunnels: Tunnels::default(),
        }
    }

    /// Takes a place for a request, or refuses it.
    pub(super) fn admit(&self, workspace: &Workspace) -> Result<Places, Problem> {
        let ours = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let detail =
                format!("this runner works on {} requests, its most (--max-requests)", self.max_requests);
            Problem::new(ProblemCode::LimitRunnerRequests, detail).with_limit("--max-requests")
        })?;
        let theirs = workspace.enter().ok_or_else(|| {
            let detail = format!(
                "{} requests of this workspace are in flight, its most (--max-requests-per-workspace)",
                self.max_requests_per_workspace
            );
            Problem::new(ProblemCode::LimitWorkspaceRequests, detail)
                .with_limit("--max-requests-per-workspace")
        })?;
        Ok(Places { _ours: ours, _theirs: theirs })
    }

    /// Forwards one request; wakes the workspace for it, unless it only reads files.
    pub(crate) async fn forward(
        &self,
        workspace: &Workspace,
        area: Area,
        request: &mut Request,
    ) -> Result<Response, Problem> {
        let received = Instant::now();
        let places = self.admit(workspace)?;
        let places = if area == Area::Health { places.only_looks() } else { places };
        let purpose = match area.is_file_read(request.method().as_str(), request.query()) {
            true => Purpose::Read,
            false => Purpose::Act(area.wake_cause()),
        };
        let (_, channel, wake) = connect(workspace, purpose).await?;
        let queued = received.elapsed();
        if let Some(client) = request.take_upgrade() {
            let switch = channel.switch(rewrite(request, Hop::Switched)?).await.map_err(vm_died)?;
            return Ok(self.tunnels.pass_through(client, switch, places));
        }
        let mut response = channel.send(rewrite(request, Hop::Kept)?).await.map_err(vm_died)?;
        if let (Some(wake), Purpose::Act(_)) = (wake, purpose) {
            workspace.note_first_byte(wake, received.elapsed());
        }
        strip(response.headers_mut());
        add_timing(response.headers_mut(), queued, wake);
        Ok(response.map(|body| Body::new(Guarded::new(body, places))))
    }
}

/// A VM that can do that, a connection to it, and what it took to get one.
pub(super) async fn connect(
    workspace: &Workspace,
    purpose: Purpose,
) -> Result<(Arc<VmClient>, client::Channel, Option<WakeTiming>), Problem> {
    let Awake { vm, wake } = workspace.reach(purpose).await?;
    match vm.connect().await {
        Ok(channel) => Ok((vm, channel, wake)),
        Err(client::Error::Gone(_)) => {
            // The VM has just died, and nothing of the request was sent: the next one takes it.
            let Awake { vm, wake: another } = workspace.reach_another(purpose, &vm).await?;
            let channel = vm.connect().await.map_err(vm_died)?;
            Ok((vm, channel, another.or(wake)))
        }
        Err(error) => Err(vm_died(error)),
    }
}

/// What becomes of the connection that a request came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hop {
    /// It takes the next request; headers about it stay behind.
    Kept,
    /// It is to speak another protocol; headers that say so go on.
    Switched,
}

fn vm_died(error: client::Error) -> Problem {
    let cause = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
    Problem::new(
        ProblemCode::VmDied,
        format!(
            "{error}{cause}; whether the request was done is not known, and the next one boots the VM again"
        ),
    )
}

/// The same request on another connection.
fn rewrite(request: &mut Request, hop: Hop) -> Result<http::Request<client::RequestBody>, Problem> {
    let Some(request) = request.take() else {
        return Err(Problem::new(ProblemCode::Internal, "the request was forwarded already"));
    };
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    head.uri = Uri::from(path);
    head.version = Version::HTTP_11;
    let protocol = head.headers.get(UPGRADE).cloned();
    strip(&mut head.headers);
    if let (Hop::Switched, Some(protocol)) = (hop, protocol) {
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, protocol);
    }
    if !head.headers.contains_key(HOST) {
        head.headers.insert(HOST, HeaderValue::from_static("vm"));
    }
    Ok(http::Request::from_parts(head, body.boxed_unsync()))
}

fn strip(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove("keep-alive");
}

/// Puts our phases before the VM's.
fn add_timing(headers: &mut HeaderMap, queued: Duration, wake: Option<WakeTiming>) {
    let inner = headers.get(header::SERVER_TIMING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut text = match wake {
        Some(WakeTiming { queued, booted }) => {
            format!("queue;dur={:.3}, boot;dur={:.3}", milliseconds(queued), milliseconds(booted))
        }
        None => format!("queue;dur={:.3}", milliseconds(queued)),
    };
    if !inner.is_empty() {
        text.push_str(", ");
        text.push_str(inner);
    }
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(header::SERVER_TIMING, value);
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// A body that holds its request's places until it has ended.
pub(super) struct Guarded {
    body: Body,
    _places: Places,
    /// Drives the connection that the body comes from, if nobody else does.
    _driver: Option<Task<()>>,
}

impl Guarded {
    fn new(body: Body, places: Places) -> Self {
        Self { body, _places: places, _driver: None }
    }

    /// A body whose connection is driven by this task.
    pub(super) fn driven(body: Body, places: Places, driver: Task<()>) -> Self {
        Self { body, _places: places, _driver: Some(driver) }
    }
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phases_of_a_request_are_told_in_order() {
        let mut headers = HeaderMap::new();
        headers.insert(header::SERVER_TIMING, HeaderValue::from_static("run;dur=0.2"));
        let wake = WakeTiming { queued: Duration::from_micros(1500), booted: Duration::from_millis(2) };
        add_timing(&mut headers, Duration::from_millis(4), Some(wake));
        assert_eq!(headers[header::SERVER_TIMING], "queue;dur=1.500, boot;dur=2.000, run;dur=0.2");
    }

    #[test]
    fn headers_of_the_connection_stay_with_it() {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        headers.insert("x-request-id", HeaderValue::from_static("1"));
        strip(&mut headers);
        assert_eq!(headers.len(), 1);
    }
}
