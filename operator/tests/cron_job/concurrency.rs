//! Runs that are due while others go on.

use crate::world::{ADA_UID, Operator, World};
use serde_json::json;
use std::time::Duration;
use vm_api::RunEnd;

const MINUTE: Duration = Duration::from_secs(60);

async fn going_on(policy: &str, more: serde_json::Value) -> (World, Operator) {
    let mut spec = json!({ "schedule": "* * * * *", "concurrencyPolicy": policy });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let world = World::with_nightly(spec).await;
    let mut operator = world.settled_operator().await;
    world.pass(MINUTE).await;
    operator.reconcile().await.unwrap();
    (world, operator)
}

async fn end(world: &World, operator: &mut Operator, name: &str, end: RunEnd) {
    let exit_code = if end == RunEnd::Exited { 0 } else { 143 };
    world.runner.finish(name, &world.now().to_string(), end, Some(exit_code), "");
    assert!(operator.learn(world, name).await);
    operator.reconcile().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn allow_lets_runs_go_on_side_by_side() {
    let (world, mut operator) = going_on("Allow", json!({})).await;
    world.pass(MINUTE).await;
    operator.reconcile().await.unwrap();
    assert_eq!(world.runs(), ["00:02:00 going on", "00:01:00 going on"]);
    assert_eq!(world.status().active, world.runner.begun(), "oldest first");
}

#[tokio::test(start_paused = true)]
async fn allow_stops_at_what_a_runner_takes_and_goes_on_when_there_is_room() {
    let (world, mut operator) = going_on("Allow", json!({ "catchUp": "All" })).await;
    world.pass(MINUTE * 99).await;
    operator.reconcile().await.unwrap();
    assert_eq!(world.begun().len(), vm_api::run::MAX_ACTIVE);
    let first = world.runner.begun()[0].clone();
    end(&world, &mut operator, &first, RunEnd::Exited).await;
    assert_eq!(world.begun().len(), vm_api::run::MAX_ACTIVE + 1);
    assert_eq!(world.begun().last().unwrap(), "01:05:00");
}

#[tokio::test(start_paused = true)]
async fn forbid_skips_a_run_and_says_because_of_which() {
    let (world, mut operator) = going_on("Forbid", json!({})).await;
    world.pass(MINUTE).await;
    operator.reconcile().await.unwrap();
    assert_eq!(world.runs(), ["00:02:00 Skipped", "00:01:00 going on"]);
    let first = world.runner.begun()[0].clone();
    let why = world.status().runs[0].output_tail.clone().unwrap();
    assert_eq!(why, format!("{first} was still going on"));
    assert_eq!(world.status().last_schedule_time.unwrap().0.to_string(), "2026-03-01T00:01:00Z");
    end(&world, &mut operator, &first, RunEnd::Exited).await;
    assert_eq!(world.begun().len(), 1, "what was skipped stays so");
    world.pass(MINUTE).await;
    operator.reconcile().await.unwrap();
    assert_eq!(world.begun(), ["00:01:00", "00:03:00"]);
    assert!(world.api.events().is_empty(), "neither is a failure of its own making");
}

#[tokio::test(start_paused = true)]
async fn replace_stops_the_old_run_once_and_begins_the_new_one_after_its_end() {
    let (world, mut operator) = going_on("Replace", json!({})).await;
    world.pass(MINUTE).await;
    operator.reconcile().await.unwrap();
    operator.reconcile().await.unwrap();
    let first = world.runner.begun()[0].clone();
    assert_eq!((world.runner.stopped(), world.begun().len()), (vec![first.clone()], 1));
    world.pass(Duration::from_secs(3)).await;
    world.api.take_writes();
    end(&world, &mut operator, &first, RunEnd::Stopped).await;
    assert_eq!(world.runs(), ["00:02:00 going on", "00:01:00 Replaced"]);
    assert_eq!(world.api.take_writes().len(), 1, "an end and a beginning in one");
    assert_eq!(world.status().missed, None);
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_fails_is_tried_again() {
    let (world, mut operator) = going_on("Replace", json!({})).await;
    world.pass(MINUTE).await;
    world.runner.lose_answers(true);
    operator.reconcile().await.unwrap_err();
    world.runner.lose_answers(false);
    operator.reconcile().await.unwrap();
    assert_eq!(world.runner.stopped().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_run_keeps_to_the_workspace_that_it_began_in() {
    let (world, mut operator) = going_on("Forbid", json!({})).await;
    let elsewhere = json!({ "schedule": "* * * * *", "workspaceRef": { "name": "bob" } });
    world.put_nightly(elsewhere);
    operator.reconcile().await.unwrap_err();
    assert_eq!(world.runs(), ["00:01:00 going on"], "not lost, only elsewhere");
    let first = world.runner.begun()[0].clone();
    world.finish(&first, 0);
    operator.learn(&world, &first).await;
    operator.reconcile().await.unwrap_err();
    assert_eq!(world.runs(), ["00:01:00 Succeeded"]);
    assert_eq!(world.status().runs[0].workspace_uid.as_deref(), Some(ADA_UID));
}
