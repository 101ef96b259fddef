//! The operator as a whole: its endpoints, its election, and what it does while it leads.
//!
//! ```text
//!   starting ─▶ standby ──(lease)──▶ leader ──(lease lost)──▶ exit with an error: start anew as a standby
//!                  └────────(SIGTERM)───┴──▶ stopping: running reconciles end, the lease is released, exit
//! ```

use crate::{
    args::Config,
    certificate::system,
    clock::Clock,
    context::Context,
    cron_job,
    event::{Announcer, Publisher},
    follow,
    http::{self, Role, RoleCell},
    lease::Elector,
    metrics::Metrics,
    runner::{self, name::TLS_SECRET},
    runner_client::{HttpRunnerClient, RunnerClient},
    spawn::{Task, spawn},
    store::{self, WatchedNamespace, WatchedWorkspace, Writers},
    workspace,
};
use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Resource,
    runtime::{
        PredicateConfig, WatchStreamExt,
        controller::{self, applier},
        predicates,
        reflector::{ObjectRef, Store, store::Writer},
        watcher,
    },
};
use std::{future::Future, io, sync::Arc, time::Duration};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long running reconciles may take to end.
const DRAIN: Duration = Duration::from_secs(10);

/// How long publishing what was announced may take at the end.
const FLUSH: Duration = Duration::from_secs(2);

/// Why the operator ended other than by request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An endpoint could not be served.
    #[error("could not serve {what}: {source}")]
    Serve {
        /// Which.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Another replica leads, or the API server could not be reached for too long.
    #[error("lost the lease")]
    LeaseLost,
    /// Something that shall run for ever ended.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
}

/// Runs until `stop` is cancelled.
///
/// # Errors
/// If an endpoint can't be served, or the lease is lost.
pub async fn run(config: Config, client: Client, stop: CancellationToken) -> Result<(), Error> {
    let metrics = Arc::new(Metrics::default());
    let (role, writers) = (RoleCell::default(), Writers::default());
    let stores = writers.stores();
    let mut health = spawn(http::serve_health(config.health_listen, role.clone()));
    let expose = exposition(Arc::clone(&metrics), stores.workspaces.clone());
    let mut metrics_server = spawn(http::serve_metrics(config.metrics_listen, expose));
    let (announcer, mut outbox) = Announcer::new();
    let publisher = Publisher::new(client.clone(), &config.identity, Arc::clone(&metrics));
    let context = Arc::new(Context::new(client, config, stores, announcer, metrics, Clock::system()));
    let work = elect_and_lead(Arc::clone(&context), writers, role, stop);
    let result = tokio::select! {
        result = work => result,
        () = publisher.run(&mut outbox, &context.rush) => Err(Error::Ended("the publisher of events")),
        served = health.join() => Err(not_served("health", served)),
        served = metrics_server.join() => Err(not_served("metrics", served)),
    };
    // What was announced last is what somebody will want to know.
    if timeout(FLUSH, publisher.flush(&mut outbox)).await.is_err() {
        tracing::warn!("events are left that were not published");
    }
    result
}

fn not_served(what: &'static str, served: Option<io::Result<()>>) -> Error {
    match served {
        Some(Err(source)) => Error::Serve { what, source },
        Some(Ok(())) | None => Error::Ended(what),
    }
}

fn exposition(
    metrics: Arc<Metrics>,
    workspaces: Store<WatchedWorkspace>,
) -> Arc<dyn Fn() -> String + Send + Sync> {
    Arc::new(move || {
        let mut counts = [("Awake", 0), ("Asleep", 0), ("Waking", 0), ("Unbound", 0)];
        for watched in workspaces.state() {
            let status = watched.0.as_ref().ok().and_then(|workspace| workspace.status.as_ref());
            let power = status
                .and_then(|status| status.power)
                .map_or("Unbound".to_owned(), |power| format!("{power:?}"));
            if let Some((_, count)) = counts.iter_mut().find(|(name, _)| *name == power) {
                *count += 1;
            }
        }
        for (power, count) in counts {
            metrics.set_workspaces(power, count);
        }
        metrics.expose()
    })
}

