//! Removing runners that no Workspace needs, with their volumes.
//!
//! Claims go first: a StatefulSet that is left is the sign that there is more to remove, a claim that is left would be no sign
//! at all.

use super::name::{DATA_VOLUME, RunnerId, RunnerSetName};
use crate::{apply::Error, context::Context};
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::PersistentVolumeClaim};
use kube::{
    Api, ResourceExt,
    api::ListParams,
    runtime::{controller::Action, reflector::ObjectRef},
};
use lodge_crds::{Isolation, Workspace, label};
use std::{sync::Arc, time::Duration};

/// The dedicated sets whose Workspace is gone. The shared set goes with the last Workspace of the namespace only.
///
/// A Workspace that this version can't read, known by its name only, may be dedicated and have its data in the set of that
/// name.
pub(super) fn surplus(
    workspaces: &[&Workspace],
    unreadable: &[String],
    live: &[Arc<StatefulSet>],
) -> Vec<Arc<StatefulSet>> {
    let readable = workspaces.iter().map(|workspace| RunnerSetName::of(workspace));
    let needed: Vec<_> = readable
        .chain(unreadable.iter().map(|name| RunnerSetName::dedicated(name)))
        .map(|set| set.to_string())
        .collect();
    let is_surplus = |set: &&Arc<StatefulSet>| {
        let dedicated = format!("{:?}", Isolation::Dedicated);
        set.labels().get(label::ISOLATION) == Some(&dedicated) && !needed.contains(&set.name_any())
    };
    live.iter().filter(is_surplus).cloned().collect()
}

/// Removes what a namespace without Workspaces has, once it has been without them for long enough.
pub(super) async fn run(namespace: &str, context: &Context) -> Result<Action, Error> {
    let sets = context.stores.stateful_sets_in(namespace);
    let service = context.stores.service(namespace);
    let network_policy = context.stores.network_policy(namespace);
    let secret = context.stores.secrets.get(&ObjectRef::new(super::name::TLS_SECRET).within(namespace));
    // A Workspace that this version can't read may have data here.
    let unreadable = context.stores.has_workspaces(namespace);
    if sets.is_empty() && service.is_none() && network_policy.is_none() && secret.is_none() {
        context.outlook.forget(namespace);
        return Ok(Action::await_change());
    }
    if unreadable {
        return Ok(Action::await_change());
    }
    let (idle, linger) = (context.outlook.idle(namespace), context.config.timing.runner_linger);
    if idle < linger {
        return Ok(Action::requeue(linger - idle));
    }
    // Nobody is bound here until all is gone. Somebody who was this very moment keeps it.
    if !context.occupancy.close(namespace, 0) {
        return Ok(Action::requeue(Duration::from_secs(1)));
    }
    remove_sets(namespace, &sets, context).await?;
    if let Some(secret) = secret {
        context.applier.delete(&*secret).await?;
    }
    if let Some(service) = service {
        context.applier.delete(&*service).await?;
    }
    if let Some(network_policy) = network_policy {
        context.applier.delete(&*network_policy).await?;
    }
    context.occupancy.open(namespace);
    tracing::info!(namespace, "removed the runners of a namespace without workspaces");
    Ok(Action::await_change())
}

/// Removes sets of runners with their volumes.
pub(super) async fn remove_sets(
    namespace: &str,
    sets: &[Arc<StatefulSet>],
    context: &Context,
) -> Result<(), Error> {
    for set in sets {
        for claim in claims(namespace, &set.name_any(), context).await? {
            context.applier.delete(&claim).await?;
        }
        context.applier.delete(&**set).await?;
        for ordinal in 0..replicas(set) {
            let pod = format!("{}-{ordinal}", set.name_any());
            context.roster.forget(&RunnerId { namespace: namespace.to_owned(), pod });
        }
    }
    Ok(())
}

/// Removes the volumes of shared runners from this ordinal on; their pods go when the set is made smaller, which comes next.
/// Nobody is bound to them, and nobody will be until then.
pub(super) async fn remove_runners(namespace: &str, from: u32, context: &Context) -> Result<(), Error> {
    let set = RunnerSetName::shared();
    for claim in claims(namespace, set.as_str(), context).await? {
        let name = claim.name_any();
        let ordinal = name.strip_prefix(DATA_VOLUME).and_then(|pod| set.ordinal(pod.strip_prefix('-')?));
        if ordinal.is_some_and(|ordinal| ordinal >= from) {
            context.applier.delete(&claim).await?;
            tracing::info!(namespace, claim = name, "removed the volume of a runner that nobody needs");
        }
    }
    if let Some(live) = context.stores.stateful_sets.get(&ObjectRef::new(set.as_str()).within(namespace)) {
        for ordinal in from..replicas(&live) {
            context.roster.forget(&RunnerId::of_set(namespace, &set, ordinal));
        }
    }
    Ok(())
}

/// How many pods a set has.
pub(super) fn replicas(set: &StatefulSet) -> u32 {
    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    u32::try_from(replicas).unwrap_or(0)
}

async fn claims(namespace: &str, set: &str, context: &Context) -> Result<Vec<PersistentVolumeClaim>, Error> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), namespace);
    let (manager, runner) = (label::APP_MANAGED_BY, label::RUNNER);
    let ours = ListParams::default().labels(&format!("{manager}={},{runner}={set}", label::FIELD_MANAGER));
    let list = api.list(&ours).await.map_err(|source| Error::Api {
        verb: "list",
        kind: "PersistentVolumeClaim".to_owned(),
        name: format!("of {set}"),
        source: Box::new(source),
    })?;
    Ok(list.items)
}
