//! A Workspace that is being deleted: its runner is told to stop the VM and remove the data, then the finalizer goes.
//!
//! This never hangs. A runner that doesn't confirm is given up after a deadline, or at once if it can't come back; then a
//! Warning, a line in the log and a metric say so. If it comes back after all, [`crate::follow`] removes what is left there.

use super::{Error, bind, finalizer, place, push, update_status};
use crate::{
    context::Context,
    event::News,
    roster::{Placement, Reach},
    runner::name::{RunnerId, RunnerSetName},
    runner_client, store,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{
    ResourceExt,
    runtime::{controller::Action, events::EventType, reflector::ObjectRef},
};
use lodge_crds::{Workspace, condition::reason, label};
use std::time::Duration;
use vm_api::ProblemCode;

/// Why nobody waits for a runner any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Abandoned {
    Requested,
    NamespaceEnding,
    RunnerGone,
    DeadlineExceeded,
}

impl Abandoned {
    fn label(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::NamespaceEnding => "namespace_ending",
            Self::RunnerGone => "runner_gone",
            Self::DeadlineExceeded => "deadline_exceeded",
        }
    }

    fn explain(self) -> &'static str {
        match self {
            Self::Requested => "the annotation lodge.dev/abandon-data asks for it",
            Self::NamespaceEnding => "the namespace is being deleted",
            Self::RunnerGone => "the runner doesn't exist any more",
            Self::DeadlineExceeded => "the deadline has passed",
        }
    }
}

pub(super) async fn run(workspace: &Workspace, context: &Context) -> Result<Action, Error> {
    if !finalizer::has(workspace) {
        return Ok(Action::await_change());
    }
    store::listed(&context.stores.namespaces).await.map_err(|_| Error::Stopping)?;
    let runner = runner_of(workspace, context);
    if let Err(why) = release(workspace, &runner, context).await {
        match patience(workspace, &runner, context) {
            Ok(left) => return wait(workspace, &runner, &why, left, context).await,
            Err(abandoned) => announce(workspace, &runner, &why, abandoned, context),
        }
    }
    context.roster.drop_workspace(&runner, &workspace.uid().unwrap_or_default());
    finalizer::remove(workspace, context).await?;
    Ok(Action::await_change())
}

/// The runner that has the Workspace: the one on record, which outlives any change of the spec, or the one it was about to
/// get.
fn runner_of(workspace: &Workspace, context: &Context) -> RunnerId {
    let namespace = workspace.namespace().unwrap_or_default();
    match workspace.status.as_ref().and_then(|status| status.runner.as_ref()) {
        Some(binding) => RunnerId { namespace, pod: binding.name.clone() },
        None => place::expected(workspace, context)
            .unwrap_or_else(|| RunnerId::of_set(&namespace, &RunnerSetName::of(workspace), 0)),
    }
}

/// Makes the runner let go. The error says why it didn't.
async fn release(workspace: &Workspace, runner: &RunnerId, context: &Context) -> Result<(), String> {
    let is_recorded = workspace.status.as_ref().is_some_and(|status| status.runner.is_some());
    let uid = workspace.uid().unwrap_or_default();
    let reach = context.roster.reach(runner, &uid);
    let acquaintance = push::acquaintance(&reach);
    let Reach::Here(placement) = reach else {
        // Never bound, or bound just before a crash: what may be there is removed when the runner comes back.
        return if is_recorded { Err("it isn't connected".to_owned()) } else { Ok(()) };
    };
    let Placement { connection, permits, state: _, pushed: _ } = *placement;
    let Some(_permit) = push::permit(&permits).await else {
        return Err("it has not answered earlier requests yet".to_owned());
    };
    let epoch = bind::bind(workspace, runner.clone(), acquaintance, None).epoch;
    match connection.delete(&uid, epoch).await {
        // Its record was lost. Nobody can own a workspace that is being deleted after this one.
        Err(runner_client::Error::Refused(problem)) if problem.is(ProblemCode::StaleEpoch) => {
            connection.delete(&uid, u64::MAX).await
        }
        result => result,
    }
    .map_err(|error| error.to_string())
}

/// How long the runner is still waited for.
fn patience(workspace: &Workspace, runner: &RunnerId, context: &Context) -> Result<Duration, Abandoned> {
    if workspace.annotations().contains_key(label::ABANDON_DATA) {
        return Err(Abandoned::Requested);
    }
    if context.stores.is_ending(&runner.namespace) {
        return Err(Abandoned::NamespaceEnding);
    }
    let set = ObjectRef::new(runner.set()).within(&runner.namespace);
    let has_set = context.stores.stateful_sets.get(&set).is_some();
    if !has_set && context.stores.pod(&runner.namespace, &runner.pod).is_none() {
        return Err(Abandoned::RunnerGone);
    }
    let now = context.clock.time().0;
    let left = Duration::try_from(deadline(workspace, context).duration_since(now)).unwrap_or_default();
    // The deadline may have passed while no operator ran: even then a runner is given the time to be connected.
    let least = match context.roster.reach(runner, &workspace.uid().unwrap_or_default()) {
        Reach::Away(away) => context.config.timing.runner_grace.saturating_sub(away),
        Reach::Here(_) => Duration::ZERO,
    };
    let left = left.max(least);
    if left.is_zero() { Err(Abandoned::DeadlineExceeded) } else { Ok(left) }
}

fn deadline(workspace: &Workspace, context: &Context) -> Timestamp {
    let patience =
        SignedDuration::try_from(context.config.timing.deletion_deadline).unwrap_or(SignedDuration::MAX);
    let asked = workspace.metadata.deletion_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    asked.checked_add(patience).unwrap_or(Timestamp::MAX)
}

async fn wait(
    workspace: &Workspace,
    runner: &RunnerId,
    why: &str,
    left: Duration,
    context: &Context,
) -> Result<Action, Error> {
    let message = format!(
        "waiting for the runner {} to remove the data: {why}; the deletion goes on without it at {} (or now, with the annotation {}=true)",
        runner.pod,
        deadline(workspace, context),
        label::ABANDON_DATA,
    );
    let pending = Err(Error::CleanupPending { message: message.clone(), left });
    update_status::run(workspace, &pending, context).await?;
    Err(Error::CleanupPending { message, left })
}

fn announce(workspace: &Workspace, runner: &RunnerId, why: &str, abandoned: Abandoned, context: &Context) {
    let note = format!(
        "the runner {} did not confirm that the data is removed ({why}); no longer waiting for it: {}",
        runner.pod,
        abandoned.explain()
    );
    context.metrics.abandoned(abandoned.label());
    if abandoned == Abandoned::NamespaceEnding {
        // The volume goes with the namespace, and no Event can be made there any more.
        return tracing::info!(workspace = workspace.name_any(), namespace = runner.namespace, note);
    }
    tracing::warn!(workspace = workspace.name_any(), namespace = runner.namespace, note, "cleanup abandoned");
    let news =
        News { severity: EventType::Warning, reason: reason::CLEANUP_ABANDONED, action: "Cleanup", note };
    context.announcer.announce(workspace, news);
}
