//! Each run at most once: leaders that die, leaders that overlap, answers that get lost, runners that restart.

use crate::{
    replica::runner_id,
    world::{ADA, NIGHTLY, World},
};
use http::{Method, StatusCode};
use lodge_crds::RunOutcome;
use operator::cron_job::Error;
use serde_json::json;
use std::{sync::Arc, time::Duration};

const THREE: &str = "2026-03-01T03:00:00Z";

async fn world(more: serde_json::Value) -> World {
    let mut spec = json!({ "schedule": "0 3 * * *" });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    World::with_nightly(spec).await
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_before_the_run_leaves_it_to_the_next() {
    let world = world(json!({})).await;
    let first = world.settled_operator().await;
    drop(first);
    world.pass_until("2026-03-01T03:00:16Z").await;
    world.operator().reconcile().await.unwrap();
    assert_eq!(world.begun(), ["03:00:00"]);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_between_the_request_and_the_status_has_begun_the_only_run() {
    for policy in ["Allow", "Forbid", "Replace"] {
        let world = world(json!({ "concurrencyPolicy": policy })).await;
        let mut first = world.settled_operator().await;
        world.pass_until(THREE).await;
        world.api.fail(Method::PATCH, NIGHTLY, StatusCode::SERVICE_UNAVAILABLE, 1);
        assert!(matches!(first.reconcile().await.unwrap_err(), Error::UpdateStatus(_)));
        drop(first);
        assert!(world.runs().is_empty());
        world.pass(Duration::from_secs(16)).await;
        let mut second = world.settled_operator().await;
        second.reconcile().await.unwrap();
        assert_eq!(
            (world.begun(), world.runs()),
            (vec!["03:00:00".to_owned()], vec!["03:00:00 going on".to_owned()])
        );
        assert!(world.runner.stopped().is_empty(), "{policy}");
        assert_eq!(world.status().missed, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_nobody_noted_counts_for_the_concurrency_policy_of_the_next_leader() {
    let world = World::with_nightly(json!({ "schedule": "* * * * *" })).await;
    let mut first = world.settled_operator().await;
    world.pass(Duration::from_secs(60)).await;
    world.api.fail(Method::PATCH, NIGHTLY, StatusCode::SERVICE_UNAVAILABLE, 1);
    first.reconcile().await.unwrap_err();
    drop(first);
    // By now two more have come; only the last is on time.
    world.pass(Duration::from_secs(125)).await;
    world.operator().reconcile().await.unwrap();
    assert_eq!(world.begun(), ["00:01:00"]);
    assert_eq!(world.runs(), ["00:03:00 Skipped", "00:01:00 going on"]);
    assert_eq!(world.status().missed, Some(1), "the one between");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ended_before_anybody_noted_it_is_noted_with_its_end() {
    let world = world(json!({})).await;
    let mut first = world.settled_operator().await;
    world.pass_until(THREE).await;
    world.api.fail(Method::PATCH, NIGHTLY, StatusCode::SERVICE_UNAVAILABLE, 1);
    first.reconcile().await.unwrap_err();
    drop(first);
    world.pass(Duration::from_secs(5)).await;
    world.finish(&world.runner.begun()[0], 0);
    world.operator().reconcile().await.unwrap();
    assert_eq!((world.begun().len(), world.runs()), (1, vec!["03:00:00 Succeeded".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_gets_lost_begins_nothing_twice() {
    let world = world(json!({})).await;
    let mut operator = world.settled_operator().await;
    world.pass_until(THREE).await;
    world.runner.lose_answers(true);
    let error = operator.reconcile().await.unwrap_err();
    assert!(matches!(error, Error::Runner { .. }), "{error}");
    assert_ne!(operator.after(&error), kube::runtime::controller::Action::await_change());
    world.runner.lose_answers(false);
    world.pass(Duration::from_millis(250)).await;
    operator.reconcile().await.unwrap();
    assert_eq!(
        (world.begun(), world.runs()),
        (vec!["03:00:00".to_owned()], vec!["03:00:00 going on".to_owned()])
    );
    assert_eq!(world.condition("Ready").unwrap(), "True Scheduled: follows the schedule");
}

#[tokio::test(start_paused = true)]
async fn two_leaders_at_the_same_instant_begin_one_run() {
    let world = world(json!({})).await;
    let (mut first, mut second) = (world.settled_operator().await, world.settled_operator().await);
    world.pass_until(THREE).await;
    first.sync();
    second.sync();
    let (one, other) =
        tokio::join!(first.reconcile_with_stale_stores(), second.reconcile_with_stale_stores());
    assert_eq!(u8::from(one.is_ok()) + u8::from(other.is_ok()), 1, "one of two writes is refused");
    assert_eq!(world.begun(), ["03:00:00"]);
    first.reconcile().await.unwrap();
    second.reconcile().await.unwrap();
    assert_eq!((world.begun().len(), world.runs()), (1, vec!["03:00:00 going on".to_owned()]));
    world.finish(&world.runner.begun()[0], 0);
    for operator in [&mut first, &mut second] {
        assert!(operator.learn(&world, &world.runner.begun()[0]).await);
        operator.reconcile().await.unwrap();
    }
    assert_eq!(world.runs(), ["03:00:00 Succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn a_former_leader_that_wakes_up_late_sets_nothing_back() {
    let world = World::with_nightly(json!({ "schedule": "* * * * *" })).await;
    let (mut former, mut leader) = (world.settled_operator().await, world.settled_operator().await);
    leader.live(&world, "2026-03-01T00:05:30Z", Duration::from_secs(1)).await;
    let before = world.status();
    // What it saw last is minutes old.
    assert!(matches!(former.reconcile_with_stale_stores().await.unwrap_err(), Error::UpdateStatus(_)));
    assert_eq!(world.status(), before);
    let begun = world.begun();
    assert_eq!(begun.len(), 5, "the last instant has its run, whoever asks: {begun:?}");
}

#[tokio::test(start_paused = true)]
async fn the_next_leader_learns_how_runs_ended() {
    let world = world(json!({})).await;
    let first = world.operator_at(THREE).await;
    drop(first);
    world.finish(&world.runner.begun()[0], 3);
    world.operator().reconcile().await.unwrap();
    assert_eq!(world.runs(), ["03:00:00 Failed"]);
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_restarts_has_lost_the_run_and_says_so() {
    let world = world(json!({})).await;
    let mut operator = world.operator_at(THREE).await;
    operator.disconnect();
    world.runner.restart();
    operator.reconcile().await.unwrap();
    assert_eq!(world.runs(), ["03:00:00 going on"], "nobody knows yet");
    // Connected, but not told about the workspace yet.
    operator.connect(&world.runner);
    operator.reconcile().await.unwrap();
    assert_eq!(world.runs(), ["03:00:00 going on"]);
    world.tell_runner().await;
    operator.connect(&world.runner);
    operator.reconcile().await.unwrap();
    assert_eq!((world.last_outcome(), world.begun().len()), (Some(RunOutcome::Lost), 1));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_the_runner_has_forgotten_is_lost() {
    let world = world(json!({})).await;
    let mut operator = world.operator_at(THREE).await;
    operator.disconnect();
    world.runner.forget_runs();
    operator.context.roster.connected(
        &runner_id(),
        Arc::new(Other(Arc::clone(&world.runner))),
        world.runner.states(),
    );
    operator.reconcile().await.unwrap();
    assert_eq!(world.last_outcome(), Some(RunOutcome::Lost));
    assert_eq!(world.status().runs[0].output_tail.as_deref(), Some("the runner has forgotten it"));
    assert_eq!(world.begun().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_not_told_is_asked_for_within_a_minute() {
    let world = world(json!({})).await;
    let mut operator = world.operator_at(THREE).await;
    // The first look after its beginning.
    operator.reconcile().await.unwrap();
    world.finish(&world.runner.begun()[0], 0);
    operator.reconcile().await.unwrap();
    assert_eq!(world.runs(), ["03:00:00 going on"]);
    assert!(operator.wait().unwrap() <= Duration::from_secs(60));
    world.pass(Duration::from_secs(60)).await;
    operator.reconcile().await.unwrap();
    assert_eq!(world.runs(), ["03:00:00 Succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_hangs_is_asked_once_in_a_turn_and_not_for_each_run() {
    let spec = json!({ "schedule": "* * * * *", "concurrencyPolicy": "Allow", "catchUp": "All" });
    let world = World::with_nightly(spec).await;
    let mut operator = world.settled_operator().await;
    world.pass(Duration::from_secs(600)).await;
    operator.reconcile().await.unwrap();
    assert_eq!(world.status().active.len(), 10);
    world.pass(Duration::from_secs(50)).await;
    let asked = world.runner.asked();
    world.runner.hang(true);
    operator.reconcile().await.unwrap_err();
    assert_eq!(world.runner.asked(), asked + 1);
    world.runner.hang(false);
    operator.reconcile().await.unwrap();
    assert_eq!(world.runner.asked(), asked + 1 + 10);
}

#[tokio::test(start_paused = true)]
async fn a_run_of_a_workspace_that_is_deleted_is_lost() {
    let world = world(json!({})).await;
    let mut operator = world.operator_at(THREE).await;
    world.api.remove(ADA);
    let error = operator.reconcile().await.unwrap_err();
    assert!(matches!(error, Error::WorkspaceMissing { .. }), "{error}");
    assert_eq!(world.last_outcome(), Some(RunOutcome::Lost));
    assert!(
        world
            .condition("Stalled")
            .unwrap()
            .starts_with("True WorkspaceMissing: spec.workspaceRef: Workspace \"ada\"")
    );
}

/// The same runner over another connection.
#[derive(Debug)]
struct Other(Arc<crate::in_memory_runner::InMemoryRunner>);

#[async_trait::async_trait]
impl operator::runner_client::RunnerConnection for Other {
    async fn put(&self, uid: &str, config: &vm_api::WorkspaceConfig) -> Answer<vm_api::WorkspaceState> {
        self.0.put(uid, config).await
    }
    async fn get(&self, uid: &str) -> Answer<vm_api::WorkspaceState> {
        self.0.get(uid).await
    }
    async fn delete(&self, uid: &str, epoch: u64) -> Answer<()> {
        self.0.delete(uid, epoch).await
    }
    async fn put_run(&self, uid: &str, name: &str, request: &vm_api::RunRequest) -> Answer<vm_api::Run> {
        self.0.put_run(uid, name, request).await
    }
    async fn get_run(&self, uid: &str, name: &str) -> Answer<vm_api::Run> {
        self.0.get_run(uid, name).await
    }
    async fn list_runs(&self, uid: &str) -> Answer<vm_api::RunList> {
        self.0.list_runs(uid).await
    }
    async fn stop_run(&self, uid: &str, name: &str) -> Answer<vm_api::Run> {
        self.0.stop_run(uid, name).await
    }
    async fn watch(&self) -> Answer<futures::stream::BoxStream<'static, Answer<vm_api::WorkspaceChange>>> {
        self.0.watch().await
    }
}

type Answer<T> = Result<T, operator::runner_client::Error>;
