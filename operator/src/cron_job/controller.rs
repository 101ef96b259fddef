//! Runs reconciles of CronJobs: what asks for them, and the timers between.
//!
//! kube's scheduler is the one queue of timers: a wheel that is precise to the millisecond and holds a CronJob once, at the
//! earliest of the times that it was asked for.

use super::{error_policy, forget, reconcile, run_name, trigger_version};
use crate::{
    app,
    context::Context,
    store::{self, WatchedCronJob},
};
use futures::{StreamExt, TryStreamExt};
use kube::{
    Api, Resource,
    runtime::{
        PredicateConfig, WatchStreamExt,
        controller::{self, applier},
        reflector::{ObjectRef, store::Writer},
        watcher,
    },
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// So many times as many CronJobs are reconciled at once as other objects: each waits for its runner most of the time, and one
/// that hangs shall not make the runs of others late.
const PATIENCE_FACTOR: u16 = 4;

/// Follows every CronJob until `stop` is cancelled.
pub async fn run(context: Arc<Context>, writer: Writer<WatchedCronJob>, stop: CancellationToken) {
    // Until they are listed, every Workspace would look like one that doesn't exist.
    tokio::select! {
        ready = store::listed(&context.stores.workspaces) => if ready.is_err() { return },
        () = stop.cancelled() => return,
    }
    let api: Api<WatchedCronJob> = Api::all(context.client.clone());
    let seen = Arc::clone(&context);
    let events =
        store::watch(api, watcher::Config::default(), writer).inspect_ok(move |event| notice(event, &seen));
    let watched = store::settled(events, context.stores.cron_jobs.clone())
        .predicate_filter(trigger_version, PredicateConfig::default())
        .map_ok(|watched| ObjectRef::from_obj(&watched));
    let queue = futures::stream::select(watched, context.cron_jobs.due.stream().map(Ok));
    let concurrency = context.config.concurrency.saturating_mul(PATIENCE_FACTOR);
    let config = controller::Config::default().concurrency(concurrency);
    let store = context.stores.cron_jobs.clone();
    applier(
        |watched, context| Box::pin(reconcile(watched, context)),
        error_policy,
        context,
        store,
        queue.take_until(stop.cancelled_owned()).boxed(),
        config,
    )
    .for_each(|result| {
        app::log("cron_job", &result.map(|_| ()));
        std::future::ready(())
    })
    .await;
}

/// Deletions go past the controller, which finds nothing left to reconcile.
fn notice(event: &watcher::Event<WatchedCronJob>, context: &Context) {
    match event {
        watcher::Event::Delete(watched) => forget(watched, context),
        // A list replaces what was known: what was deleted in the meantime is simply not there.
        watcher::Event::InitDone => {
            let all = context.stores.cron_jobs.state();
            let ids = all.iter().filter_map(|watched| Some(run_name::id(watched.meta().uid.as_deref()?)));
            context.cron_jobs.register.retain(&ids.collect());
        }
        watcher::Event::Apply(_) | watcher::Event::Init | watcher::Event::InitApply(_) => {}
    }
}
