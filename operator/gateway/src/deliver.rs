//! Delivers a call to its workspace: looks where it is, waits until it is there, hands the request over, and does so again
//! while the runner says "not yet". All within one deadline.
//!
//! A request is handed over again only if the runner certainly did not begin with it (it could not be reached, or it
//! answered that it does not have the workspace yet), or if it only reads.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until};
use vm_api::{Problem, ProblemCode, problem, route};

use crate::body::{self, ClientBody, Source};
use crate::config::{REPLAYABLE_BODY_BYTES, Timeouts};
use crate::directory::{Directory, Lookup, RunnerEntry};
use crate::forward::{self, Forwarder};
use crate::hold::{Full as RoomFull, Visit, WaitingRoom};
use crate::metrics::{Metrics, Phase};
use crate::problem::Refusal;
use crate::route::Call;

/// First pause between two attempts; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// Problem documents of runners up to this size are looked at.
const PROBLEM_BYTES: usize = 64 * 1024;

/// The body of an answer.
pub(crate) type AnswerBody = UnsyncBoxBody<Bytes, hyper::Error>;

/// Delivers calls.
pub(crate) struct Postman {
    pub(crate) directory: Arc<Directory>,
    pub(crate) room: Arc<WaitingRoom>,
    pub(crate) forwarder: Forwarder,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) timeouts: Timeouts,
}

/// An answer of a runner, and how long the call waited before it was handed over for the last time.
pub(crate) struct Delivered {
    pub(crate) response: Response<AnswerBody>,
    pub(crate) held: Duration,
}

/// Why the call is not there yet.
#[derive(Debug)]
enum Obstacle {
    Unknown,
    NotThere(String),
    NotSent(forward::Error),
    NotBound(Problem),
}

/// What an attempt came to.
enum Attempt {
    Answered(Response<AnswerBody>),
    NotYet(Obstacle),
}

