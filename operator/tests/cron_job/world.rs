//! A cluster with the Workspace `ada` and the CronJob `nightly`, a runner, a clock, and as many operators as a test wants.

use crate::{api_server::ApiServer, in_memory_runner::InMemoryRunner, replica::Replica};
use jiff::Timestamp;
use kube::runtime::{controller::Action, reflector::ObjectRef};
use lodge_crds::{CronJob, CronJobStatus, RunOutcome, RunStatus};
use operator::{
    clock::Clock,
    context::Context,
    cron_job::{self, run_name},
    runner_client::RunnerConnection,
    store::WatchedCronJob,
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};
use vm_api::{RunEnd, WorkspaceConfig};

pub(crate) const NIGHTLY: &str = "/apis/lodge.dev/v1alpha1/namespaces/team-a/cronjobs/nightly";
pub(crate) const ADA: &str = "/apis/lodge.dev/v1alpha1/namespaces/team-a/workspaces/ada";
pub(crate) const ADA_UID: &str = "uid-of-ada";
/// When worlds begin: a Sunday.
pub(crate) const START: &str = "2026-03-01T00:00:00Z";

/// A cluster.
pub(crate) struct World {
    pub(crate) api: ApiServer,
    pub(crate) runner: Arc<InMemoryRunner>,
    clock: Arc<AtomicI64>,
}

/// An operator.
pub(crate) struct Operator {
    pub(crate) context: Arc<Context>,
    replica: Replica,
}

impl World {
    /// A cluster with a Workspace that is Ready on a runner.
    pub(crate) async fn new() -> Self {
        let world = Self { api: ApiServer::default(), runner: InMemoryRunner::new(), clock: Arc::default() };
        world.set_clock(START);
        world.api.put("/api/v1/namespaces/team-a", json!({ "metadata": { "name": "team-a" } }));
        world.put_ada("True", "bound to lodge-runner-0");
        world.tell_runner().await;
        world
    }

    /// The runner is told about the Workspace.
    pub(crate) async fn tell_runner(&self) {
        self.runner.put(ADA_UID, &WorkspaceConfig::new("team-a", "ada")).await.unwrap();
    }

    /// The same, with the CronJob `nightly` of this spec, created now.
    pub(crate) async fn with_nightly(spec: Value) -> Self {
        let world = Self::new().await;
        world.put_nightly(spec);
        world
    }

    /// Creates or changes the CronJob, keeping its metadata and status. Defaults are those of the schema.
    pub(crate) fn put_nightly(&self, spec: Value) {
        let mut object = self.api.get(NIGHTLY).unwrap_or_else(|| {
            json!({
                "apiVersion": "lodge.dev/v1alpha1", "kind": "CronJob",
                "metadata": {
                    "name": "nightly", "namespace": "team-a",
                    "creationTimestamp": Clock::time(&self.clock()),
                },
            })
        });
        let mut whole =
            json!({ "workspaceRef": { "name": "ada" }, "action": { "exec": { "command": "make" } } });
        for (key, value) in spec.as_object().unwrap() {
            whole[key] = value.clone();
        }
        object["spec"] = whole;
        self.api.put(NIGHTLY, object);
    }

    /// Sets the annotation that asks for a run.
    pub(crate) fn request(&self, value: &str) {
        let mut object = self.api.get(NIGHTLY).unwrap();
        object["metadata"]["annotations"] = json!({ "lodge.dev/run-now": value });
        self.api.put(NIGHTLY, object);
    }

    /// Stores the Secret `keys` with this `token`, in base64.
    pub(crate) fn put_token(&self, token: &str) {
        let metadata = json!({ "name": "keys", "namespace": "team-a" });
        self.api.put(
            "/api/v1/namespaces/team-a/secrets/keys",
            json!({ "metadata": metadata, "data": { "token": token } }),
        );
    }

