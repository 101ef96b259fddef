//! What the operator watches, in memory: reflectors, and who is told about a change.
//!
//! Workspaces, CronJobs and Namespaces are what reconciles run over; the rest is what the operator makes, and is watched by its label
//! only, so that drift is repaired. Secrets of users are never watched: those that a Workspace names are read when needed.

use crate::{
    apply::Applied,
    certificate::Leaf,
    runner::name::{RUNNER, TLS_SECRET},
    trigger::Triggers,
};
use backon::ExponentialBuilder;
use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Namespace, Pod, Secret, Service},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{DeserializeGuard, PartialObjectMeta},
    runtime::{
        PredicateConfig, WatchStreamExt,
        reflector::{
            ObjectRef, Store,
            store::{Writer, WriterDropped},
        },
        utils::ResetTimerBackoff,
        watcher::{self, watcher},
    },
};
use lodge_crds::{CronJob, Workspace, label};
use std::{fmt::Debug, sync::Arc, time::Duration};
use tokio::time::timeout;

/// A Workspace, even if this version of the operator can't read it.
pub type WatchedWorkspace = DeserializeGuard<Workspace>;
/// A CronJob, even if this version of the operator can't read it.
pub type WatchedCronJob = DeserializeGuard<CronJob>;
/// A Namespace without its spec and status.
pub type WatchedNamespace = PartialObjectMeta<Namespace>;

/// What is known of the cluster.
#[derive(Clone)]
pub struct Stores {
    /// Every Workspace.
    pub workspaces: Store<WatchedWorkspace>,
    /// Every CronJob.
    pub cron_jobs: Store<WatchedCronJob>,
    /// Every Namespace.
    pub namespaces: Store<WatchedNamespace>,
    /// The pods of runners.
    pub pods: Store<Pod>,
    /// The StatefulSets of runners.
    pub stateful_sets: Store<StatefulSet>,
    /// The Services of runners.
    pub services: Store<Service>,
    /// The NetworkPolicies of runners.
    pub network_policies: Store<NetworkPolicy>,
    /// The certificates of runners.
    pub secrets: Store<Secret>,
}

impl Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stores")
    }
}

/// The writing ends of [`Stores`].
#[derive(Debug, Default)]
pub struct Writers {
    /// Of the Workspaces.
    pub workspaces: Writer<WatchedWorkspace>,
    /// Of the CronJobs.
    pub cron_jobs: Writer<WatchedCronJob>,
    /// Of the Namespaces.
    pub namespaces: Writer<WatchedNamespace>,
    /// Of the pods.
    pub pods: Writer<Pod>,
    /// Of the StatefulSets.
    pub stateful_sets: Writer<StatefulSet>,
    /// Of the Services.
    pub services: Writer<Service>,
    /// Of the NetworkPolicies.
    pub network_policies: Writer<NetworkPolicy>,
    /// Of the certificates.
    pub secrets: Writer<Secret>,
}

impl Writers {
    /// The reading ends.
    pub fn stores(&self) -> Stores {
        let Self {
            workspaces,
            cron_jobs,
            namespaces,
            pods,
            stateful_sets,
            services,
            network_policies,
            secrets,
        } = self;
        Stores {
            workspaces: workspaces.as_reader(),
            cron_jobs: cron_jobs.as_reader(),
            namespaces: namespaces.as_reader(),
            pods: pods.as_reader(),
            stateful_sets: stateful_sets.as_reader(),
            services: services.as_reader(),
            network_policies: network_policies.as_reader(),
            secrets: secrets.as_reader(),
        }
    }
}

impl Stores {
    /// The Workspaces of a namespace that this version can read.
    pub fn workspaces_in(&self, namespace: &str) -> Vec<Arc<WatchedWorkspace>> {
        self.workspaces.state_filter(|watched| {
            watched.0.is_ok() && watched.meta().namespace.as_deref() == Some(namespace)
        })
    }

    /// The names of the Workspaces of a namespace that this version can't read.
    pub fn unreadable_in(&self, namespace: &str) -> Vec<String> {
        let watched = self.workspaces.state_filter(|watched| {
            watched.0.is_err() && watched.meta().namespace.as_deref() == Some(namespace)
        });
        watched.iter().map(|watched| watched.name_any()).collect()
    }

    /// Whether a namespace has Workspaces at all, readable or not.
    pub fn has_workspaces(&self, namespace: &str) -> bool {
        self.workspaces.find(|watched| watched.meta().namespace.as_deref() == Some(namespace)).is_some()
    }