impl Postman {
    /// Delivers a call whose headers were prepared.
    pub(crate) async fn deliver(
        &self,
        call: &Call<'_>,
        parts: Parts,
        body: ClientBody,
    ) -> Result<Delivered, Refusal> {
        let began = Instant::now();
        let source = Source::new(body, REPLAYABLE_BODY_BYTES).await.map_err(unreadable)?;
        let deadlines = Deadlines { began, timeouts: &self.timeouts };
        let mut visit: Option<Visit> = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let bell = visit.as_ref().map(Visit::bell);
            let sent = Instant::now();
            let obstacle = match self.attempt(call, &parts, &source).await? {
                Attempt::Answered(response) => {
                    self.metrics.phase(Phase::Runner, sent.elapsed());
                    self.metrics.phase(Phase::Hold, sent - began);
                    return Ok(Delivered { response, held: sent - began });
                }
                Attempt::NotYet(obstacle) => obstacle,
            };
            let deadline = deadlines.of(&obstacle);
            if Instant::now() >= deadline || !source.is_replayable() {
                return Err(given_up(call, &obstacle, began.elapsed()));
            }
            let Some(bell) = bell else {
                // Take a seat, then look once more: what happens from now on rings the bell.
                visit = Some(self.take_seat(call, &obstacle)?);
                continue;
            };
            let next = match obstacle {
                // Only a watch can change this.
                Obstacle::Unknown | Obstacle::NotThere(_) => deadline,
                Obstacle::NotSent(_) | Obstacle::NotBound(_) => deadline.min(Instant::now() + pause),
            };
            tokio::select! {
                () = bell => pause = FIRST_PAUSE,
                () = sleep_until(next) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
    }

    fn take_seat(&self, call: &Call<'_>, obstacle: &Obstacle) -> Result<Visit, Refusal> {
        self.room.enter(call.namespace, call.name).map_err(|full| match (full, obstacle) {
            // Waiting for what may not exist is a courtesy.
            (_, Obstacle::Unknown) => not_found(call),
            (RoomFull::Workspace, _) => Refusal::new(
                ProblemCode::LimitWorkspaceRequests,
                format!("workspace {} is not there yet, and {full} already; try again", call.name),
            )
            .with_limit("--max-held-per-workspace")
            .retry_after(1),
            (RoomFull::All, _) => Refusal::new(
                ProblemCode::LimitRunnerRequests,
                format!("workspace {} is not there yet, and {full} already; try again", call.name),
            )
            .with_limit("--max-held")
            .retry_after(1),
        })
    }

    async fn attempt(&self, call: &Call<'_>, parts: &Parts, source: &Source) -> Result<Attempt, Refusal> {
        match self.directory.look_up(call.namespace, call.name) {
            Lookup::Unknown => Ok(Attempt::NotYet(Obstacle::Unknown)),
            Lookup::Deleting => Err(deleting(call)),
            Lookup::NotThere(why) => Ok(Attempt::NotYet(Obstacle::NotThere(why))),
            Lookup::There { uid, runner } => self.hand_over(call, &uid, &runner, parts, source).await,
        }
    }

    async fn hand_over(
        &self,
        call: &Call<'_>,
        uid: &str,
        runner: &RunnerEntry,
        parts: &Parts,
        source: &Source,
    ) -> Result<Attempt, Refusal> {
        let Some(body) = source.attempt() else {
            return Err(source
                .failure()
                .map_or_else(|| broken(call, "the body was sent before"), unreadable));
        };
        let mut request = Request::new(body);
        *request.method_mut() = parts.method.clone();
        *request.headers_mut() = parts.headers.clone();
        *request.uri_mut() = runner_uri(uid, call.area, parts.uri.query())?;
        match self.forwarder.send(runner, request).await {
            Ok(response) => self.judge(response).await,
            Err(error) => match source.failure() {
                Some(failure) => Err(unreadable(failure)),
                None => not_answered(call, &parts.method, error),
            },
        }
    }

    /// Tells "not yet" from an answer.
    async fn judge(&self, response: Response<Incoming>) -> Result<Attempt, Refusal> {
        let is_problem = response
            .headers()
            .get(http::header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(problem::MEDIA_TYPE.as_bytes()));
        let status = response.status();
        if !is_problem || !matches!(status, StatusCode::NOT_FOUND | StatusCode::SERVICE_UNAVAILABLE) {
            return Ok(Attempt::Answered(response.map(|body| body.boxed_unsync())));
        }
        let (parts, body) = response.into_parts();
        let Ok(document) = Limited::new(body, PROBLEM_BYTES).collect().await else {
            return Err(Refusal::new(
                ProblemCode::RunnerUnreachable,
                "the runner's answer broke off; try again",
            )
            .with_status(StatusCode::BAD_GATEWAY));
        };
        let document = document.to_bytes();
        if let Ok(problem) = serde_json::from_slice::<Problem>(&document)
            && (problem.is(ProblemCode::WorkspaceNotBound) || problem.is(ProblemCode::WorkspaceNotFound))
        {
            self.metrics.retry();
            return Ok(Attempt::NotYet(Obstacle::NotBound(problem)));
        }
        let body = Full::new(document).map_err(|never| match never {}).boxed_unsync();
        Ok(Attempt::Answered(Response::from_parts(parts, body)))
    }
}

/// Until when a call may wait.
struct Deadlines<'a> {
    began: Instant,
    timeouts: &'a Timeouts,
}

impl Deadlines<'_> {
    fn of(&self, obstacle: &Obstacle) -> Instant {
        match obstacle {
            Obstacle::Unknown => self.began + self.timeouts.unknown_grace.min(self.timeouts.hold),
            Obstacle::NotThere(_) | Obstacle::NotSent(_) | Obstacle::NotBound(_) => {
                self.began + self.timeouts.hold
            }
        }
    }
}

