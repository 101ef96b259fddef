//! The finalizer: it keeps a Workspace until its runner has let go of it.
//!
//! It is no step on the way to Ready: a new Workspace gets it a moment after its status names the runner, and in a rush when
//! others have passed, but soon in any case. One that is deleted within this moment goes at once; its runner is then told as it
//! is of every stray ([`crate::follow::stray`]).

use super::Error;
use crate::{context::Context, store::WatchedWorkspace};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use lodge_crds::{Workspace, label::WORKSPACE_FINALIZER};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// How long it comes after the status.
const PAUSE: Duration = Duration::from_millis(100);
/// How long until the next look at a Workspace that has let others pass.
const PAUSE_IN_RUSH: Duration = Duration::from_millis(500);
/// How long a rush may hold it up.
const MOST: Duration = Duration::from_secs(5);

/// Whether the finalizer of a Workspace can still wait.
pub(super) fn can_wait(workspace: &Workspace, context: &Context) -> bool {
    let observed = workspace.status.as_ref().and_then(|status| status.observed_generation);
    // What was edited is not new any more.
    observed == workspace.metadata.generation && due(workspace, context).is_some_and(|pause| !pause.is_zero())
}

/// When the finalizer of a Workspace has to be added; nothing if it is there, or isn't put off.
pub(super) fn due(workspace: &Workspace, context: &Context) -> Option<Duration> {
    if has(workspace) {
        return None;
    }
    let age = context.ledger.unheld_for(workspace.metadata.uid.as_deref()?)?;
    Some(match context.rush.is_on() {
        true => PAUSE_IN_RUSH.min(MOST.saturating_sub(age)),
        false => PAUSE.saturating_sub(age),
    })
}

/// Adds the finalizer if it is missing. Returns the Workspace as it is then, so that a reconcile can go on with it at once.
pub(super) async fn add(workspace: Arc<Workspace>, context: &Context) -> Result<Arc<Workspace>, Error> {
    if has(&workspace) {
        return Ok(workspace);
    }
    let mut finalizers = workspace.finalizers().to_vec();
    finalizers.push(WORKSPACE_FINALIZER.to_owned());
    match write(&workspace, &finalizers, context).await?.0 {
        Ok(updated) => {
            let updated = Arc::new(updated);
            context.ledger.wrote(Arc::clone(&updated));
            context.ledger.held(&updated.uid().unwrap_or_default());
            Ok(updated)
        }
        // Changed into something unreadable in the meantime: the watch brings it back as such.
        Err(_) => Ok(workspace),
    }
}

/// Removes the finalizer: the Workspace may go.
pub(super) async fn remove(workspace: &Workspace, context: &Context) -> Result<(), Error> {
    let finalizers: Vec<_> =
        workspace.finalizers().iter().filter(|name| *name != WORKSPACE_FINALIZER).cloned().collect();
    match write(workspace, &finalizers, context).await {
        Ok(updated) => {
            // Until the watch shows that it is gone, nobody shall clean up again.
            if let Ok(updated) = updated.0 {
                context.ledger.wrote(Arc::new(updated));
            }
            Ok(())
        }
        Err(Error::Finalizer(kube::Error::Api(status))) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether the finalizer is there.
pub(super) fn has(workspace: &Workspace) -> bool {
    workspace.finalizers().iter().any(|name| name == WORKSPACE_FINALIZER)
}

async fn write(
    workspace: &Workspace,
    finalizers: &[String],
    context: &Context,
) -> Result<WatchedWorkspace, Error> {
    let namespace = workspace.namespace().unwrap_or_default();
    let api: Api<WatchedWorkspace> = Api::namespaced(context.client.clone(), &namespace);
    // With the version that was read: a finalizer that somebody else adds in the meantime is not lost.
    let metadata = json!({ "finalizers": finalizers, "resourceVersion": workspace.resource_version() });
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    let parameters = PatchParams {
        field_manager: Some(lodge_crds::label::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    context.metrics.wrote("workspaces", "patch");
    api.patch(&workspace.name_any(), &parameters, &patch).await.map_err(Error::Finalizer)
}
