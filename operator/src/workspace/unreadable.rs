//! A Workspace that this version of the operator can't read gets conditions that say so; and it can be deleted, because its
//! metadata and status are enough for that.

use super::{Error, cleanup, status, update_status};
use crate::{context::Context, unreadable};
use kube::{core::error_boundary::InvalidObject, runtime::controller::Action};
use lodge_crds::{Workspace, WorkspaceSpec};

pub(super) async fn report(invalid: &InvalidObject, context: &Context) -> Result<Action, Error> {
    let read = unreadable::read::<Workspace, _>(invalid, context.client.clone()).await;
    let Some(remains) = read.map_err(Error::UpdateStatus)? else {
        return Ok(Action::await_change());
    };
    let mut workspace = Workspace::new("", WorkspaceSpec::default());
    workspace.metadata = remains.metadata;
    workspace.status = remains.status;
    if workspace.metadata.deletion_timestamp.is_some() {
        return cleanup::run(&workspace, context).await;
    }
    let message = unreadable::message("Workspace", invalid);
    let mut new = workspace.status.clone().unwrap_or_default();
    let generation = workspace.metadata.generation;
    new.conditions =
        status::unreadable_conditions(&new.conditions, generation, &message, &context.clock.time());
    new.observed_generation = generation;
    update_status::publish(&workspace, new, context).await?;
    Ok(Action::await_change())
}
