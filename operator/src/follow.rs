//! Following runners: one task per runner pod keeps a connection, and learns from it what the workspaces there do.
//!
//! ```text
//!             connected: every workspace of the runner is pushed again
//!   dialing ───────────────────────────────────────────────────────────▶ following
//!      ▲      ended: the time of grace begins; after it, conditions change     │
//!      └──────────────────────────────────────────────────────────────────────┘
//! ```
//! What a runner tells goes into the roster and asks for a reconcile; nothing is written from here. A workspace that a runner
//! has and the cluster doesn't is removed from the runner, after the API server has confirmed that it is gone.

pub mod stray;

use crate::{
    context::Context,
    cron_job,
    runner::name::{API_PORT, RunnerId},
    runner_client::{Error, RunnerAddress, RunnerClient},
    spawn::{Task, spawn},
    store::{self, WatchedWorkspace},
    workspace::place,
};
use futures::{
    FutureExt, Stream, StreamExt,
    future::BoxFuture,
    stream::{BoxStream, FuturesUnordered},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Resource, ResourceExt,
    runtime::{reflector::ObjectRef, watcher},
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use stray::Stray;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use vm_api::{WorkspaceChange, WorkspaceState};

/// How long to wait before dialing again: a restart shall be noticed at once, a lost node must not keep us busy.
const PAUSES: [(u32, Duration); 3] =
    [(4, Duration::from_millis(50)), (40, Duration::from_millis(300)), (u32::MAX, Duration::from_secs(2))];
/// A connection that lasted this long was a good one.
const GOOD: Duration = Duration::from_secs(2);
/// How often absences are looked at.
const SWEEP: Duration = Duration::from_secs(1);
/// At most so many workspaces that nobody knows are looked into at once.
const MAX_STRAYS: usize = 16;
/// At most so much is taken in before a runner has told all that it knows; more than a runner ever has.
const MAX_TOLD: usize = 1 << 18;
/// How long that may take.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(30);

/// A pod that is followed. It is followed anew when anything of this changes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    uid: Option<String>,
    address: RunnerAddress,
}

/// Follows every runner pod, for ever.
pub async fn run(
    context: Arc<Context>,
    client: Arc<dyn RunnerClient>,
    pods: impl Stream<Item = Result<watcher::Event<Pod>, watcher::Error>> + Send,
) {
    let mut followed: HashMap<RunnerId, (Target, Task<()>)> = HashMap::new();
    let mut pods = std::pin::pin!(pods);
    let mut strays = std::pin::pin!(context.strays.stream());
    let mut removals = FuturesUnordered::new();
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = pods.next() => match event {
                Some(Ok(event)) => {
                    for runner in concerned(&event, &followed, &context) {
                        turn_to(runner, &mut followed, &context, &client);
                    }
                }
                Some(Err(_)) => {}
                None => return,
            },
            Some(stray) = strays.next(), if removals.len() < MAX_STRAYS => {
                removals.push(stray::remove(stray, &context));
            }
            Some(()) = removals.next(), if !removals.is_empty() => {}
            _ = sweep.tick() => {
                context.roster.overdue(context.config.timing.runner_grace).iter().for_each(|runner| miss(runner, &context));
                context.metrics.set_runners_connected(context.roster.count_connected());
            }
        }
    }
}

/// The runners that an event is about. A list that is complete is about all there were and all there are.
fn concerned(
    event: &watcher::Event<Pod>,
    followed: &HashMap<RunnerId, (Target, Task<()>)>,
    context: &Context,
) -> HashSet<RunnerId> {
    let id = |pod: &Pod| RunnerId { namespace: pod.namespace().unwrap_or_default(), pod: pod.name_any() };
    match event {
        watcher::Event::Apply(pod) | watcher::Event::Delete(pod) => HashSet::from([id(pod)]),
        watcher::Event::Init | watcher::Event::InitApply(_) => HashSet::new(),
        watcher::Event::InitDone => {
            let present = context.stores.pods.state();
            followed.keys().cloned().chain(present.iter().map(|pod| id(pod))).collect()
        }
    }
}

