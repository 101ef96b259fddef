//! The CronJob: from what its spec says to runs at a runner, each at most once, and back into its status.
//!
//! ```text
//!   settle (how runs ended) ─▶ validate ─▶ follow the schedule ─▶ dereference ─▶ adopt ─▶ due ─▶ plan ─▶ begin ─▶ update_status
//!          ▲                                                         (only when a run is due)            │
//!          └────────────── a run ended (watch stream of the runner), or the next instant comes ◀─────────┘
//! ```
//! `validate`, [`schedule`], [`due`], [`plan`], [`record`] and [`prune`] are pure. Idle, a CronJob costs no write and no request:
//! a timer wakes it, to the millisecond. A run costs two writes: when it begins and when it ends.
//!
//! # At most once, and as a rule exactly once
//! The status remembers in `followed.until` up to which instant the schedule is dealt with, and every run in `runs`. A run's name
//! is a function of the CronJob's UID and the instant ([`run_name`]), and a runner begins no name twice (it notes the name on
//! its volume before it begins). The order is: **begin at the runner, then write the status**, in one write that says which
//! version of the CronJob it was made from. So:
//!
//! - *The operator dies before the request*: the status doesn't know the instant, so the next leader finds it due.
//! - *It dies between the request and the status, or the answer gets lost*: the next leader finds it due as well. Before its
//!   first run of a CronJob it asks the runner for its runs, recognises those of this CronJob by their names, and takes those
//!   after `followed.until` into the status ([`settle`]): they are neither begun again, nor taken for missed, and `Forbid` and
//!   `Replace` know that they go on.
//! - *Two operators believe to lead*: both ask for the same name, one run begins. The slower one's write of the status is
//!   refused, as it was made from an older version; it looks again. At worst a former leader begins a run that the new one has
//!   just counted as skipped or missed; then the runner shows it and nobody hides it, but it is not begun twice.
//! - *The runner restarts in the middle of a run*: it ends it as Lost. After each new connection the runs that the status says
//!   go on are asked for again; one that the runner has forgotten, because its volume is gone, becomes Lost, too.
//! - *A runner is away when a run is due*: nothing is noted, so the instant stays due; when the runner is back, `catchUp` and
//!   `startingDeadline` decide as after a time without an operator.
//! - *The end of a run isn't told*: it is asked for every minute ([`register::RECHECK`]).
//! - *The clock is set back*: what is before `followed.until` isn't due, so nothing comes twice. Set forward: what was leapt over
//!   was missed. If the clock was wrong by more than a day, the schedule is followed from now on.
//!
//! # Decisions
//! - A schedule or time zone that is edited is followed from the moment the operator sees the edit: nothing is made up for.
//!   Other edits change nothing about what is due.
//! - A run asked for with the annotation `lodge.dev/run-now` keeps to `concurrencyPolicy` and may begin while suspended.
//! - A variable that can't be resolved, or `spec.power: Asleep`, fails the run, with the reason in its `outputTail`: a schedule
//!   that can't do its work shall be seen.
//! - A run that is stopped because somebody puts its workspace to sleep has failed.
//! - Deleting a CronJob stops nothing: what runs ends by itself, at the latest after its timeout, and is seen in the events of
//!   the workspace. There is no finalizer that could hang. Deleting the Workspace ends its runs as Lost.
//! - With `Replace`, `catchUp: All` makes up for the last run only: each would end the one before it.
//!
//! Knows nothing of how a command is run; never writes a spec; the value of a Secret goes to the runner and nowhere else.

mod clock_watch;
pub mod controller;
mod dereference;
pub mod due;
mod error;
pub mod metrics;
pub mod plan;
mod prune;
pub mod record;
pub mod register;
pub mod run_name;
pub mod schedule;
mod settle;
mod status;
mod turn;
mod unreadable;
mod update_status;
pub mod validate;

pub use clock_watch::run as watch_clock;
pub use error::Error;