    /// Whether a namespace is being deleted, or gone.
    pub fn is_ending(&self, namespace: &str) -> bool {
        self.namespaces
            .get(&ObjectRef::new(namespace))
            .is_none_or(|found| found.metadata.deletion_timestamp.is_some())
    }

    /// The pod of this name.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.pods.get(&ObjectRef::new(name).within(namespace))
    }

    /// The StatefulSets of a namespace.
    pub fn stateful_sets_in(&self, namespace: &str) -> Vec<Arc<StatefulSet>> {
        self.stateful_sets.state_filter(|set| set.metadata.namespace.as_deref() == Some(namespace))
    }

    /// The Service of a namespace's runners.
    pub fn service(&self, namespace: &str) -> Option<Arc<Service>> {
        self.services.get(&ObjectRef::new(RUNNER).within(namespace))
    }

    /// The NetworkPolicy of a namespace's runners.
    pub fn network_policy(&self, namespace: &str) -> Option<Arc<NetworkPolicy>> {
        self.network_policies.get(&ObjectRef::new(RUNNER).within(namespace))
    }

    /// The certificate of a namespace's runners.
    pub fn leaf(&self, namespace: &str) -> Option<Leaf> {
        let secret = self.secrets.get(&ObjectRef::new(TLS_SECRET).within(namespace))?;
        let data = secret.data.clone()?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap_or_default();
        Leaf::read(&data.into_iter().map(|(key, value)| (key, text(value.0))).collect())
    }

    /// Waits until everything but the Workspaces, the CronJobs and the Namespaces was read once. Those are read by who
    /// reconciles them.
    ///
    /// # Errors
    /// If a watch ended.
    pub async fn wait_until_ready(&self) -> Result<(), WriterDropped> {
        self.pods.wait_until_ready().await?;
        self.stateful_sets.wait_until_ready().await?;
        self.services.wait_until_ready().await?;
        self.network_policies.wait_until_ready().await?;
        self.secrets.wait_until_ready().await
    }
}

/// Waits until the objects of a store are listed. Any number may wait at the same time: the store itself wakes the last one
/// that has asked and forgets the others, so each asks again by itself.
///
/// # Errors
/// If the watch ended.
pub async fn listed<K>(store: &Store<K>) -> Result<(), WriterDropped>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + std::hash::Hash + Clone,
{
    loop {
        if let Ok(listed) = timeout(ASK_AGAIN, store.wait_until_ready()).await {
            return listed;
        }
    }
}

/// How often somebody who waits for a list asks whether it is there.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// What is made for runners, as a watch wants it.
pub fn ours() -> watcher::Config {
    let (component, manager) = (label::COMPONENT_RUNNER, label::FIELD_MANAGER);
    watcher::Config::default().labels(&format!(
        "{}={component},{}={manager}",
        label::APP_COMPONENT,
        label::APP_MANAGED_BY
    ))
}

