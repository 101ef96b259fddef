//! The runners of a namespace: made with its first Workspace, removed some time after its last.
//!
//! ```text
//!   Workspaces of the namespace ─▶ validate ─▶ sets of runners ─▶ build ─▶ objects ─▶ apply
//!                                 │    none ─▶ (linger) ─────────────────────────▶ teardown
//!                                 └─▶ scale: as many pods as the bindings need; the last ones, empty, go after the linger
//! ```
//! The object that is reconciled is the Namespace, because the runners' objects belong to all of its Workspaces and none
//! owns them. One reconcile runs per namespace at a time, so nothing here is made twice. What stands in the way is noted in
//! the [`outlook`], where the Workspaces' reconciles find it.
//!
//! Knows nothing of connections to runners ([`crate::follow`]) and never touches a Workspace.

pub mod build;
pub mod name;
pub mod occupancy;
pub mod outlook;
pub mod roll;
mod scale;
mod teardown;
pub mod validate;

use crate::{
    apply,
    certificate::{self, Leaf, Purpose},
    context::Context,
    store::{WatchedNamespace, WatchedWorkspace},
};
use build::Prepared;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::{
    Resource, ResourceExt,
    runtime::{
        controller::Action,
        reflector::{ObjectRef, store::WriterDropped},
    },
};
use lodge_crds::{Isolation, Workspace};
use outlook::Obstacle;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// How often a namespace with runners is looked at without a reason: certificates get old.
const INTERVAL: Duration = Duration::from_secs(3600);

/// Why the runners of a namespace are not as they shall be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operator is stopping.
    #[error("the watch of workspaces ended")]
    Stopping(#[from] WriterDropped),
    /// There is no certificate authority yet.
    #[error("there is no certificate authority yet")]
    NoAuthority,
    /// The runners' certificate could not be made.
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
    /// An object could not be applied.
    #[error(transparent)]
    Apply(apply::Error),
    /// Something could not be removed.
    #[error("could not remove the runners: {0}")]
    Teardown(apply::Error),
}

impl Error {
    fn obstacle(&self) -> Obstacle {
        let is_refusal = match self {
            Self::Apply(error) => error.is_refusal(),
            Self::Stopping(_) | Self::NoAuthority | Self::Certificate(_) | Self::Teardown(_) => false,
        };
        Obstacle { is_refusal, message: self.to_string() }
    }

    /// Name of the variant, for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Stopping(_) => "stopping",
            Self::NoAuthority => "no_authority",
            Self::Certificate(_) => "certificate",
            Self::Apply(_) => "apply",
            Self::Teardown(_) => "teardown",
        }
    }
}

/// Looks at a namespace again, if a change of one of its Workspaces may change what runners it needs. A shared Workspace needs
/// no other than there are, or asks for it when it is bound; so a burst of them costs no look at all of them for each.
pub fn look_if_concerned(watched: &WatchedWorkspace, context: &Context) {
    let Some(namespace) = watched.meta().namespace.as_deref() else { return };
    let is_shared = |workspace: &Workspace| workspace.spec.isolation == Isolation::Shared;
    let has_set = context.stores.stateful_sets.get(&ObjectRef::new(name::RUNNER).within(namespace)).is_some();
    if !(has_set && watched.0.as_ref().is_ok_and(is_shared)) {
        context.namespaces_due.push(ObjectRef::new(namespace));
    }
}

/// Makes the runners of a namespace what its Workspaces need.
///
/// # Errors
/// Names the step that failed. What concerns people is in the outlook, too.
pub async fn reconcile(namespace: Arc<WatchedNamespace>, context: Arc<Context>) -> Result<Action, Error> {
    let started = Instant::now();
    let result = advance(&namespace.name_any(), &context).await;
    let label = result.as_ref().map_or_else(Error::label, |_| "ok");
    context.metrics.reconciled("runner", label, started.elapsed());
    if let Err(error) = &result {
        tracing::warn!(%error, namespace = namespace.name_any(), "could not reconcile the runners");
    }
    let obstacle = result.as_ref().err().map(Error::obstacle);
    if context.outlook.set_obstacle(&namespace.name_any(), obstacle) {
        let workspaces = context.stores.workspaces_in(&namespace.name_any());
        context.workspaces_due.extend(workspaces.iter().map(|watched| ObjectRef::from_obj(&**watched)));
    }
    result
}

