//! A cluster with one namespace, an operator's context on it, and the steps of a test.

use crate::{
    api_server::ApiServer,
    in_memory_runner::InMemoryRunner,
    replica::{self, Replica},
};
use kube::runtime::{controller::Action, reflector::ObjectRef};
use lodge_crds::Workspace;
use operator::{
    certificate::Authority,
    clock::Clock,
    context::Context,
    runner::{self, name::RunnerId},
    workspace,
};
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
/// How long the finalizer comes after the status.
pub(crate) const FINALIZER_PAUSE: Duration = Duration::from_millis(100);
const NAMESPACE: &str = "/api/v1/namespaces/team-a";
const START: u64 = 1_800_000_000;

/// A cluster and an operator.
pub(crate) struct Fixture {
    pub(crate) api: ApiServer,
    pub(crate) context: Arc<Context>,
    pub(crate) runner: Arc<InMemoryRunner>,
    replica: Replica,
    seconds: Arc<AtomicU64>,
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
        let shown = Arc::clone(&seconds);
        let clock =
            Clock::new(move || SystemTime::UNIX_EPOCH + Duration::from_secs(shown.load(Ordering::Relaxed)));
        let replica = Replica::new(&api, arguments, clock.clone());
        let context = Arc::clone(&replica.context);
        context.authority.set(Authority::generate(clock.now()).unwrap());
        let mut fixture = Self { api, context, runner: InMemoryRunner::new(), replica, seconds };
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
        self.replica.connect(&self.runner);
    }

    /// The connection to the runner breaks.
    pub(crate) fn disconnect_runner(&self) {
        self.replica.disconnect();
    }

    /// The shared runner of the namespace.
    pub(crate) fn runner_id(&self) -> RunnerId {
        replica::runner_id()
    }

    /// Lets time pass, for the clock and for Tokio.
    pub(crate) async fn pass(&self, time: Duration) {
        self.seconds.fetch_add(time.as_secs(), Ordering::Relaxed);
        tokio::time::advance(time).await;
    }

    /// Reconciles `ada` as the controller would, with what the watches show by now; a new one twice, because its finalizer
    /// comes after its status.
    pub(crate) async fn reconcile(&mut self) -> Result<Action, workspace::Error> {
        let action = self.reconcile_once().await?;
        if self.context.ledger.unheld_for(ADA_UID).is_none() {
            return Ok(action);
        }
        self.pass(FINALIZER_PAUSE).await;
        self.reconcile_once().await
    }

    /// Reconciles `ada` once.
    pub(crate) async fn reconcile_once(&mut self) -> Result<Action, workspace::Error> {
        self.reconcile_one("ada").await
    }

    /// The same for another Workspace.
    pub(crate) async fn reconcile_one(&mut self, name: &str) -> Result<Action, workspace::Error> {
        self.sync();
        let watched = self.context.stores.workspaces.get(&ObjectRef::new(name).within("team-a")).unwrap();
        let result = workspace::reconcile(watched, Arc::clone(&self.context)).await;
        self.replica.announce().await;
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
        self.replica.sync();
        for watched in self.context.stores.workspaces.state() {
            workspace::notice(&watched, &self.context);
        }
    }
}
