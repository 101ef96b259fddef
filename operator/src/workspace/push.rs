//! Tells the runner what a Workspace shall be, unless it was told the same on this connection before.

use super::{Error, bind::Binding, build::Prepared, diagnose, validate::ValidatedWorkspace};
use crate::{
    context::Context,
    roster::{Placement, Reach},
    runner::name::RunnerId,
    runner_client,
};
use kube::ResourceExt;
use lodge_crds::Workspace;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use vm_api::WorkspaceState;

/// How long to wait for a permit.
const PERMIT_TIMEOUT: Duration = Duration::from_millis(250);

/// The epoch by which the runner of a Workspace knows it, as far as it told.
pub(super) fn known_epoch(workspace: &Workspace, context: &Context) -> Option<u64> {
    match context.roster.reach(&RunnerId::of(workspace), &workspace.uid()?) {
        Reach::Here(placement) => placement.state.map(|state| state.epoch),
        Reach::Away(_) => None,
    }
}

/// Tells the runner. Returns what it says about the Workspace.
pub(super) async fn push(
    validated: &ValidatedWorkspace,
    binding: &Binding,
    prepared: &Prepared,
    context: &Context,
) -> Result<WorkspaceState, Error> {
    let Placement { connection, permits, state, pushed } =
        match context.roster.reach(&binding.runner, &validated.uid) {
            Reach::Here(placement) => *placement,
            Reach::Away(away) => {
                return Err(Error::RunnerMissing(diagnose::diagnose(&binding.runner, away, context)));
            }
        };
    if let Some(state) = state
        && pushed == Some(prepared.digest)
        && state.epoch == binding.epoch
    {
        return Ok(state);
    }
    let Some(_permit) = permit(&permits).await else {
        return Err(Error::RunnerBusy { runner: binding.runner.to_string() });
    };
    let started = Instant::now();
    let answer = connection.put(&validated.uid, &prepared.config).await;
    let result = answer.as_ref().map_or_else(runner_client::Error::label, |_| "ok");
    context.metrics.pushed(result, started.elapsed());
    match answer {
        Ok(state) => {
            context.roster.pushed(&binding.runner, &connection, prepared.digest, state.clone());
            Ok(state)
        }
        Err(runner_client::Error::Refused(problem)) => Err(Error::RunnerRefused(problem)),
        Err(source) => Err(Error::RunnerUnreachable { runner: binding.runner.to_string(), source }),
    }
}

/// A permit to make a runner work, or nothing if it has too much to do: waiting longer would hold up others.
pub(super) async fn permit(permits: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    timeout(PERMIT_TIMEOUT, Arc::clone(permits).acquire_owned()).await.ok()?.ok()
}