fn runner_uri(uid: &str, area: &str, query: Option<&str>) -> Result<Uri, Refusal> {
    let base = route::Workspace::at_runner(uid);
    let path = match query {
        Some(query) => format!("{}/{area}?{query}", base.base()),
        None => format!("{}/{area}", base.base()),
    };
    Uri::try_from(path).map_err(|error| {
        Refusal::new(ProblemCode::InvalidRequest, format!("the path cannot be forwarded: {error}"))
    })
}

/// What becomes of a call that brought no answer.
fn not_answered(call: &Call<'_>, method: &Method, error: forward::Error) -> Result<Attempt, Refusal> {
    match error {
        forward::Error::NotSent(_) | forward::Error::Name(_) => Ok(Attempt::NotYet(Obstacle::NotSent(error))),
        // What only reads can be asked for twice.
        forward::Error::Broken(_) if method.is_safe() => Ok(Attempt::NotYet(Obstacle::NotSent(error))),
        forward::Error::Broken(_) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(namespace = call.namespace, workspace = call.name, error, "a request broke off");
            Err(broken(call, "the connection to its runner broke"))
        }
    }
}

fn broken(call: &Call<'_>, why: &str) -> Refusal {
    Refusal::new(
        ProblemCode::RunnerUnreachable,
        format!(
            "the request to workspace {} was lost: {why}. It may have been carried out: look before you send it again",
            call.name
        ),
    )
    .with_status(StatusCode::BAD_GATEWAY)
}

fn not_found(call: &Call<'_>) -> Refusal {
    let (namespace, name) = (call.namespace, call.name);
    Refusal::new(
        ProblemCode::WorkspaceNotFound,
        format!(
            "there is no workspace {name} in namespace {namespace}; see `kubectl get workspaces -n {namespace}`"
        ),
    )
}

fn deleting(call: &Call<'_>) -> Refusal {
    Refusal::new(
        ProblemCode::WorkspaceDeleting,
        format!("workspace {} is being deleted; create it again under this name once it is gone", call.name),
    )
}

fn given_up(call: &Call<'_>, obstacle: &Obstacle, waited: Duration) -> Refusal {
    let (namespace, name) = (call.namespace, call.name);
    let (code, why) = match obstacle {
        Obstacle::Unknown => return not_found(call),
        Obstacle::NotThere(why) => (ProblemCode::WorkspaceNotBound, why.clone()),
        Obstacle::NotSent(error) => {
            tracing::warn!(
                namespace,
                workspace = name,
                error = error as &dyn std::error::Error,
                "runner not reached"
            );
            (ProblemCode::RunnerUnreachable, "its runner cannot be reached".to_owned())
        }
        Obstacle::NotBound(problem) => {
            (ProblemCode::WorkspaceNotBound, format!("its runner says: {}", problem.detail))
        }
    };
    Refusal::new(
        code,
        format!(
            "workspace {name} was not there within {:.1} s: {why}; try again, or see \
             `kubectl describe workspace {name} -n {namespace}`",
            waited.as_secs_f64()
        ),
    )
    .retry_after(1)
}

pub(crate) fn unreadable(error: body::Error) -> Refusal {
    match error {
        body::Error::TooLarge(limit) => too_large(limit),
        body::Error::Stalled(_) => Refusal::new(ProblemCode::BodyIncomplete, error.to_string())
            .with_status(StatusCode::REQUEST_TIMEOUT)
            .with_limit("--stall-timeout"),
        body::Error::Incomplete => Refusal::new(ProblemCode::BodyIncomplete, error.to_string()),
    }
}

pub(crate) fn too_large(limit: u64) -> Refusal {
    Refusal::new(
        ProblemCode::BodyTooLarge,
        format!("the body is larger than the {limit} bytes that this gateway takes here"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_workspace_is_forwarded_as_it_was_sent() {
        let uri = runner_uri("u-1", "files/a%2Fb/..//%20c", Some("stat&x=%26")).unwrap();
        assert_eq!(uri, "/v1/workspaces/u-1/files/a%2Fb/..//%20c?stat&x=%26");
    }
}