use crate::{
    context::Context,
    store::{WatchedCronJob, WatchedWorkspace},
    trigger::Triggers,
    workspace::Verdict,
};
use kube::{
    Resource,
    runtime::{controller::Action, reflector::ObjectRef},
};
use lodge_crds::{CronJob, label};
use register::Register;
use schedule::zone::Zones;
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;
use turn::Turn;

/// A timer that is further away is set anew on the way, so that it may be years.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// Timers are that precise; a shorter one would fire before its time.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// What reconciles of CronJobs share.
#[derive(Debug, Default)]
pub struct CronJobs {
    /// What is known of each.
    pub register: Register,
    /// Those to look at again.
    pub due: Triggers<ObjectRef<WatchedCronJob>>,
    /// Time zones.
    pub zones: Zones,
}

/// Reconciles one CronJob.
///
/// # Errors
/// Names the step that failed; the status says so, too.
pub async fn reconcile(watched: Arc<WatchedCronJob>, context: Arc<Context>) -> Result<Action, Error> {
    let started = Instant::now();
    let result = match &watched.0 {
        Err(invalid) => unreadable::report(invalid, &context).await,
        Ok(cron_job) => reconcile_readable(cron_job, &context).await,
    };
    let label = result.as_ref().map_or_else(Error::label, |_| "ok");
    context.metrics.reconciled("cron_job", label, started.elapsed());
    if let Err(error) = &result {
        let object = ObjectRef::from_obj(&*watched);
        // What a status tells anyway, of this or of the Workspace, is no news for the log.
        match (error, error.verdict()) {
            (Error::RunnerAway { .. }, _) | (_, Verdict::Waiting(_) | Verdict::Stalled(_)) => {
                tracing::debug!(%error, cron_job = %object, "not ready")
            }
            (_, Verdict::Unchanged) => {
                tracing::warn!(%error, cron_job = %object, "could not reconcile")
            }
        }
    }
    result
}

async fn reconcile_readable(cron_job: &CronJob, context: &Context) -> Result<Action, Error> {
    let register = &context.cron_jobs.register;
    let id = run_name::id(cron_job.metadata.uid.as_deref().unwrap_or_default());
    let cron_job = register.note(&id, Arc::new(cron_job.clone()));
    if cron_job.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let began = Instant::now();
    let mut turn = Turn::new(&cron_job, id.clone(), context);
    let outcome = turn.advance().await;
    register.set_wake(&id, turn.wake.map(|wake| began + wake.clamp(SHORTEST_WAIT, LONGEST_WAIT)));
    update_status::run(turn, &outcome).await?;
    outcome?;
    register.succeeded(&id);
    Ok(register.wait(&id).map_or_else(Action::await_change, Action::requeue))
}

/// What to do after a failure.
pub fn error_policy(watched: Arc<WatchedCronJob>, error: &Error, context: Arc<Context>) -> Action {
    let register = &context.cron_jobs.register;
    let id = run_name::id(watched.meta().uid.as_deref().unwrap_or_default());
    let retry = error.retry(register.failed(&id));
    let pause = retry.into_iter().chain(register.wait(&id)).min();
    pause.map_or_else(Action::await_change, Action::requeue)
}

/// What of a CronJob has to change for a reconcile: what users write, never what the operator writes.
pub fn trigger_version(watched: &WatchedCronJob) -> Option<u64> {
    let metadata = watched.meta();
    let request = metadata.annotations.as_ref().and_then(|all| all.get(label::RUN_NOW));
    let mut hasher = DefaultHasher::new();
    (&metadata.uid, metadata.generation, request).hash(&mut hasher);
    Some(hasher.finish())
}

/// Notes that a CronJob is gone.
pub fn forget(watched: &WatchedCronJob, context: &Context) {
    if let Some(uid) = &watched.meta().uid {
        context.cron_jobs.register.forget(&run_name::id(uid));
    }
}

/// Asks for the CronJobs of a Workspace, which has changed, or whose runner has.
pub fn ask_for(workspace: &WatchedWorkspace, context: &Context) {
    let metadata = workspace.meta();
    if let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) {
        context.cron_jobs.due.extend(context.cron_jobs.register.of_workspace(namespace, name));
    }
}
