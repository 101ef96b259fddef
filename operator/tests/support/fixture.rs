//! A cluster with one namespace, an operator's context on it, and the steps of a test.

use crate::{api_server::ApiServer, in_memory_runner::InMemoryRunner};
use clap::Parser;
use kube::runtime::{
    controller::Action,
    reflector::{ObjectRef, store::Writer},
    watcher::Event,
};
use lodge_crds::Workspace;
use operator::{
    args::{Args, Config},
    certificate::Authority,
    clock::Clock,
    context::Context,
    event::{Announcer, Outbox, Publisher},
    metrics::Metrics,
    runner::{self, name::RunnerId},
    runner_client::RunnerConnection,
    store::Writers,
    workspace,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

/// Where the Workspace of most tests is.
pub(crate) const ADA: &str = "/apis/lodge.dev/v1alpha1/namespaces/team-a/workspaces/ada";
/// Its UID.
pub(crate) const ADA_UID: &str = "uid-of-ada";
/// Where the shared runner's StatefulSet is.
pub(crate) const STATEFUL_SET: &str = "/apis/apps/v1/namespaces/team-a/statefulsets/lodge-runner";
const NAMESPACE: &str = "/api/v1/namespaces/team-a";
const START: u64 = 1_800_000_000;

/// A cluster and an operator.
pub(crate) struct Fixture {
    pub(crate) api: ApiServer,
    pub(crate) context: Arc<Context>,
    pub(crate) runner: Arc<InMemoryRunner>,
    writers: Writers,
    seconds: Arc<AtomicU64>,
    publisher: Publisher,
    outbox: Outbox,
}

impl Fixture {
    /// A cluster with the namespace `team-a`, and an operator that was told this.
    pub(crate) fn new(arguments: &[&str]) -> Self {
        let api = ApiServer::default();
        api.put(NAMESPACE, json!({ "metadata": { "name": "team-a" } }));
        Self::on(api, Arc::new(AtomicU64::new(START)), arguments)
    }

    /// The operator ends, and another one that was told this begins on the same cluster.
    pub(crate) fn restart_operator(&mut self, arguments: &[&str]) {
        let runner = Arc::clone(&self.runner);
        *self = Self { runner, ..Self::on(self.api.clone(), Arc::clone(&self.seconds), arguments) };
    }

    fn on(api: ApiServer, seconds: Arc<AtomicU64>, arguments: &[&str]) -> Self {
        let given = ["operator", "--runner-image=lodge/vm-runner:1"].iter().chain(arguments);
        let config = Config::from(Args::parse_from(given));
        let writers = Writers::default();
        let shown = Arc::clone(&seconds);
        let clock =
            Clock::new(move || SystemTime::UNIX_EPOCH + Duration::from_secs(shown.load(Ordering::Relaxed)));
        let metrics = Arc::new(Metrics::default());
        let (announcer, outbox) = Announcer::new();
        let publisher = Publisher::new(api.client(), &config.identity, Arc::clone(&metrics));
        let context = Context::new(api.client(), config, writers.stores(), announcer, metrics, clock.clone());
        context.authority.set(Authority::generate(clock.now()).unwrap());
        let mut fixture = Self {
            api,
            context: Arc::new(context),
            runner: InMemoryRunner::new(),
            writers,
            seconds,
            publisher,
            outbox,
        };
        fixture.sync();
        fixture
    }

    /// The same, with the Workspace `ada` of this spec.
    pub(crate) fn with_ada(spec: Value) -> Self {
        let mut fixture = Self::new(&[]);
        fixture.put_ada(spec);
        fixture
    }

    /// Creates or changes the Workspace `ada`, keeping its metadata and status.
    pub(crate) fn put_ada(&mut self, spec: Value) {
        let mut object = self.api.get(ADA).unwrap_or_else(|| {
            json!({
                "apiVersion": "lodge.dev/v1alpha1", "kind": "Workspace",
                "metadata": { "name": "ada", "namespace": "team-a" },
            })
        });
        object["spec"] = spec;
        self.api.put(ADA, object);
        self.sync();
    }

    /// Asks for the deletion of `ada`, as kubectl does.
    pub(crate) fn delete_ada(&mut self) {
        let mut object = self.api.get(ADA).unwrap();
        object["metadata"]["deletionTimestamp"] = json!(self.context.clock.time());
        self.api.put(ADA, object);
        self.sync();
    }

    /// The runner's pod comes up and is connected.
    pub(crate) fn connect_runner(&self) {
        let connection: Arc<dyn RunnerConnection> = Arc::clone(&self.runner) as _;
        self.context.roster.connected(&self.runner_id(), connection, self.runner.states());
    }

    /// The connection to the runner breaks.
    pub(crate) fn disconnect_runner(&self) {
        self.context.roster.disconnected(&self.runner_id(), Some("connection refused".to_owned()));
    }

    /// The shared runner of the namespace.
    pub(crate) fn runner_id(&self) -> RunnerId {
        RunnerId { namespace: "team-a".to_owned(), pod: "lodge-runner-0".to_owned() }
    }

    /// Lets time pass, for the clock and for Tokio.
    pub(crate) async fn pass(&self, time: Duration) {
        self.seconds.fetch_add(time.as_secs(), Ordering::Relaxed);
        tokio::time::advance(time).await;
    }

    /// Reconciles `ada` as the controller would, with what the watches show by now.
    pub(crate) async fn reconcile(&mut self) -> Result<Action, workspace::Error> {
        self.reconcile_one("ada").await
    }

    /// The same for another Workspace.
    pub(crate) async fn reconcile_one(&mut self, name: &str) -> Result<Action, workspace::Error> {
        self.sync();
        let watched = self.context.stores.workspaces.get(&ObjectRef::new(name).within("team-a")).unwrap();
        let result = workspace::reconcile(watched, Arc::clone(&self.context)).await;
        self.publisher.flush(&mut self.outbox).await;
        self.sync();
        result
    }

    /// The same, but the watches lag behind: the stores show what they showed before.
    pub(crate) async fn reconcile_with_stale_stores(&self) -> Result<Action, workspace::Error> {
        let watched = self.context.stores.workspaces.get(&ObjectRef::new("ada").within("team-a")).unwrap();
        workspace::reconcile(watched, Arc::clone(&self.context)).await
    }

    /// Reconciles the runners of the namespace.
    pub(crate) async fn reconcile_runners(&mut self) -> Result<Action, runner::Error> {
        self.sync();
        let namespace = self.context.stores.namespaces.get(&ObjectRef::new("team-a")).unwrap();
        let result = runner::reconcile(namespace, Arc::clone(&self.context)).await;
        self.sync();
        result
    }

    /// `ada` as it is stored.
    pub(crate) fn ada(&self) -> Workspace {
        serde_json::from_value(self.api.get(ADA).unwrap()).unwrap()
    }

    /// A condition of `ada`, as `status reason: message`.
    pub(crate) fn condition(&self, kind: &str) -> Option<String> {
        let status = self.ada().status?;
        let condition = status.conditions.into_iter().find(|condition| condition.type_ == kind)?;
        Some(format!("{} {}: {}", condition.status, condition.reason, condition.message))
    }

    /// Brings the stores up to date, as the watches would.
    pub(crate) fn sync(&mut self) {
        let Writers {
            workspaces,
            cron_jobs,
            namespaces,
            pods,
            stateful_sets,
            services,
            network_policies,
            secrets,
        } = &mut self.writers;
        fill(workspaces, self.api.list("/apis/lodge.dev/v1alpha1", "workspaces"));
        fill(cron_jobs, self.api.list("/apis/lodge.dev/v1alpha1", "cronjobs"));
        fill(namespaces, self.api.list("/api/v1", "namespaces"));
        fill(pods, self.api.list("/api/v1", "pods"));
        fill(stateful_sets, ours(self.api.list("/apis/apps/v1", "statefulsets")));
        fill(services, ours(self.api.list("/api/v1", "services")));
        fill(network_policies, ours(self.api.list("/apis/networking.k8s.io/v1", "networkpolicies")));
        fill(secrets, ours(self.api.list("/api/v1", "secrets")));
        for watched in self.context.stores.workspaces.state() {
            workspace::notice(&watched, &self.context);
        }
    }
}

/// What a watch by our label shows.
fn ours(objects: Vec<Value>) -> Vec<Value> {
    let manager = "app.kubernetes.io/managed-by";
    objects.into_iter().filter(|object| object["metadata"]["labels"][manager] == "lodge-operator").collect()
}

fn fill<K>(writer: &mut Writer<K>, objects: Vec<Value>)
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + 'static,
{
    writer.apply_watcher_event(&Event::Init);
    for object in objects {
        writer.apply_watcher_event(&Event::InitApply(serde_json::from_value(object).unwrap()));
    }
    writer.apply_watcher_event(&Event::InitDone);
}