/// Starts, restarts or ends following a pod. What the store says counts, not the event: it may be older.
fn turn_to(
    runner: RunnerId,
    followed: &mut HashMap<RunnerId, (Target, Task<()>)>,
    context: &Arc<Context>,
    client: &Arc<dyn RunnerClient>,
) {
    let present = context.stores.pod(&runner.namespace, &runner.pod);
    let wanted = present.as_deref().and_then(|pod| target(pod, &runner));
    if followed.get(&runner).map(|(target, _)| target) == wanted.as_ref() {
        return;
    }
    if followed.remove(&runner).is_some() {
        context.roster.disconnected(&runner, None);
    }
    if let Some(target) = wanted {
        let follower = Follower {
            context: Arc::clone(context),
            client: Arc::clone(client),
            runner: runner.clone(),
            address: target.address.clone(),
        };
        followed.insert(runner, (target, spawn(follower.run())));
    }
}

fn target(pod: &Pod, runner: &RunnerId) -> Option<Target> {
    let status = pod.status.as_ref()?;
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let ip: IpAddr = status.pod_ip.as_ref()?.parse().ok()?;
    let address = RunnerAddress { socket: SocketAddr::new(ip, API_PORT), server_name: runner.server_name() };
    Some(Target { uid: pod.uid(), address })
}

/// A runner has been away for too long: its workspaces say so. One that nobody needs is forgotten.
fn miss(runner: &RunnerId, context: &Context) {
    if ask_for_workspaces(runner, context) > 0 {
        tracing::warn!(%runner, "a runner is away");
    } else if context.stores.pod(&runner.namespace, &runner.pod).is_none() {
        context.roster.forget(runner);
    }
}

/// Asks for a reconcile of every workspace that a runner has or shall have. Returns how many these are.
fn ask_for_workspaces(runner: &RunnerId, context: &Context) -> usize {
    let bound = context.stores.workspaces.state_filter(|watched| {
        watched.meta().namespace.as_deref() == Some(runner.namespace.as_str())
            && watched.0.as_ref().is_ok_and(|workspace| {
                // One that isn't expected anywhere may have been there.
                place::expected(workspace, context).is_none_or(|expected| expected == *runner)
            })
    });
    context.workspaces_due.extend(bound.iter().map(|watched| ObjectRef::from_obj(&**watched)));
    bound.iter().for_each(|watched| cron_job::ask_for(watched, context));
    bound.len()
}

/// One runner pod.
struct Follower {
    context: Arc<Context>,
    client: Arc<dyn RunnerClient>,
    runner: RunnerId,
    address: RunnerAddress,
}

impl Follower {
    async fn run(self) {
        let mut failures = 0;
        loop {
            let started = Instant::now();
            let error = match self.follow().await {
                Ok(()) => "the runner ended the stream".to_owned(),
                Err(error) => error.to_string(),
            };
            tracing::debug!(runner = %self.runner, error, "not connected to a runner");
            self.context.roster.disconnected(&self.runner, Some(error));
            failures = if started.elapsed() > GOOD { 0 } else { failures + 1 };
            sleep(pause(failures)).await;
        }
    }

