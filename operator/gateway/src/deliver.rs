//! Delivers a call to its workspace: looks where it is, waits until it is there, hands the request over, and does so again
//! while the runner says "not yet". All within one deadline.
//!
//! A request is handed over again only if the runner certainly did not begin with it (it was not reached, or it answered
//! that it did not), or if doing it twice is the same as doing it once; and only as long as its body is still here. Never
//! is anything else done twice.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use tokio::time::{Instant, sleep_until, timeout_at};
use vm_api::{Problem, ProblemCode, problem, route};

use crate::answer::AnswerBody;
use crate::body::{self, ClientBody, Source};
use crate::config::{REPLAYABLE_BODY_BYTES, Timeouts};
use crate::directory::{Directory, Lookup, RunnerEntry};
use crate::forward::{self, Forwarder, Inbound};
use crate::hold::{Full as RoomFull, Visit, WaitingRoom};
use crate::metrics::{Metrics, Phase};
use crate::problem::Refusal;
use crate::route::Call;

/// First pause between two attempts; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// Problem documents of runners up to this size are looked at.
const PROBLEM_BYTES: usize = 64 * 1024;
/// A request is done again so many times after it may have been done: one that breaks what it reaches must not go on.
const MOST_REPETITIONS: u32 = 3;

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

/// What is to be delivered, its headers prepared.
pub(crate) struct Errand<'a> {
    pub(crate) call: &'a Call<'a>,
    pub(crate) parts: Parts,
    pub(crate) is_idempotent: bool,
}

/// Why the call is not there yet.
#[derive(Debug)]
enum Obstacle {
    Unknown,
    NotThere(String),
    NotSent(forward::Error),
    /// The runner does not have the workspace yet.
    NotBound(Problem),
    /// The runner did not do it, or may have, which makes no difference for this call.
    NotDone(Problem),
    /// The connection broke in the middle of a call that can be done again.
    Broken(forward::Error),
}

impl Obstacle {
    /// Whether the call may have been done.
    fn is_ambiguous(&self) -> bool {
        match self {
            Self::Unknown | Self::NotThere(_) | Self::NotSent(_) | Self::NotBound(_) => false,
            Self::NotDone(problem) => problem.is(ProblemCode::VmDied),
            Self::Broken(_) => true,
        }
    }
}

/// What an attempt came to.
enum Attempt {
    Answered(Response<AnswerBody>),
    NotYet(Obstacle),
}

impl Postman {
    /// Delivers a call.
    pub(crate) async fn deliver(&self, errand: &Errand<'_>, body: ClientBody) -> Result<Delivered, Refusal> {
        let began = Instant::now();
        let source = Source::new(body, REPLAYABLE_BODY_BYTES).await.map_err(unreadable)?;
        self.deliver_from(errand, source, began).await
    }

    /// Delivers a call that has no body.
    pub(crate) async fn deliver_empty(&self, errand: &Errand<'_>) -> Result<Delivered, Refusal> {
        self.deliver_from(errand, Source::Whole(Bytes::new()), Instant::now()).await
    }