    /// Stores the Workspace with this condition.
    pub(crate) fn put_ada(&self, ready: &str, message: &str) {
        let condition = json!({
            "type": "Ready", "status": ready, "reason": "Bound", "message": message,
            "lastTransitionTime": START,
        });
        self.api.put(
            ADA,
            json!({
                "apiVersion": "lodge.dev/v1alpha1", "kind": "Workspace",
                "metadata": { "name": "ada", "namespace": "team-a", "uid": ADA_UID }, "spec": {},
                "status": { "runner": { "name": "lodge-runner-0", "epoch": 1 }, "conditions": [condition] },
            }),
        );
    }

    /// An operator that has just begun to lead, and is connected to the runner.
    pub(crate) fn operator(&self) -> Operator {
        self.operator_with(self.clock())
    }

    /// The same, whose clock shows what has passed of Tokio's time.
    pub(crate) fn operator_with_running_clock(&self) -> Operator {
        let (start, began) = (self.clock().now(), tokio::time::Instant::now());
        self.operator_with(Clock::new(move || start + began.elapsed()))
    }

    fn operator_with(&self, clock: Clock) -> Operator {
        let replica = Replica::new(&self.api, &[], clock);
        replica.connect(&self.runner);
        let mut operator = Operator { context: Arc::clone(&replica.context), replica };
        operator.sync();
        operator
    }

    /// An operator that has reconciled, and waits for what comes.
    pub(crate) async fn settled_operator(&self) -> Operator {
        let mut operator = self.operator();
        operator.reconcile().await.unwrap();
        operator
    }

    /// The same, which has reconciled again at a later instant: what is due then has begun.
    pub(crate) async fn operator_at(&self, time: &str) -> Operator {
        let mut operator = self.settled_operator().await;
        self.pass_until(time).await;
        operator.reconcile().await.unwrap();
        operator
    }

    fn clock(&self) -> Clock {
        let shown = Arc::clone(&self.clock);
        Clock::new(move || {
            let millis = u64::try_from(shown.load(Ordering::Relaxed)).unwrap();
            SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
        })
    }

    /// Now.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock().time().0
    }

    /// Sets the clock, forwards or back. Timers don't notice.
    pub(crate) fn set_clock(&self, time: &str) {
        let time: Timestamp = time.parse().unwrap();
        self.clock.store(time.as_millisecond(), Ordering::Relaxed);
        self.runner.set_time(self.now().to_string());
    }

    /// Lets time pass, for the clock and for timers.
    pub(crate) async fn pass(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).unwrap();
        self.clock.fetch_add(millis, Ordering::Relaxed);
        self.runner.set_time(self.now().to_string());
        tokio::time::advance(time).await;
    }

    /// Lets time pass until then.
    pub(crate) async fn pass_until(&self, time: &str) {
        let time: Timestamp = time.parse().unwrap();
        self.pass(Duration::try_from(time.duration_since(self.now())).unwrap()).await;
    }

    /// The run that goes on ends with this exit code.
    pub(crate) fn finish(&self, name: &str, exit_code: u8) {
        self.runner.finish(name, &self.now().to_string(), RunEnd::Exited, Some(exit_code), "");
    }

    /// The status of the CronJob.
    pub(crate) fn status(&self) -> CronJobStatus {
        let cron_job: CronJob = serde_json::from_value(self.api.get(NIGHTLY).unwrap()).unwrap();
        cron_job.status.unwrap_or_default()
    }

    /// Its runs, as `HH:MM:SS outcome`, newest first.
    pub(crate) fn runs(&self) -> Vec<String> {
        let text = |run: &RunStatus| {
            let outcome = run.outcome.map_or("going on".to_owned(), |outcome| format!("{outcome:?}"));
            format!("{} {outcome}", run.scheduled_for.0.strftime("%H:%M:%S"))
        };
        self.status().runs.iter().map(text).collect()
    }

    /// A condition, as `status reason: message`.
    pub(crate) fn condition(&self, kind: &str) -> Option<String> {
        let condition = self.status().conditions.into_iter().find(|condition| condition.type_ == kind)?;
        Some(format!("{} {}: {}", condition.status, condition.reason, condition.message))
    }

    /// The instants of the runs that began, as `HH:MM:SS`.
    pub(crate) fn begun(&self) -> Vec<String> {
        let id = run_name::id("uid-of-nightly");
        let instant =
            |name: &String| run_name::instant_of(name, &id).map(|at| at.strftime("%H:%M:%S").to_string());
        self.runner.begun().iter().map(|name| instant(name).unwrap_or_else(|| "manual".to_owned())).collect()
    }

    /// How the last run that ended did so.
    pub(crate) fn last_outcome(&self) -> Option<RunOutcome> {
        self.status().runs.iter().find_map(|run| run.outcome)
    }
}