async fn advance(namespace: &str, context: &Context) -> Result<Action, Error> {
    context.stores.workspaces.wait_until_ready().await?;
    if context.stores.is_ending(namespace) {
        // Kubernetes removes what is in it; nothing can be made there any more.
        context.outlook.forget(namespace);
        return Ok(Action::await_change());
    }
    let Needs { workspaces, unreadable, live } = dereference(namespace, context);
    let workspaces: Vec<_> = workspaces.iter().filter_map(|watched| watched.0.as_ref().ok()).collect();
    let surplus = teardown::surplus(&workspaces, &unreadable, &live);
    teardown::remove_sets(namespace, &surplus, context).await.map_err(Error::Teardown)?;
    if workspaces.is_empty() {
        return teardown::run(namespace, context).await.map_err(Error::Teardown);
    }
    context.outlook.busy(namespace);
    let scale = scale::decide(namespace, &workspaces, !unreadable.is_empty(), context);
    if scale.removes {
        teardown::remove_runners(namespace, scale.replicas, context).await.map_err(Error::Teardown)?;
    } else {
        // Of a removal that came to nothing.
        context.occupancy.open(namespace);
    }
    let sets = validate::validate(&workspaces, &live, scale.replicas, &context.config.runner);
    let leaf = certificate(namespace, context)?;
    let prepared = build::build(namespace, &sets, &leaf, &context.config.runner, &context.config.namespace);
    let held_back = apply(prepared, namespace, context).await.map_err(Error::Apply)?;
    if scale.removes {
        context.occupancy.open(namespace);
    }
    let again = [scale.again, held_back.then_some(roll::AGAIN), Some(INTERVAL)].into_iter().flatten().min();
    Ok(again.map_or_else(Action::await_change, Action::requeue))
}

/// What to do after a failure.
pub fn error_policy(_: Arc<WatchedNamespace>, error: &Error, _: Arc<Context>) -> Action {
    match error {
        Error::Stopping(_) => Action::await_change(),
        Error::NoAuthority => Action::requeue(Duration::from_secs(1)),
        Error::Certificate(_) | Error::Teardown(_) => Action::requeue(Duration::from_secs(10)),
        // Somebody has to change something, perhaps something that isn't watched, such as a quota.
        Error::Apply(error) if error.is_refusal() => Action::requeue(Duration::from_secs(30)),
        Error::Apply(_) => Action::requeue(Duration::from_secs(3)),
    }
}

/// What a namespace needs, and what it has.
struct Needs {
    workspaces: Vec<Arc<WatchedWorkspace>>,
    /// Names of Workspaces of which nothing else is known: what they may need is left as it is.
    unreadable: Vec<String>,
    live: Vec<Arc<StatefulSet>>,
}

fn dereference(namespace: &str, context: &Context) -> Needs {
    let live = context.stores.stateful_sets_in(namespace);
    let mut workspaces = context.stores.workspaces_in(namespace);
    // Nothing is made for the sake of Workspaces that are on their way out; what there is stays until they are gone.
    let has_set = |workspace: &Workspace| {
        let set = name::RunnerSetName::of(workspace);
        live.iter().any(|live| live.metadata.name.as_deref() == Some(set.as_str()))
    };
    workspaces.retain(|watched| {
        watched.meta().deletion_timestamp.is_none() || watched.0.as_ref().is_ok_and(&has_set)
    });
    Needs { workspaces, unreadable: context.stores.unreadable_in(namespace), live }
}

fn certificate(namespace: &str, context: &Context) -> Result<Leaf, Error> {
    let authority = context.authority.get().ok_or(Error::NoAuthority)?;
    let (names, present) = (name::certificate_names(namespace), context.stores.leaf(namespace));
    Ok(Leaf::renew(present, &authority, &names, Purpose::Server, context.clock.now())?)
}

/// Applies everything. Returns whether a set was left in its present form for now.
async fn apply(prepared: Prepared, namespace: &str, context: &Context) -> Result<bool, apply::Error> {
    let (applier, stores) = (&context.applier, &context.stores);
    let Prepared { secret, service, network_policy, stateful_sets } = prepared;
    let live = stores.secrets.get(&ObjectRef::new(name::TLS_SECRET).within(namespace));
    applier.apply(&secret, live.as_deref()).await?;
    let live = stores.service(namespace);
    applier.apply(&service, live.as_deref()).await?;
    let live = stores.network_policy(namespace);
    applier.apply(&network_policy, live.as_deref()).await?;
    let mut held_back = false;
    for mut set in stateful_sets {
        let live = stores.stateful_sets.get(&ObjectRef::new(&set.name_any()).within(namespace));
        held_back |= roll::hold_back(&mut set, live.as_deref(), context);
        applier.apply(&set, live.as_deref()).await?;
    }
    Ok(held_back)
}
