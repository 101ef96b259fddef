//! What wakes a CronJob, end to end: the timers of the controller, and what a runner's stream tells.

use crate::{
    in_memory_runner::InMemoryRunner,
    replica::runner_id,
    world::{ADA_UID, World},
};
use async_trait::async_trait;
use futures::{StreamExt, channel::mpsc};
use kube::runtime::{
    controller::{self, applier},
    reflector::ObjectRef,
    watcher,
};
use operator::{
    cron_job, follow,
    runner_client::{Error, RunnerAddress, RunnerClient, RunnerConnection},
    spawn::spawn,
    store::WatchedCronJob,
};
use serde_json::json;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How precise a run has to be.
const PRECISION: Duration = Duration::from_millis(100);

#[tokio::test(start_paused = true)]
async fn a_thousand_cron_jobs_begin_on_time() {
    const COUNT: usize = 1000;
    let world = World::new().await;
    let clock_starts = Instant::now();
    let spec = json!({
        "schedule": "*/10 * * * * *", "concurrencyPolicy": "Allow",
        "workspaceRef": { "name": "ada" }, "action": { "exec": { "command": "make" } },
    });
    for index in 0..COUNT {
        let path = format!("/apis/lodge.dev/v1alpha1/namespaces/team-a/cronjobs/job-{index}");
        let name = format!("job-{index}");
        let metadata = json!({
            "name": name, "namespace": "team-a", "uid": format!("uid-{index}"),
            "creationTimestamp": world.now().to_string(),
        });
        world.api.put(&path, json!({ "metadata": metadata, "spec": spec }));
    }
    let mut operator = world.operator_with_running_clock();
    operator.sync();
    let all = operator.context.stores.cron_jobs.state();
    assert_eq!(all.len(), COUNT);
    let objects: Vec<_> =
        all.iter().map(|watched| Ok::<_, Infallible>(ObjectRef::from_obj(&**watched))).collect();
    let queue = futures::stream::iter(objects).chain(futures::stream::pending());
    let running = applier(
        |watched: Arc<WatchedCronJob>, context| Box::pin(cron_job::reconcile(watched, context)),
        cron_job::error_policy,
        Arc::clone(&operator.context),
        operator.context.stores.cron_jobs.clone(),
        queue.boxed(),
        controller::Config::default().concurrency(64),
    );
    let running = running.for_each(|_| std::future::ready(()));
    let _ = tokio::time::timeout(Duration::from_millis(10_500), running).await;
    assert!(clock_starts.elapsed() < Duration::from_secs(12));
    assert_eq!(world.runner.begun().len(), COUNT);
    let text = operator.context.metrics.expose();
    let sum =
        text.lines().find(|line| line.starts_with("lodge_operator_cron_start_delay_seconds_sum ")).unwrap();
    let sum: f64 = sum.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(sum / 1000.0 < PRECISION.as_secs_f64(), "{sum} s in all");
}

/// Always reaches the same runner.
#[derive(Debug)]
struct OneRunner(Arc<InMemoryRunner>);

#[async_trait]
impl RunnerClient for OneRunner {
    async fn connect(&self, _: &RunnerAddress) -> Result<Arc<dyn RunnerConnection>, Error> {
        Ok(Arc::clone(&self.0) as _)
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_runner_tells_about_a_run_brings_its_cron_job_back() {
    let world = World::with_nightly(json!({ "schedule": "0 3 * * *" })).await;
    let pod = json!({
        "metadata": { "name": runner_id().pod, "namespace": "team-a", "uid": "pod-1" },
        "status": { "podIP": "10.0.0.9", "phase": "Running" },
    });
    world.api.put("/api/v1/namespaces/team-a/pods/lodge-runner-0", pod.clone());
    let mut operator = world.operator();
    operator.sync();
    let (mut pods, events) = mpsc::channel(8);
    let client = Arc::new(OneRunner(Arc::clone(&world.runner)));
    let _following = spawn(follow::run(Arc::clone(&operator.context), client, events));
    operator.reconcile().await.unwrap();
    pods.try_send(Ok(watcher::Event::Apply(serde_json::from_value(pod).unwrap()))).unwrap();
    let due = settle(&operator.context).await;
    assert_eq!(due, 1, "its runner was connected");
    world.pass_until("2026-03-01T03:00:00Z").await;
    operator.reconcile().await.unwrap();
    let name = world.runner.begun().pop().unwrap();
    assert_eq!(settle(&operator.context).await, 0);
    world.finish(&name, 0);
    assert_eq!(settle(&operator.context).await, 1, "its run ended");
    operator.reconcile().await.unwrap();
    assert_eq!(world.runs(), ["03:00:00 Succeeded"]);
    assert!(world.runner.get_run(ADA_UID, &name).await.unwrap().is_finished());
}

/// Lets tasks run until they all wait. Returns how many CronJobs are due then.
async fn settle(context: &operator::context::Context) -> usize {
    for _ in 0..30 {
        tokio::task::yield_now().await;
    }
    context.cron_jobs.due.try_take().len()
}