impl Operator {
    /// Is connected to a runner that has told what it knows.
    pub(crate) fn connect(&self, runner: &Arc<InMemoryRunner>) {
        self.replica.connect(runner);
    }

    /// The connection to the runner breaks.
    pub(crate) fn disconnect(&self) {
        self.replica.disconnect();
    }

    /// Reconciles with what the watches show by now.
    pub(crate) async fn reconcile(&mut self) -> Result<Action, cron_job::Error> {
        self.sync();
        self.reconcile_with_stale_stores().await
    }

    /// The same, but the watches lag behind.
    pub(crate) async fn reconcile_with_stale_stores(&mut self) -> Result<Action, cron_job::Error> {
        let result = cron_job::reconcile(self.nightly(), Arc::clone(&self.context)).await;
        self.replica.announce().await;
        result
    }

    /// What the controller would do about this failure.
    pub(crate) fn after(&self, error: &cron_job::Error) -> Action {
        cron_job::error_policy(self.nightly(), error, Arc::clone(&self.context))
    }

    /// The CronJob as the watches show it.
    fn nightly(&self) -> Arc<WatchedCronJob> {
        self.context.stores.cron_jobs.get(&ObjectRef::new("nightly").within("team-a")).unwrap()
    }

    /// How long the operator wants to wait.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.context.cron_jobs.register.wait(&run_name::id("uid-of-nightly"))
    }

    /// Learns from the runner's stream that a run ended. Returns whether that asks for a reconcile.
    pub(crate) async fn learn(&self, world: &World, name: &str) -> bool {
        let runs = world.runner.list_runs(ADA_UID).await.unwrap().items;
        let run = runs.into_iter().find(|run| run.name == name).unwrap();
        self.context.cron_jobs.register.told("team-a", run).is_some()
    }

    /// The run ends with this exit code, the operator learns it and reconciles.
    pub(crate) async fn sees_end(&mut self, world: &World, name: &str, exit_code: u8) {
        world.finish(name, exit_code);
        assert!(self.learn(world, name).await);
        self.reconcile().await.unwrap();
    }

    /// Lives through time as the controller would, until then. Each run takes so long.
    pub(crate) async fn live(&mut self, world: &World, until: &str, takes: Duration) {
        let until: Timestamp = until.parse().unwrap();
        self.sync();
        while world.now() < until {
            self.reconcile_with_stale_stores().await.unwrap();
            for name in world.status().active {
                world.pass(takes).await;
                world.finish(&name, 0);
                assert!(self.learn(world, &name).await);
                self.reconcile_with_stale_stores().await.unwrap();
            }
            let left = Duration::try_from(until.duration_since(world.now())).unwrap_or_default();
            world.pass(self.wait().unwrap_or(left).min(left)).await;
        }
    }

    /// Brings the stores up to date, as the watches would.
    pub(crate) fn sync(&mut self) {
        self.replica.sync();
    }

    /// A line of the metrics.
    pub(crate) fn metric(&self, name: &str) -> Option<String> {
        let text = self.context.metrics.expose();
        let line = text.lines().find(|line| line.starts_with(&format!("lodge_operator_{name} ")))?;
        Some(line.rsplit(' ').next().unwrap().to_owned())
    }
}
