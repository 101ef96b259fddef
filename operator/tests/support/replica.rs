//! One replica of the operator, leading on an API server in memory. It learns nothing by itself: its watches show what is
//! stored when a test says [`Replica::sync`], and its announcements are stored when a test says [`Replica::announce`].

use crate::{api_server::ApiServer, in_memory_runner::InMemoryRunner};
use clap::Parser;
use kube::runtime::{reflector::store::Writer, watcher::Event};
use operator::{
    args::{Args, Config},
    clock::Clock,
    context::Context,
    event::{Announcer, Outbox, Publisher},
    metrics::Metrics,
    runner::name::RunnerId,
    runner_client::RunnerConnection,
    store::Writers,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;

/// A replica.
pub(crate) struct Replica {
    pub(crate) context: Arc<Context>,
    api: ApiServer,
    writers: Writers,
    publisher: Publisher,
    outbox: Outbox,
}

impl Replica {
    /// One that was told these arguments, and has seen nothing yet.
    pub(crate) fn new(api: &ApiServer, arguments: &[&str], clock: Clock) -> Self {
        let given = ["operator", "--runner-image=lodge/vm-runner:1"].iter().chain(arguments);
        let config = Config::from(Args::parse_from(given));
        let (writers, metrics) = (Writers::default(), Arc::new(Metrics::default()));
        let (announcer, outbox) = Announcer::new();
        let publisher = Publisher::new(api.client(), &config.identity, Arc::clone(&metrics));
        let context = Context::new(api.client(), config, writers.stores(), announcer, metrics, clock);
        Self { context: Arc::new(context), api: api.clone(), writers, publisher, outbox }
    }

    /// Is connected to a runner that has told what it knows.
    pub(crate) fn connect(&self, runner: &Arc<InMemoryRunner>) {
        let connection: Arc<dyn RunnerConnection> = Arc::clone(runner) as _;
        self.context.roster.connected(&runner_id(), connection, runner.states());
    }

    /// The connection to the runner breaks.
    pub(crate) fn disconnect(&self) {
        self.context.roster.disconnected(&runner_id(), Some("connection refused".to_owned()));
    }

    /// What it wants to announce is stored.
    pub(crate) async fn announce(&mut self) {
        self.publisher.flush(&mut self.outbox).await;
    }

    /// Brings the stores up to date, as the watches would.
    pub(crate) fn sync(&mut self) {
        let api = &self.api;
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
        fill(workspaces, api.list("/apis/lodge.dev/v1alpha1", "workspaces"));
        fill(cron_jobs, api.list("/apis/lodge.dev/v1alpha1", "cronjobs"));
        fill(namespaces, api.list("/api/v1", "namespaces"));
        fill(pods, api.list("/api/v1", "pods"));
        fill(stateful_sets, ours(api.list("/apis/apps/v1", "statefulsets")));
        fill(services, ours(api.list("/api/v1", "services")));
        fill(network_policies, ours(api.list("/apis/networking.k8s.io/v1", "networkpolicies")));
        fill(secrets, ours(api.list("/api/v1", "secrets")));
    }
}

/// The shared runner of the namespace `team-a`.
pub(crate) fn runner_id() -> RunnerId {
    RunnerId { namespace: "team-a".to_owned(), pod: "lodge-runner-0".to_owned() }
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
