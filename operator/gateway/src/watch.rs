//! Feeds the gateway's own copies from the cluster: workspaces and runners into the [`Directory`], the TLS Secret into
//! the [`TlsStore`], the cluster's client CA into the [`ClientCa`].
//!
//! Each watch runs for as long as the gateway; it starts over by itself, within seconds, and says so once per outage.
//! Objects are read as leniently as possible: a field of a newer version never blinds an older gateway.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use backon::ExponentialBuilder;
use futures::{Stream, StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::ResetTimerBackoff;
use kube::runtime::watcher::{self, Event, watch_object, watcher};
use kube::{Api, Client, Resource};
use lodge_crds::{Workspace, condition};
use serde::{Deserialize, Serialize};

use crate::client_ca::{CA_BUNDLE_KEY, ClientCa};
use crate::directory::{Directory, RunnerEntry, Table, WorkspaceEntry};
use crate::hold::WaitingRoom;
use crate::tls::TlsStore;

/// Where the API server publishes what API extensions need to authenticate as it does.
const CA_NAMESPACE: &str = "kube-system";
const CA_CONFIG_MAP: &str = "extension-apiserver-authentication";
/// The runners' headless Service, where a pod does not name it.
const RUNNER_SERVICE: &str = "lodge-runner";

/// The first pause of a watch that failed; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest, but for chance, which at most doubles each.
const LONGEST_PAUSE: Duration = Duration::from_millis(1_500);
/// After so long without a failure the pauses begin anew.
const QUIET: Duration = Duration::from_secs(60);

/// A Workspace, as far as routing goes.
#[derive(Clone, Debug, Serialize, Deserialize, kube::Resource)]
#[resource(inherit = "Workspace")]
struct RoutedWorkspace {
    metadata: ObjectMeta,
    #[serde(default)]
    status: Option<RoutedStatus>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct RoutedStatus {
    #[serde(default)]
    runner: Option<RoutedRunner>,
    #[serde(default)]
    conditions: Vec<RoutedCondition>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct RoutedRunner {
    name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct RoutedCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    message: String,
}

/// Follows all workspaces.
pub(crate) async fn workspaces(client: Client, directory: Arc<Directory>, room: Arc<WaitingRoom>) {
    let api: Api<RoutedWorkspace> = Api::all(client);
    let events = watcher(api, watcher::Config::default()).backoff(retry());
    let wake = |change: Change<'_>| match change {
        Change::One { namespace, name } => room.wake(namespace, name),
        Change::All => room.wake_all(),
    };
    follow("workspaces", events, directory.workspaces(), read_workspace, wake).await;
}

/// Follows the pods of all runners.
pub(crate) async fn runners(
    client: Client,
    selector: String,
    directory: Arc<Directory>,
    room: Arc<WaitingRoom>,
) {
    let api: Api<Pod> = Api::all(client);
    let events = watcher(api, watcher::Config::default().labels(&selector)).backoff(retry());
    let wake = |change: Change<'_>| match change {
        Change::One { namespace, name: _ } => room.wake_namespace(namespace),
        Change::All => room.wake_all(),
    };
    follow("runners", events, directory.runners(), read_runner, wake).await;
}

/// Follows the Secret with the gateway's certificate.
pub(crate) async fn tls_secret(client: Client, namespace: String, name: String, store: Arc<TlsStore>) {
    let api: Api<Secret> = Api::namespaced(client, &namespace);
    follow_one("TLS Secret", watch_object(api, &name).backoff(retry()), |secret| {
        let Some(secret) = secret else {
            tracing::warn!(%namespace, %name, "the TLS Secret does not exist: the operator makes it; keeping what there is");
            return;
        };
        match store.replace(&secret) {
            Ok(()) => tracing::info!(%namespace, %name, "certificate loaded"),
            Err(error) => tracing::error!(%namespace, %name, %error, "keeping the certificate that there is"),
        }
    })
    .await;
}

/// Follows the Secret with the certificate that clients are shown by its names.
pub(crate) async fn serving_secret(client: Client, namespace: String, name: String, store: Arc<TlsStore>) {
    let api: Api<Secret> = Api::namespaced(client, &namespace);
    follow_one("serving Secret", watch_object(api, &name).backoff(retry()), |secret| {
        let is_there = secret.is_some();
        match store.serve(secret.as_ref()) {
            Ok(()) if is_there => tracing::info!(%namespace, %name, "certificate for clients loaded"),
            Ok(()) => {
                tracing::warn!(%namespace, %name, "the Secret does not exist: clients are shown the operator's certificate");
            }
            Err(error) => tracing::error!(%namespace, %name, %error, "clients are shown the certificate that there is"),
        }
    })
    .await;
}

/// Follows the cluster's client CA.
pub(crate) async fn client_ca(client: Client, ca: Arc<ClientCa>) {
    let api: Api<ConfigMap> = Api::namespaced(client, CA_NAMESPACE);
    follow_one("client CA", watch_object(api, CA_CONFIG_MAP).backoff(retry()), |config_map| {
        let bundle = config_map.and_then(|map| map.data).and_then(|mut data| data.remove(CA_BUNDLE_KEY));
        let Some(bundle) = bundle else {
            tracing::warn!(
                "{CA_NAMESPACE}/{CA_CONFIG_MAP} has no {CA_BUNDLE_KEY}: client certificates do not count"
            );
            ca.clear();
            return;
        };
        match ca.replace(&bundle) {
            Ok(()) => tracing::info!("client CA loaded"),
            Err(error) => tracing::error!(%error, "keeping the client CA that there is"),
        }
    })
    .await;
}

/// Pauses of a watch that fails. They must stay short: kube's own grow to a minute, and for so long after an outage the
/// gateway would know nothing of new workspaces and of runners that moved.
fn retry() -> ResetTimerBackoff<watcher::ExponentialBackoff> {
    let pauses = ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .with_jitter();
    // A watch that goes on brings nothing for as long as nothing changes; time tells that it works, too.
    ResetTimerBackoff::new(pauses.into(), QUIET)
}

/// What a watch changed.
enum Change<'a> {
    One { namespace: &'a str, name: &'a str },
    All,
}