    /// Connects, and takes in what the runner tells until that ends.
    async fn follow(&self) -> Result<(), Error> {
        let connection = self.client.connect(&self.address).await?;
        let mut changes = connection.watch().await?;
        let told = timeout(LISTEN_TIMEOUT, listen(&mut changes));
        let (states, others) = told.await.map_err(|_| Error::Timeout(LISTEN_TIMEOUT))??;
        // Until they are listed, every workspace would look like one that doesn't exist.
        if store::listed(&self.context.stores.workspaces).await.is_err() {
            return Ok(());
        }
        let mut unknown: VecDeque<_> = states.iter().filter(|state| !self.is_known(state)).cloned().collect();
        place::adopt(&self.runner, &states, &self.context);
        self.context.roster.connected(&self.runner, Arc::clone(&connection), states);
        tracing::info!(runner = %self.runner, "connected to a runner");
        ask_for_workspaces(&self.runner, &self.context);
        unknown.extend(others.into_iter().filter_map(|change| self.take_in(change)));
        let mut strays: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        loop {
            while strays.len() < MAX_STRAYS
                && let Some(stray) = unknown.pop_front()
            {
                let stray = Stray::told(&self.runner, &stray);
                strays.push(stray::remove_over(stray, Arc::clone(&connection), &self.context).boxed());
            }
            tokio::select! {
                change = changes.next() => match change {
                    None => return Ok(()),
                    // One that there is no room for is told of again when the runner is connected next.
                    Some(change) => unknown.extend(self.take_in(change?).filter(|_| unknown.len() < MAX_TOLD)),
                },
                Some(()) = strays.next(), if !strays.is_empty() => {}
            }
        }
    }

    /// Whether the cluster has this workspace, as far as the watch shows. A runner has those of its own namespace only, whatever
    /// it says.
    fn is_known(&self, state: &WorkspaceState) -> bool {
        let known = self.context.stores.workspaces.get(&workspace_ref(state));
        let known = known.filter(|_| state.namespace == self.runner.namespace);
        known.is_some_and(|known| known.meta().uid.as_deref() == Some(state.uid.as_str()))
    }

    /// Takes in a change. Returns a workspace that nobody knows.
    fn take_in(&self, change: WorkspaceChange) -> Option<WorkspaceState> {
        match change {
            WorkspaceChange::State { state } => {
                if !self.is_known(&state) {
                    return Some(*state);
                }
                let object = workspace_ref(&state);
                if self.context.roster.observe(&self.runner, *state) {
                    self.context.workspaces_due.push(object);
                }
                None
            }
            WorkspaceChange::Run { uid: _, run } => {
                let concerned = self.context.cron_jobs.register.told(&self.runner.namespace, *run);
                self.context.cron_jobs.due.extend(concerned);
                None
            }
            WorkspaceChange::Synced => None,
            WorkspaceChange::Deleted { uid } => {
                if self.context.roster.drop_workspace(&self.runner, &uid) {
                    let found = self
                        .context
                        .stores
                        .workspaces
                        .find(|watched| watched.meta().uid.as_ref() == Some(&uid));
                    self.context.workspaces_due.extend(found.map(|watched| ObjectRef::from_obj(&*watched)));
                }
                None
            }
        }
    }
}

/// What a runner tells at first: the states of all of its workspaces, and what else.
async fn listen(
    changes: &mut BoxStream<'static, Result<WorkspaceChange, Error>>,
) -> Result<(Vec<WorkspaceState>, Vec<WorkspaceChange>), Error> {
    let (mut states, mut others) = (Vec::new(), Vec::new());
    while let Some(change) = changes.next().await {
        match change? {
            WorkspaceChange::State { state } => states.push(*state),
            WorkspaceChange::Synced => return Ok((states, others)),
            other @ (WorkspaceChange::Run { .. } | WorkspaceChange::Deleted { .. }) => others.push(other),
        }
        if states.len() + others.len() > MAX_TOLD {
            return Err(Error::Answer(format!("more than {MAX_TOLD} workspaces and runs")));
        }
    }
    Err(Error::Answer("the stream ended before all workspaces were told".to_owned()))
}

fn pause(failures: u32) -> Duration {
    let step = PAUSES.iter().find(|(most, _)| failures <= *most);
    step.map_or(GOOD, |(_, pause)| *pause)
}

fn workspace_ref(state: &WorkspaceState) -> ObjectRef<WatchedWorkspace> {
    ObjectRef::new(&state.name).within(&state.namespace)
}
