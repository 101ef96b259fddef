//! Tells the runner what a Workspace shall be, unless it was told the same on this connection before.

use super::{
    Error,
    bind::{Acquaintance, Binding},
    build::Prepared,
    diagnose,
    validate::ValidatedWorkspace,
};
use crate::{
    context::Context,
    roster::{Placement, Reach},
    runner_client::{self, RunnerConnection},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use vm_api::{ProblemCode, StorageType, WorkspaceState};

/// How long to wait for a permit.
const PERMIT_TIMEOUT: Duration = Duration::from_millis(250);

/// What a runner knows about a workspace, as far as it told on this connection.
pub(super) fn acquaintance(reach: &Reach) -> Acquaintance {
    match reach {
        Reach::Here(placement) => {
            let state = placement.state.as_ref();
            state.map_or(Acquaintance::Stranger, |state| Acquaintance::Known(state.epoch))
        }
        Reach::Away(_) => Acquaintance::Away,
    }
}

/// Tells the runner, over the connection that the binding was chosen for: another one may be to a process that has forgotten
/// the workspace. Returns what it says about the Workspace.
pub(super) async fn push(
    validated: &ValidatedWorkspace,
    binding: &Binding,
    prepared: &Prepared,
    reach: Reach,
    context: &Context,
) -> Result<WorkspaceState, Error> {
    let Placement { connection, permits, state, pushed } = match reach {
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
    if binding.is_anew && validated.storage.kind == StorageType::Persistent {
        let lost = has_lost_files(&*connection, &validated.uid).await;
        if lost.map_err(|source| unreachable(binding, source))? {
            context.ledger.lost_files(&validated.uid);
        }
    }
    let started = Instant::now();
    let answer = connection.put(&validated.uid, &prepared.config).await;
    let result = answer.as_ref().map_or_else(runner_client::Error::label, |_| "ok");
    context.metrics.pushed(result, started.elapsed());
    match answer {
        Ok(state) => {
            context.roster.pushed(&binding.runner, &connection, prepared.digest, state.clone());
            // Runs that are due could not begin before.
            let cron_jobs = &context.cron_jobs;
            cron_jobs.due.extend(cron_jobs.register.of_workspace(&validated.namespace, &validated.name));
            Ok(state)
        }
        Err(runner_client::Error::Refused(problem)) => {
            if problem.is(ProblemCode::StaleEpoch) {
                context.ledger.epoch_refused(&validated.uid, binding.epoch);
            }
            Err(Error::RunnerRefused(problem))
        }
        Err(source) => Err(unreachable(binding, source)),
    }
}

/// Whether a runner that had a workspace finds nothing of it on its volume.
async fn has_lost_files(connection: &dyn RunnerConnection, uid: &str) -> Result<bool, runner_client::Error> {
    match connection.get(uid).await {
        Ok(_) => Ok(false),
        // One that only was not told yet answers with another code.
        Err(runner_client::Error::Refused(problem)) => Ok(problem.is(ProblemCode::WorkspaceNotFound)),
        Err(error) => Err(error),
    }
}

fn unreachable(binding: &Binding, source: runner_client::Error) -> Error {
    Error::RunnerUnreachable { runner: binding.runner.to_string(), source }
}

/// A permit to make a runner work, or nothing if it has too much to do: waiting longer would hold up others.
pub(crate) async fn permit(permits: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    timeout(PERMIT_TIMEOUT, Arc::clone(permits).acquire_owned()).await.ok()?.ok()
}