    async fn deliver_from(
        &self,
        errand: &Errand<'_>,
        source: Source,
        began: Instant,
    ) -> Result<Delivered, Refusal> {
        let call = errand.call;
        let deadlines = Deadlines { began, timeouts: &self.timeouts };
        let mut visit: Option<Visit> = None;
        let (mut pause, mut repetitions) = (FIRST_PAUSE, 0);
        loop {
            let bell = visit.as_ref().map(Visit::bell);
            let sent = Instant::now();
            let attempt = match visit {
                None => self.attempt(errand, &source).await?,
                // Rare; every request would carry its room otherwise.
                Some(_) => Box::pin(self.attempt_from_seat(errand, &source, began, &mut visit)).await?,
            };
            let obstacle = match attempt {
                Attempt::Answered(response) => {
                    self.metrics.phase(Phase::Runner, sent.elapsed());
                    self.metrics.phase(Phase::Hold, sent - began);
                    return Ok(Delivered { response, held: sent - began });
                }
                Attempt::NotYet(obstacle) => obstacle,
            };
            repetitions += u32::from(obstacle.is_ambiguous());
            let deadline = deadlines.of(&obstacle);
            if Instant::now() >= deadline || !source.is_replayable() || repetitions > MOST_REPETITIONS {
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
                Obstacle::NotSent(_) | Obstacle::NotBound(_) | Obstacle::NotDone(_) | Obstacle::Broken(_) => {
                    deadline.min(Instant::now() + pause)
                }
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

    /// Makes an attempt, and gives the seat back when its time to wait is over: what takes long from then on is no longer waiting,
    /// and must not keep others from it.
    async fn attempt_from_seat(
        &self,
        errand: &Errand<'_>,
        source: &Source,
        began: Instant,
        visit: &mut Option<Visit>,
    ) -> Result<Attempt, Refusal> {
        let mut attempt = std::pin::pin!(self.attempt(errand, source));
        match timeout_at(began + self.timeouts.hold, attempt.as_mut()).await {
            Ok(outcome) => outcome,
            Err(_) => {
                *visit = None;
                attempt.await
            }
        }
    }

    async fn attempt(&self, errand: &Errand<'_>, source: &Source) -> Result<Attempt, Refusal> {
        let call = errand.call;
        match self.directory.look_up(call.namespace, call.name) {
            Lookup::Unknown => Ok(Attempt::NotYet(Obstacle::Unknown)),
            Lookup::Deleting => Err(deleting(call)),
            Lookup::NotThere(why) => Ok(Attempt::NotYet(Obstacle::NotThere(why))),
            Lookup::There { uid, runner } => self.hand_over(errand, &uid, &runner, source).await,
        }
    }

    async fn hand_over(
        &self,
        errand: &Errand<'_>,
        uid: &str,
        runner: &RunnerEntry,
        source: &Source,
    ) -> Result<Attempt, Refusal> {
        let Errand { call, parts, is_idempotent } = errand;
        let Some(body) = source.attempt() else {
            return Err(source
                .failure()
                .map_or_else(|| broken(call, "the body was sent before"), unreadable));
        };
        let mut request = Request::new(body);
        *request.method_mut() = parts.method.clone();
        *request.headers_mut() = parts.headers.clone();
        *request.uri_mut() = runner_uri(uid, call.path, parts.uri.query())?;
        let can_be_repeated = || *is_idempotent && source.is_replayable();
        match (self.forwarder.send(runner, request).await, source.failure()) {
            (Ok(response), _) => self.judge(response, can_be_repeated()).await,
            (Err(_), Some(failure)) => Err(unreadable(failure)),
            (Err(error @ forward::Error::NotSent(_)), None) => Ok(Attempt::NotYet(Obstacle::NotSent(error))),
            (Err(error @ forward::Error::Broken(_)), None) if can_be_repeated() => {
                self.metrics.retry();
                Ok(Attempt::NotYet(Obstacle::Broken(error)))
            }
            (Err(error @ forward::Error::Broken(_)), None) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    namespace = call.namespace,
                    workspace = call.name,
                    error,
                    "a request broke off"
                );
                Err(broken(call, "the connection to its runner broke"))
            }
        }
    }

    /// Tells "not yet" from an answer.
    async fn judge(&self, response: Response<Inbound>, can_be_repeated: bool) -> Result<Attempt, Refusal> {
        const NOT_YET: [StatusCode; 3] =
            [StatusCode::NOT_FOUND, StatusCode::SERVICE_UNAVAILABLE, StatusCode::BAD_GATEWAY];
        let is_problem = response
            .headers()
            .get(http::header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(problem::MEDIA_TYPE.as_bytes()));
        if !is_problem || !NOT_YET.contains(&response.status()) {
            return Ok(Attempt::Answered(response.map(AnswerBody::Runner)));
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
        let obstacle =
            serde_json::from_slice(&document).ok().and_then(|problem| not_yet(problem, can_be_repeated));
        if let Some(obstacle) = obstacle {
            self.metrics.retry();
            return Ok(Attempt::NotYet(obstacle));
        }
        Ok(Attempt::Answered(Response::from_parts(parts, AnswerBody::whole(document))))
    }
}

/// What a runner's problem means for a call, if it means that it may be handed over again.
fn not_yet(problem: Problem, can_be_repeated: bool) -> Option<Obstacle> {
    match problem.known_code()? {
        ProblemCode::WorkspaceNotBound | ProblemCode::WorkspaceNotFound => Some(Obstacle::NotBound(problem)),
        ProblemCode::WorkspaceStopping | ProblemCode::ShuttingDown => Some(Obstacle::NotDone(problem)),
        ProblemCode::VmDied if can_be_repeated => Some(Obstacle::NotDone(problem)),
        _ => None,
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
            Obstacle::NotThere(_)
            | Obstacle::NotSent(_)
            | Obstacle::NotBound(_)
            | Obstacle::NotDone(_)
            | Obstacle::Broken(_) => self.began + self.timeouts.hold,
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
        // The runner's own words are the best there are.
        Obstacle::NotDone(problem) => return Refusal::from(problem.clone()).retry_after(1),
        Obstacle::NotThere(why) => (ProblemCode::WorkspaceNotBound, why.clone()),
        Obstacle::NotSent(error) | Obstacle::Broken(error) => {
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