async fn follow<K, T: PartialEq>(
    what: &'static str,
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    table: &Table<T>,
    read: fn(&K) -> Option<T>,
    changed: impl Fn(Change<'_>),
) where
    K: Resource + Debug,
{
    let mut list = Vec::new();
    let mut health = Health::new(what);
    pin_mut!(events);
    while let Some(event) = events.next().await {
        if matches!(event, Ok(Event::Init)) {
            // A watch that starts over has yet to show that it works.
            list.clear();
            continue;
        }
        match health.judge(event) {
            Some(Event::InitApply(object)) => {
                if let (Some((namespace, name)), Some(entry)) = (key(&object), read(&object)) {
                    list.push((namespace.to_owned(), name.to_owned(), entry));
                }
            }
            Some(Event::InitDone) => {
                table.replace(std::mem::take(&mut list));
                changed(Change::All);
            }
            Some(Event::Apply(object)) => {
                let Some((namespace, name)) = key(&object) else { continue };
                let is_news = match read(&object) {
                    Some(entry) => table.insert(namespace, name, entry),
                    None => table.remove(namespace, name),
                };
                if is_news {
                    changed(Change::One { namespace, name });
                }
            }
            Some(Event::Delete(object)) => {
                let Some((namespace, name)) = key(&object) else { continue };
                if table.remove(namespace, name) {
                    changed(Change::One { namespace, name });
                }
            }
            Some(Event::Init) | None => {}
        }
    }
}

async fn follow_one<K>(
    what: &'static str,
    objects: impl Stream<Item = watcher::Result<Option<K>>>,
    mut take: impl FnMut(Option<K>),
) {
    let mut health = Health::new(what);
    pin_mut!(objects);
    while let Some(object) = objects.next().await {
        if let Some(object) = health.judge(object) {
            take(object);
        }
    }
}

/// Whether a watch works; tells about changes only.
struct Health {
    what: &'static str,
    works: bool,
}

impl Health {
    fn new(what: &'static str) -> Self {
        Self { what, works: true }
    }

    fn judge<T>(&mut self, event: watcher::Result<T>) -> Option<T> {
        let what = self.what;
        match event {
            Ok(event) => {
                if !std::mem::replace(&mut self.works, true) {
                    tracing::info!(what, "the watch works again");
                }
                Some(event)
            }
            Err(error) => {
                if std::mem::replace(&mut self.works, false) {
                    tracing::warn!(what, %error, "the watch is interrupted; going on with what is known");
                } else {
                    tracing::debug!(what, %error, "the watch is still interrupted");
                }
                None
            }
        }
    }
}

fn key<K: Resource>(object: &K) -> Option<(&str, &str)> {
    let meta = object.meta();
    Some((meta.namespace.as_deref()?, meta.name.as_deref()?))
}

fn read_workspace(workspace: &RoutedWorkspace) -> Option<WorkspaceEntry> {
    let RoutedStatus { runner, conditions } = workspace.status.clone().unwrap_or_default();
    let trouble = conditions
        .into_iter()
        .find(|condition| condition.kind == condition::READY && condition.status != "True")
        .map(|condition| condition.message)
        .filter(|message| !message.is_empty());
    Some(WorkspaceEntry {
        uid: workspace.metadata.uid.as_deref()?.into(),
        runner: runner.map(|runner| runner.name.into()),
        is_deleting: workspace.metadata.deletion_timestamp.is_some(),
        trouble: trouble.map(Into::into),
    })
}

fn read_runner(pod: &Pod) -> Option<RunnerEntry> {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return None;
    }
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let is_ready =
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let address: Option<IpAddr> =
        status.and_then(|status| status.pod_ip.as_deref()).and_then(|address| address.parse().ok());
    let service = pod.spec.as_ref().and_then(|spec| spec.subdomain.as_deref()).unwrap_or(RUNNER_SERVICE);
    let meta = &pod.metadata;
    Some(RunnerEntry {
        namespace: meta.namespace.as_deref()?.into(),
        name: meta.name.as_deref()?.into(),
        service: service.into(),
        pod_uid: meta.uid.as_deref()?.into(),
        address,
        is_ready,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workspace(value: serde_json::Value) -> RoutedWorkspace {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_workspace_of_any_version_is_read_for_its_binding() {
        let entry = read_workspace(&workspace(json!({
            "apiVersion": "lodge.dev/v1alpha1", "kind": "Workspace",
            "metadata": {"name": "ada", "namespace": "team-a", "uid": "u-1"},
            "spec": {"fromTheFuture": {"a": [1, 2]}, "software": "not a list"},
            "status": {"runner": {"name": "lodge-runner-0", "epoch": 4, "zone": "z"}, "newField": 1,
                       "conditions": [{"type": "Ready", "status": "False", "message": "no quota"}]},
        })))
        .unwrap();
        assert_eq!((&*entry.uid, entry.runner.as_deref()), ("u-1", Some("lodge-runner-0")));
        assert_eq!(entry.trouble.as_deref(), Some("no quota"));
        assert!(!entry.is_deleting);
    }

    #[test]
    fn a_workspace_without_status_or_spec_is_known_and_not_bound() {
        let entry =
            read_workspace(&workspace(json!({"metadata": {"name": "a", "namespace": "n", "uid": "u"}})));
        assert_eq!(entry.unwrap().runner, None);
    }

    #[test]
    fn a_workspace_that_is_ready_has_no_trouble() {
        let entry = read_workspace(&workspace(json!({
            "metadata": {"uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"conditions": [{"type": "Ready", "status": "True", "message": "bound"}]},
        })))
        .unwrap();
        assert_eq!((entry.trouble, entry.is_deleting), (None, true));
    }

    #[test]
    fn a_watch_that_fails_for_an_hour_is_tried_again_within_seconds() {
        let pauses: Vec<Duration> = retry().take(1_000).collect();
        assert_eq!(pauses.len(), 1_000);
        assert!(pauses[0] < Duration::from_millis(500), "{:?}", pauses[0]);
        assert!(pauses.iter().all(|pause| *pause <= 2 * LONGEST_PAUSE), "{:?}", pauses.iter().max());
        let tries = pauses.iter().scan(Duration::ZERO, |at, pause| {
            *at += *pause;
            Some(*at)
        });
        assert!(tries.take_while(|at| *at < Duration::from_secs(60)).count() < 60, "too often");
    }

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "lodge-runner-0", "namespace": "team-a", "uid": "p-1"},
            "spec": {"containers": [], "subdomain": "lodge-runner"},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_runner_is_reachable_as_soon_as_its_pod_has_an_address() {
        let entry = read_runner(&pod(json!({"phase": "Running", "podIP": "10.1.2.3"}))).unwrap();
        assert_eq!((entry.address, entry.is_ready), (Some("10.1.2.3".parse().unwrap()), false));
        let entry = read_runner(&pod(json!({"phase": "Pending"}))).unwrap();
        assert_eq!(entry.address, None);
    }

    #[test]
    fn a_pod_that_has_ended_is_no_runner() {
        assert_eq!(read_runner(&pod(json!({"phase": "Failed", "podIP": "10.1.2.3"}))), None);
    }
}