/// Watches all objects of a kind that the operator made, and asks for their namespace whenever `version` changes: that part
/// of an object which the operator is responsible for.
pub fn watch_made<K>(
    client: &Client,
    config: watcher::Config,
    writer: Writer<K>,
    version: fn(&K) -> Option<u64>,
    due: Triggers<ObjectRef<WatchedNamespace>>,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send + use<K>
where
    K: Applied + Send + Sync + 'static,
{
    let store = writer.as_reader();
    let deleted = due.clone();
    let events = watch(Api::<K>::all(client.clone()), config, writer).inspect_ok(move |event| {
        // A deletion leaves the object as it was last, so a comparison of versions would not show it.
        if let watcher::Event::Delete(made) = event {
            deleted.extend(made.namespace().map(|namespace| ObjectRef::new(&namespace)));
        }
    });
    settled(events, store).predicate_filter(version, PredicateConfig::default()).inspect_ok(move |made| {
        due.extend(made.namespace().map(|namespace| ObjectRef::new(&namespace)));
    })
}

/// What `kubectl apply` keeps for itself: the whole object once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The first pause of a watch that failed; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest, but for chance, which at most doubles each.
const LONGEST_PAUSE: Duration = Duration::from_millis(1_500);
/// After so long without a failure the pauses begin anew.
const QUIET: Duration = Duration::from_secs(60);

/// Pauses of a watch that fails. They must stay short: kube's own grow to a minute, and for so long after an outage a new
/// Workspace would not be seen. There are eight watches in the one replica that leads.
fn retry() -> ResetTimerBackoff<watcher::ExponentialBackoff> {
    let pauses = ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .with_jitter();
    // A watch that goes on brings nothing for as long as nothing changes; time tells that it works, too.
    ResetTimerBackoff::new(pauses.into(), QUIET)
}

/// Watches a kind into a store, and passes the events on after the store has them.
pub fn watch<K>(
    api: Api<K>,
    config: watcher::Config,
    writer: Writer<K>,
) -> impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send
where
    K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + Debug + Send + Sync + 'static,
{
    watcher(api, config)
        .backoff(retry())
        .modify(|object| {
            // Both are as large as the rest of an object together, and nobody here looks at them.
            object.managed_fields_mut().clear();
            object.annotations_mut().remove(LAST_APPLIED);
        })
        .reflect(writer)
        .inspect_err(|error| tracing::warn!(%error, kind = %K::kind(&()), "a watch broke, trying again"))
        .boxed()
}

/// The objects of a watch as they change, each after the store has it.
///
/// A list (the first, and each after a break) reaches the store as a whole at its end, so its objects are passed on then:
/// whoever looks into the store for an object that it is told of finds it.
pub fn settled<K>(
    events: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send,
    store: Store<K>,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    events.flat_map(move |event| {
        let objects: Box<dyn Iterator<Item = _> + Send> = match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::Delete(object)) => {
                Box::new(std::iter::once(Ok(object)))
            }
            // One after the other: a second copy of everything at once would double what the operator needs.
            Ok(watcher::Event::InitDone) => {
                Box::new(store.state().into_iter().map(|object| Ok(K::clone(&object))))
            }
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => Box::new(std::iter::empty()),
            Err(error) => Box::new(std::iter::once(Err(error))),
        };
        futures::stream::iter(objects)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use watcher::Event;

    fn pod(name: &str) -> Pod {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        Pod { metadata, ..Pod::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_who_waits_for_a_list_goes_on_when_it_is_there() {
        let mut writer = Writers::default().pods;
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let store = writer.as_reader();
                tokio::spawn(async move { listed(&store).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
        for waiter in waiting {
            assert!(timeout(Duration::from_secs(9), waiter).await.unwrap().unwrap().is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_goes_on_seconds_after_an_outage_however_long_it_was() {
        use http::{Request, Response, StatusCode};
        use kube::client::Body;
        use tokio::time::Instant;
        for outage in [1, 5, 30, 600].map(Duration::from_secs) {
            let began = Instant::now();
            // Refuses everything, and then has an empty list and a watch on which nothing happens.
            let service = tower::service_fn(move |request: Request<Body>| async move {
                let list = r#"{"metadata": {"resourceVersion": "1"}, "items": []}"#;
                let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
                let (code, text) = match (began.elapsed() < outage, is_watch) {
                    (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "no"),
                    (false, true) => (StatusCode::OK, ""),
                    (false, false) => (StatusCode::OK, list),
                };
                let mut response = Response::new(Body::from(text.as_bytes().to_vec()));
                *response.status_mut() = code;
                Ok::<_, std::convert::Infallible>(response)
            });
            let api: Api<Pod> = Api::all(Client::new(service, "default"));
            let events = watch(api, watcher::Config::default(), Writers::default().pods);
            let mut listed = events.filter(|event| std::future::ready(matches!(event, Ok(Event::InitDone))));
            assert!(listed.next().await.is_some());
            let late = began.elapsed() - outage;
            assert!(late <= 2 * LONGEST_PAUSE, "{late:?} after an outage of {outage:?}");
        }
    }

    #[tokio::test]
    async fn whoever_is_told_of_an_object_finds_it_in_the_store() {
        let mut writer = Writers::default().pods;
        let store = writer.as_reader();
        let events = [Event::Init, Event::InitApply(pod("a")), Event::InitDone, Event::Apply(pod("b"))];
        let watched =
            futures::stream::iter(events.map(Ok)).inspect_ok(move |event| writer.apply_watcher_event(event));
        let mut told = std::pin::pin!(settled(watched, store.clone()));
        let mut names = Vec::new();
        while let Some(object) = told.next().await {
            let name = object.unwrap().name_any();
            assert!(store.get(&ObjectRef::new(&name)).is_some(), "{name}");
            names.push(name);
        }
        assert_eq!(names, ["a", "b"]);
    }
}