async fn elect_and_lead(
    context: Arc<Context>,
    writers: Writers,
    role: RoleCell,
    stop: CancellationToken,
) -> Result<(), Error> {
    let Some(duration) = context.config.lease_duration else {
        return lead(context, writers, role, stop).await;
    };
    let (namespace, identity) = (&context.config.namespace, context.config.identity.clone());
    let elector = Elector::new(context.client.clone(), namespace, identity, duration);
    role.set(Role::Standby);
    let acquired = tokio::select! {
        held = elector.acquire() => Some(held),
        () = stop.cancelled() => None,
    };
    let Some(mut held) = acquired else { return Ok(()) };
    tracing::info!("this replica leads");
    let result = tokio::select! {
        result = lead(Arc::clone(&context), writers, role, stop) => result,
        // Nothing more may be written: reconciles are dropped where they stand.
        () = elector.hold(&mut held) => {
            context.metrics.set_leader(false);
            return Err(Error::LeaseLost);
        }
    };
    if let Err(error) = elector.release(held).await {
        tracing::warn!(%error, "could not release the lease");
    }
    result
}

/// What only the leader does. Ends when `stop` is cancelled and running reconciles have ended.
async fn lead(
    context: Arc<Context>,
    writers: Writers,
    role: RoleCell,
    stop: CancellationToken,
) -> Result<(), Error> {
    context.metrics.set_leader(true);
    let Writers {
        workspaces,
        cron_jobs,
        namespaces,
        pods,
        stateful_sets,
        services,
        network_policies,
        secrets,
    } = writers;
    let (client, due) = (&context.client, &context.namespaces_due);
    let runner_client = HttpRunnerClient::default();
    let prepared = tokio::select! {
        leaf = system::prepare(&context, &runner_client) => leaf,
        () = stop.cancelled() => return Ok(()),
    };
    let pods = store::watch(Api::<Pod>::all(client.clone()), store::ours(), pods);
    let follow_context = Arc::clone(&context);
    let roles: Arc<dyn RunnerClient> = Arc::new(runner_client.clone());
    let (certificates, clock) = (Arc::clone(&context), Arc::clone(&context));
    let background: Vec<Task<()>> = vec![
        spawn(drain(store::watch_made(client, store::ours(), stateful_sets, made_generation, due.clone()))),
        spawn(drain(store::watch_made(client, store::ours(), services, made_version, due.clone()))),
        spawn(drain(store::watch_made(
            client,
            store::ours(),
            network_policies,
            made_generation,
            due.clone(),
        ))),
        spawn(drain(store::watch_made(
            client,
            certificates_of_runners(),
            secrets,
            made_version,
            due.clone(),
        ))),
        spawn(async move { follow::run(follow_context, roles, pods).await }),
        spawn(async move { system::run(&certificates, &runner_client, prepared).await }),
        spawn(cron_job::watch_clock(clock)),
    ];
    tokio::select! {
        ready = context.stores.wait_until_ready() => ready.map_err(|_| Error::Ended("a watch"))?,
        () = stop.cancelled() => return Ok(()),
    }
    role.set(Role::Leader);
    let controllers = futures::future::join3(
        run_workspaces(Arc::clone(&context), workspaces, stop.clone()),
        run_namespaces(Arc::clone(&context), namespaces, stop.clone()),
        cron_job::controller::run(Arc::clone(&context), cron_jobs, stop.clone()),
    );
    let result = supervise(controllers, &background, &role, stop).await;
    context.metrics.set_leader(false);
    result
}

/// Objects whose status changes all the time have changed when their generation has.
fn made_generation<K: Resource>(made: &K) -> Option<u64> {
    predicates::generation(made)
}

/// Objects without a generation.
fn made_version<K: Resource>(made: &K) -> Option<u64> {
    predicates::resource_version(made)
}

/// By name, so that the operator need not be able to watch any other Secret.
fn certificates_of_runners() -> watcher::Config {
    store::ours().fields(&format!("metadata.name={TLS_SECRET}"))
}

/// Runs the controllers until they end by request, and notices what ends without one.
async fn supervise(
    controllers: impl Future<Output = ((), (), ())>,
    background: &[Task<()>],
    role: &RoleCell,
    stop: CancellationToken,
) -> Result<(), Error> {
    let mut controllers = std::pin::pin!(controllers);
    loop {
        tokio::select! {
            _ = &mut controllers => {
                return if stop.is_cancelled() { Ok(()) } else { Err(Error::Ended("a controller")) };
            }
            () = stop.cancelled() => {
                role.set(Role::Stopping);
                // What doesn't end in time is dropped: every step can be repeated by the next leader.
                if timeout(DRAIN, controllers).await.is_err() {
                    tracing::warn!("reconciles did not end in time");
                }
                return Ok(());
            }
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                if background.iter().any(Task::is_finished) {
                    return Err(Error::Ended("a task"));
                }
            }
        }
    }
}

