//! Deleting a Workspace that nobody has used for `spec.idle.deleteAfter`, which counts from `status.idleSince`: from when it last
//! went to sleep, or, if it was never used, from when it was bound. The time is on record, so it goes on while no operator runs.
//!
//! Right before the deletion the runner is asked whether it still sleeps, and the API server deletes only this very version of
//! the object: one that is being woken or was edited stays. Then the deletion goes the way of every other.

use super::{Bound, Error, status};
use crate::{
    context::Context,
    event::News,
    roster::{Placement, Reach},
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::SignedDuration};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Preconditions},
    runtime::events::EventType,
};
use lodge_crds::{Workspace, WorkspaceStatus, condition};
use std::{sync::Arc, time::Duration};
use vm_api::{Power, WorkspaceState};

/// The longest time that a timer is set for.
const MAX_PAUSE: Duration = Duration::from_secs(24 * 3600);
/// How long to wait after an attempt that came to nothing.
const RETRY: Duration = Duration::from_secs(30);

/// Deletes the Workspace if its time has come. Returns when to come back if it has not.
pub(super) async fn run(
    workspace: &Arc<Workspace>,
    bound: &Bound,
    context: &Context,
) -> Result<Option<Duration>, Error> {
    let Some(after) = workspace.spec.idle.delete_after.as_ref() else { return Ok(None) };
    if bound.state.power != Power::Asleep {
        return Ok(None);
    }
    // With what was written last, be it in this reconcile.
    let newest = context.ledger.newest(Arc::clone(workspace));
    let status = newest.status.clone().unwrap_or_default();
    let Some(since) = idle_since(&status, &bound.state) else { return Ok(Some(RETRY)) };
    let left = left(&since, after.get(), &context.clock.time());
    if !left.is_zero() {
        return Ok(Some(left.min(MAX_PAUSE)));
    }
    match ask(bound, &newest, context).await {
        Some(state) if is_still_idle(&state, &since) => {}
        Some(_) | None => return Ok(Some(RETRY)),
    }
    announce(&newest, &since, context);
    delete(&newest, context).await
}

/// Since when it is idle, as far as the status tells; `None` if it was used since, which no status tells yet.
fn idle_since(status: &WorkspaceStatus, state: &WorkspaceState) -> Option<Time> {
    let recorded = status.idle_since.clone().or_else(|| {
        // Of an operator that didn't write it down for one that was never used.
        let sleeping = status.conditions.iter().find(|condition| condition.type_ == condition::SLEEPING)?;
        (sleeping.status == "True").then(|| sleeping.last_transition_time.clone())
    })?;
    is_still_idle(state, &recorded).then_some(recorded)
}

fn is_still_idle(state: &WorkspaceState, since: &Time) -> bool {
    let woke = state.last_wake.as_ref().and_then(status::woke_at);
    state.power == Power::Asleep && woke.is_none_or(|woke| woke <= *since)
}

fn left(since: &Time, after: Duration, now: &Time) -> Duration {
    let after = SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX);
    let due = since.0.checked_add(after).unwrap_or(k8s_openapi::jiff::Timestamp::MAX);
    Duration::try_from(due.duration_since(now.0)).unwrap_or_default()
}

/// What the runner says now. `None` if it can't be asked.
async fn ask(bound: &Bound, workspace: &Workspace, context: &Context) -> Option<WorkspaceState> {
    let uid = workspace.uid()?;
    let Reach::Here(placement) = context.roster.reach(&bound.binding.runner, &uid) else { return None };
    let Placement { connection, .. } = *placement;
    match connection.get(&uid).await {
        Ok(state) => Some(state),
        Err(error) => {
            tracing::warn!(%error, workspace = workspace.name_any(), "could not ask whether a workspace is still idle");
            None
        }
    }
}

fn announce(workspace: &Workspace, since: &Time, context: &Context) {
    let note = format!(
        "deleted with its files, because nobody has used it since {} and spec.idle.deleteAfter has passed",
        since.0
    );
    tracing::info!(workspace = workspace.name_any(), namespace = workspace.namespace(), note);
    let news =
        News { severity: EventType::Normal, reason: condition::reason::EXPIRED, action: "Delete", note };
    context.announcer.announce(workspace, news);
}

async fn delete(workspace: &Workspace, context: &Context) -> Result<Option<Duration>, Error> {
    let api: Api<Workspace> =
        Api::namespaced(context.client.clone(), workspace.namespace().as_deref().unwrap_or_default());
    let preconditions =
        Preconditions { uid: workspace.uid(), resource_version: workspace.resource_version() };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
    context.metrics.wrote("workspaces", "delete");
    match api.delete(&workspace.name_any(), &parameters).await {
        Ok(_) => {
            context.metrics.expired();
            Ok(None)
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        // It has changed, which the watch is about to show.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Some(RETRY)),
        Err(source) => Err(Error::Expire(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Time {
        Time(text.parse().unwrap())
    }

    #[test]
    fn the_time_that_is_left_is_never_negative_and_never_overflows() {
        let (since, hour) = (time("2026-01-01T00:00:00Z"), Duration::from_secs(3600));
        assert_eq!(left(&since, hour, &time("2026-01-01T00:20:00Z")), Duration::from_secs(2400));
        assert_eq!(left(&since, hour, &time("2027-01-01T00:00:00Z")), Duration::ZERO);
        assert!(left(&since, Duration::MAX, &since) > hour);
    }
}
