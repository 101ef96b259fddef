//! A Workspace that this version of the operator can't read: written by a newer version, or past the schema.
//!
//! It gets conditions that say so; and it can be deleted, because its metadata and status are enough for that.

use super::{Error, cleanup, status, update_status};
use crate::context::Context;
use kube::{
    Api,
    api::{ApiResource, DynamicObject},
    core::error_boundary::InvalidObject,
    runtime::controller::Action,
};
use lodge_crds::{Workspace, WorkspaceSpec};

pub(super) async fn report(invalid: &InvalidObject, context: &Context) -> Result<Action, Error> {
    let InvalidObject { error, metadata } = invalid;
    let name = metadata.name.as_deref().unwrap_or_default();
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let resource = ApiResource::erase::<Workspace>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &resource);
    let Some(object) = api.get_opt(name).await.map_err(Error::UpdateStatus)? else {
        return Ok(Action::await_change());
    };
    let mut workspace = Workspace::new(name, WorkspaceSpec::default());
    workspace.metadata = object.metadata;
    workspace.status =
        object.data.get("status").and_then(|status| serde_json::from_value(status.clone()).ok());
    if workspace.metadata.deletion_timestamp.is_some() {
        return cleanup::run(&workspace, context).await;
    }
    let message = format!(
        "this version of the operator can't read the workspace: {error}; correct the spec, or upgrade the operator"
    );
    let mut new = workspace.status.clone().unwrap_or_default();
    let generation = workspace.metadata.generation;
    new.conditions =
        status::unreadable_conditions(&new.conditions, generation, &message, &context.clock.time());
    new.observed_generation = generation;
    update_status::publish(&workspace, new, context).await?;
    Ok(Action::await_change())
}