async fn drain<K>(stream: impl Stream<Item = Result<K, watcher::Error>>) {
    stream.for_each(|_| std::future::ready(())).await;
}

async fn run_workspaces(context: Arc<Context>, writer: Writer<WatchedWorkspace>, stop: CancellationToken) {
    let api: Api<WatchedWorkspace> = Api::all(context.client.clone());
    let (seen, passed) = (Arc::clone(&context), Arc::clone(&context));
    let events =
        store::watch(api, watcher::Config::default(), writer).inspect_ok(move |event| notice(event, &seen));
    let watched = store::settled(events, context.stores.workspaces.clone())
        .predicate_filter(workspace::trigger_version, PredicateConfig::default())
        .inspect_ok(move |watched| runner::look_if_concerned(watched, &passed))
        .map_ok(|watched| ObjectRef::from_obj(&watched));
    let queue = futures::stream::select(watched, context.workspaces_due.stream().map(Ok));
    let config = controller::Config::default().concurrency(context.config.concurrency);
    let store = context.stores.workspaces.clone();
    applier(
        |watched, context| Box::pin(workspace::reconcile(watched, context)),
        workspace::error_policy,
        context,
        store,
        queue.take_until(stop.cancelled_owned()).boxed(),
        config,
    )
    .for_each(|result| {
        log("workspace", &result.map(|_| ()));
        std::future::ready(())
    })
    .await;
}

/// What goes past the controller: deletions, after which nothing is left to reconcile, and where each Workspace is.
fn notice(event: &watcher::Event<WatchedWorkspace>, context: &Context) {
    match event {
        watcher::Event::Delete(watched) => {
            workspace::forget(watched, context);
            cron_job::ask_for(watched, context);
        }
        watcher::Event::Apply(watched) => {
            workspace::notice(watched, context);
            cron_job::ask_for(watched, context);
        }
        // A list replaces what was known: what was deleted in the meantime is simply not there.
        watcher::Event::InitDone => {
            let all = context.stores.workspaces.state();
            let uids = all.iter().filter_map(|watched| watched.meta().uid.clone()).collect();
            context.ledger.retain(&uids);
            context.occupancy.retain(&uids);
            context.strays.extend(context.roster.strays(&uids));
            // Before anything is reconciled: who is where decides where others go.
            all.iter().for_each(|watched| workspace::notice(watched, context));
            context.cron_jobs.due.extend(context.cron_jobs.register.all());
            let namespaces = context.stores.namespaces.state();
            context
                .namespaces_due
                .extend(namespaces.iter().map(|namespace| ObjectRef::from_obj(&**namespace)));
        }
        watcher::Event::Init | watcher::Event::InitApply(_) => {}
    }
}

async fn run_namespaces(context: Arc<Context>, writer: Writer<WatchedNamespace>, stop: CancellationToken) {
    let api: Api<WatchedNamespace> = Api::all(context.client.clone());
    let by_deletion =
        |namespace: &WatchedNamespace| Some(u64::from(namespace.metadata.deletion_timestamp.is_some()));
    let events = store::watch(api, watcher::Config::default(), writer);
    let watched = store::settled(events, context.stores.namespaces.clone())
        .predicate_filter(by_deletion, PredicateConfig::default())
        .map_ok(|namespace| ObjectRef::from_obj(&namespace));
    let queue = futures::stream::select(watched, context.namespaces_due.stream().map(Ok));
    let config = controller::Config::default().concurrency(context.config.concurrency);
    let store = context.stores.namespaces.clone();
    applier(
        |namespace, context| Box::pin(runner::reconcile(namespace, context)),
        runner::error_policy,
        context,
        store,
        queue.take_until(stop.cancelled_owned()).boxed(),
        config,
    )
    .for_each(|result| {
        log("runner", &result.map(|_| ()));
        std::future::ready(())
    })
    .await;
}

pub(crate) fn log<E, Q>(controller: &'static str, result: &Result<(), controller::Error<E, Q>>)
where
    E: std::error::Error + 'static,
    Q: std::error::Error + 'static,
{
    match result {
        Ok(()) => {}
        // Asked for, and gone since.
        Err(controller::Error::ObjectNotFound(_)) => {}
        // Reconciles tell of their failures themselves.
        Err(controller::Error::ReconcilerFailed(..)) => {}
        Err(error) => tracing::warn!(controller, %error, "the queue of a controller failed"),
    }
}
