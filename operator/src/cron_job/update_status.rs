//! Writes the status if it changed, and then counts and announces what happened.
//!
//! A write says which version it was made from. Of two operators that both believe to lead, the slower one is refused, and
//! looks again: how far a schedule was followed is never set back.

use super::{
    Error,
    status::{complete, failure, transition},
    turn::{Outlook, Turn},
};
use crate::{context::Context, store::WatchedCronJob};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use lodge_crds::{CronJob, CronJobStatus, label};
use serde_json::json;
use std::sync::Arc;

/// Brings the status up to date after a turn.
pub(super) async fn run(turn: Turn<'_>, outcome: &Result<Outlook, Error>) -> Result<(), Error> {
    let Turn { context, cron_job, id, status, ended, missed, delays, namespace: _, now: _, wake: _ } = turn;
    let old = cron_job.status.clone().unwrap_or_default();
    let new = complete(cron_job, status, outcome, &context.clock.time());
    context.cron_jobs.register.expect_only(&id, &new.active);
    publish(cron_job, &old, &new, &id, context).await?;
    let metrics = &context.metrics.cron;
    metrics.missed(missed);
    delays.into_iter().for_each(|delay| metrics.began(delay));
    for run in &ended {
        if let Some(outcome) = run.outcome {
            metrics.ended(outcome);
        }
    }
    let news = ended.iter().filter_map(failure).chain(transition(&old, &new, outcome));
    news.for_each(|news| context.announcer.announce(cron_job, news));
    Ok(())
}

/// Writes a status that may or may not be another than the present one.
pub(super) async fn publish(
    cron_job: &CronJob,
    old: &CronJobStatus,
    new: &CronJobStatus,
    id: &str,
    context: &Context,
) -> Result<(), Error> {
    if sorted(old) == sorted(new) {
        return Ok(());
    }
    let api: Api<WatchedCronJob> =
        Api::namespaced(context.client.clone(), &cron_job.namespace().unwrap_or_default());
    let patch = json!({
        "apiVersion": format!("{}/{}", label::GROUP, label::VERSION),
        "kind": "CronJob",
        "metadata": {
            "name": cron_job.name_any(),
            "uid": cron_job.uid(),
            "resourceVersion": cron_job.resource_version(),
        },
        "status": new,
    });
    let parameters = PatchParams::apply(label::FIELD_MANAGER).force();
    context.metrics.wrote("cronjobs/status", "apply");
    match api.patch_status(&cron_job.name_any(), &parameters, &Patch::Apply(patch)).await {
        Ok(written) => {
            if let Ok(written) = written.0 {
                context.cron_jobs.register.wrote(id, Arc::new(written));
            }
            Ok(())
        }
        // Deleted in the meantime.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => {
            // What began is known to the runner only.
            context.cron_jobs.register.set_adopted(id, false);
            Err(Error::UpdateStatus(error))
        }
    }
}

/// In an order that doesn't depend on who merged the list.
fn sorted(status: &CronJobStatus) -> CronJobStatus {
    let mut status = status.clone();
    status.runs.sort_by(|a, b| a.name.cmp(&b.name));
    status.active.sort();
    status
}
