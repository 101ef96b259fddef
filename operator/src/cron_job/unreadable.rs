//! A CronJob that this version of the operator can't read: written by a newer version, or past the schema. It gets conditions
//! that say so, and nothing runs.

use super::{Error, run_name, update_status};
use crate::{context::Context, workspace::status::unreadable_conditions};
use kube::{
    Api,
    api::{ApiResource, DynamicObject},
    core::error_boundary::InvalidObject,
    runtime::controller::Action,
};
use lodge_crds::{CronAction, CronJob, CronJobSpec, CronJobStatus, WorkspaceRef};

pub(super) async fn report(invalid: &InvalidObject, context: &Context) -> Result<Action, Error> {
    let InvalidObject { error, metadata } = invalid;
    let name = metadata.name.as_deref().unwrap_or_default();
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let resource = ApiResource::erase::<CronJob>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &resource);
    let Some(object) = api.get_opt(name).await.map_err(Error::UpdateStatus)? else {
        return Ok(Action::await_change());
    };
    // Only metadata and status count here.
    let (Ok(workspace), Ok(schedule)) = ("unreadable".parse(), "@yearly".parse()) else {
        return Ok(Action::await_change());
    };
    let spec = CronJobSpec::new(WorkspaceRef { name: workspace }, schedule, CronAction::default());
    let mut cron_job = CronJob::new(name, spec);
    cron_job.metadata = object.metadata;
    let old: CronJobStatus = object
        .data
        .get("status")
        .and_then(|status| serde_json::from_value(status.clone()).ok())
        .unwrap_or_default();
    let message = format!(
        "this version of the operator can't read the CronJob: {error}; correct the spec, or upgrade the operator"
    );
    let generation = cron_job.metadata.generation;
    let mut new = old.clone();
    new.conditions = unreadable_conditions(&old.conditions, generation, &message, &context.clock.time());
    new.observed_generation = generation;
    let id = run_name::id(cron_job.metadata.uid.as_deref().unwrap_or_default());
    update_status::publish(&cron_job, &old, &new, &id, context).await?;
    Ok(Action::await_change())
}
