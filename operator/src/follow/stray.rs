//! Strays: workspaces that a runner has and the cluster doesn't have any more.
//!
//! One comes about when a deletion was abandoned, when somebody took the finalizer away, or when a Workspace was deleted in the
//! moment before it got one. The watch may lag behind, so nothing is removed before the API server has said that it is gone.

use crate::{
    context::Context,
    roster::{Placement, Reach},
    runner::name::RunnerId,
    runner_client::RunnerConnection,
};
use kube::{Api, core::PartialObjectMeta};
use lodge_crds::Workspace;
use std::sync::Arc;
use vm_api::WorkspaceState;

/// A workspace that a runner has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stray {
    /// The runner.
    pub runner: RunnerId,
    /// Name of the Workspace that it was.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The epoch by which the runner knows it.
    pub epoch: u64,
}

impl Stray {
    /// What a runner told of.
    pub fn told(runner: &RunnerId, state: &WorkspaceState) -> Self {
        let WorkspaceState { uid, name, epoch, .. } = state;
        Self { runner: runner.clone(), name: name.clone(), uid: uid.clone(), epoch: *epoch }
    }
}

/// Removes a stray from its runner, if that is connected. If it isn't, it tells of it again when it is.
pub(crate) async fn remove(stray: Stray, context: &Context) {
    if let Reach::Here(placement) = context.roster.reach(&stray.runner, &stray.uid) {
        let Placement { connection, .. } = *placement;
        remove_over(stray, connection, context).await;
    }
}

/// Removes a stray over this connection.
pub(super) async fn remove_over(stray: Stray, connection: Arc<dyn RunnerConnection>, context: &Context) {
    let Stray { runner, name, uid, epoch } = stray;
    let api: Api<PartialObjectMeta<Workspace>> = Api::namespaced(context.client.clone(), &runner.namespace);
    match api.get_opt(&name).await {
        Ok(Some(found)) if found.metadata.uid.as_deref() == Some(uid.as_str()) => return,
        Ok(_) => {}
        Err(error) => return tracing::warn!(%error, "could not ask whether a workspace exists"),
    }
    match connection.delete(&uid, epoch).await {
        Ok(()) => {
            context.roster.drop_workspace(&runner, &uid);
            tracing::info!(%runner, uid, name, "removed a workspace from a runner that doesn't exist any more");
        }
        Err(error) => {
            tracing::warn!(%error, %runner, uid, "could not remove a workspace that doesn't exist any more");
        }
    }
}
