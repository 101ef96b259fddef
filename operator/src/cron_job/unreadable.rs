//! A CronJob that this version of the operator can't read gets conditions that say so, and nothing runs.

use super::{Error, run_name, update_status};
use crate::{context::Context, unreadable, workspace::status::unreadable_conditions};
use kube::{core::error_boundary::InvalidObject, runtime::controller::Action};
use lodge_crds::{CronAction, CronJob, CronJobSpec, CronJobStatus, WorkspaceRef};

pub(super) async fn report(invalid: &InvalidObject, context: &Context) -> Result<Action, Error> {
    let read = unreadable::read::<CronJob, CronJobStatus>(invalid, context.client.clone()).await;
    let Some(remains) = read.map_err(Error::UpdateStatus)? else {
        return Ok(Action::await_change());
    };
    // Only metadata and status count here.
    let (Ok(workspace), Ok(schedule)) = ("unreadable".parse(), "@yearly".parse()) else {
        return Ok(Action::await_change());
    };
    let spec = CronJobSpec::new(WorkspaceRef { name: workspace }, schedule, CronAction::default());
    let mut cron_job = CronJob::new("", spec);
    cron_job.metadata = remains.metadata;
    let old = remains.status.unwrap_or_default();
    let message = unreadable::message("CronJob", invalid);
    let generation = cron_job.metadata.generation;
    let mut new = old.clone();
    new.conditions = unreadable_conditions(&old.conditions, generation, &message, &context.clock.time());
    new.observed_generation = generation;
    let id = run_name::id(cron_job.metadata.uid.as_deref().unwrap_or_default());
    update_status::publish(&cron_job, &old, &new, &id, context).await?;
    Ok(Action::await_change())
}
