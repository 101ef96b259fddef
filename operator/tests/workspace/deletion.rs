//! Deleting a Workspace: its runner lets go, or it is abandoned loudly; it never hangs.

use crate::fixture::{ADA, ADA_UID, Fixture, STATEFUL_SET};
use http::{Method, StatusCode};
use operator::{runner::name::RunnerId, runner_client::RunnerConnection, workspace::Error};
use serde_json::json;
use std::{sync::Arc, time::Duration};

async fn bound() -> Fixture {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.reconcile_runners().await.unwrap();
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    fixture.api.take_writes();
    fixture
}

#[tokio::test(start_paused = true)]
async fn a_runner_removes_the_workspace_and_the_finalizer_goes() {
    let mut fixture = bound().await;
    fixture.delete_ada();
    fixture.reconcile_with_stale_stores().await.unwrap();
    assert_eq!(fixture.runner.deletes(), [(ADA_UID.to_owned(), 1)]);
    assert!(fixture.api.get(ADA).is_none());
    assert_eq!(fixture.api.take_writes().len(), 1, "only the finalizer");
}

#[tokio::test(start_paused = true)]
async fn a_workspace_that_only_the_watch_still_shows_is_not_cleaned_up_again() {
    let mut fixture = bound().await;
    fixture.delete_ada();
    fixture.reconcile_with_stale_stores().await.unwrap();
    fixture.reconcile_with_stale_stores().await.unwrap();
    assert_eq!(fixture.runner.deletes().len(), 1);
    assert_eq!(fixture.api.take_writes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_workspace_that_was_never_bound_goes_at_once() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.reconcile().await.unwrap_err();
    fixture.delete_ada();
    fixture.reconcile().await.unwrap();
    assert!(fixture.api.get(ADA).is_none());
    assert!(fixture.api.events().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_is_away_is_waited_for_until_the_deadline_and_then_abandoned_loudly() {
    let mut fixture = bound().await;
    fixture.disconnect_runner();
    fixture.delete_ada();
    let error = fixture.reconcile().await.unwrap_err();
    assert!(matches!(error, Error::CleanupPending { .. }), "{error}");
    assert!(error.retry(20).unwrap() <= Duration::from_secs(10));
    let ready = fixture.condition("Ready").unwrap();
    assert!(ready.starts_with("False Deleting: waiting for the runner lodge-runner-0"), "{ready}");
    fixture.api.take_writes();
    fixture.pass(Duration::from_secs(60)).await;
    fixture.reconcile().await.unwrap_err();
    assert_eq!(fixture.api.take_writes(), [""; 0], "waiting writes nothing");
    fixture.pass(Duration::from_secs(61)).await;
    fixture.reconcile().await.unwrap();
    assert!(fixture.api.get(ADA).is_none());
    let events = fixture.api.events();
    let last = events.iter().find(|event| event.starts_with("CleanupAbandoned"));
    assert!(last.unwrap().contains("the deadline has passed"), "{events:?}");
    assert!(
        fixture.context.metrics.expose().contains("cleanups_abandoned_total{reason=\"deadline_exceeded\"} 1")
    );
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passed_while_no_operator_ran_gives_the_runner_time_to_be_connected() {
    let old = bound().await;
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.reconcile_runners().await.unwrap();
    fixture.api.put(ADA, old.api.get(ADA).unwrap());
    fixture.delete_ada();
    let mut object = fixture.api.get(ADA).unwrap();
    object["metadata"]["deletionTimestamp"] = json!("2020-01-01T00:00:00Z");
    fixture.api.put(ADA, object);
    fixture.reconcile().await.unwrap_err();
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.runner.deletes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_comes_back_in_time_removes_the_workspace() {
    let mut fixture = bound().await;
    fixture.runner.hang(true);
    fixture.delete_ada();
    fixture.reconcile().await.unwrap_err();
    fixture.runner.hang(false);
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.runner.deletes().len(), 1);
    assert!(!fixture.api.events().iter().any(|event| event.starts_with("CleanupAbandoned")));
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_does_not_exist_any_more_is_not_waited_for() {
    let mut fixture = bound().await;
    fixture.disconnect_runner();
    fixture.api.remove(STATEFUL_SET);
    fixture.delete_ada();
    fixture.reconcile().await.unwrap();
    assert!(fixture.api.get(ADA).is_none());
    assert!(fixture.api.events().iter().any(|event| event.contains("doesn't exist any more")));
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_being_deleted_is_never_held_up() {
    let mut fixture = bound().await;
    fixture.disconnect_runner();
    let deleted = json!({"metadata": {"name": "team-a", "deletionTimestamp": "2027-01-15T08:00:00Z"}});
    fixture.api.put("/api/v1/namespaces/team-a", deleted);
    fixture.delete_ada();
    fixture.reconcile().await.unwrap();
    assert!(fixture.api.get(ADA).is_none());
    fixture.api.take_writes();
    fixture.reconcile_runners().await.unwrap();
    assert_eq!(fixture.api.take_writes(), [""; 0], "Kubernetes removes the rest");
}

#[tokio::test(start_paused = true)]
async fn a_person_can_end_the_wait() {
    let mut fixture = bound().await;
    fixture.disconnect_runner();
    fixture.delete_ada();
    fixture.reconcile().await.unwrap_err();
    let mut object = fixture.api.get(ADA).unwrap();
    object["metadata"]["annotations"] = json!({"lodge.dev/abandon-data": "true"});
    fixture.api.put(ADA, object);
    fixture.reconcile().await.unwrap();
    assert!(fixture.api.get(ADA).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_workspace_that_cannot_be_read_can_be_deleted() {
    let mut fixture = bound().await;
    fixture.put_ada(json!({"idle": {"sleepAfter": "a while"}}));
    fixture.reconcile().await.unwrap();
    fixture.delete_ada();
    fixture.reconcile().await.unwrap();
    assert!(fixture.api.get(ADA).is_none());
    assert_eq!(fixture.runner.deletes().len(), 1);
}

const NAMESPACE: &str = "/api/v1/namespaces/team-a";

fn end_namespace(fixture: &mut Fixture) {
    let deleted = json!({"metadata": {"name": "team-a", "deletionTimestamp": "2027-01-15T08:00:00Z"}});
    fixture.api.put(NAMESPACE, deleted);
    fixture.sync();
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_ended_while_no_operator_ran_is_let_go_by_the_next_one() {
    let old = bound().await;
    let mut fixture = Fixture::new(&[]);
    fixture.api.put(ADA, old.api.get(ADA).unwrap());
    end_namespace(&mut fixture);
    fixture.delete_ada();
    // It never gets to know the runner, whose pod is gone by now.
    fixture.reconcile().await.unwrap();
    assert!(fixture.api.get(ADA).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_gone_from_the_watch_holds_up_nobody() {
    let mut fixture = bound().await;
    fixture.disconnect_runner();
    fixture.api.remove(NAMESPACE);
    fixture.delete_ada();
    fixture.reconcile().await.unwrap();
    assert!(fixture.api.get(ADA).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_dedicated_workspace_does_not_hold_up_its_namespace_either() {
    let mut fixture = Fixture::with_ada(json!({"isolation": "Dedicated"}));
    fixture.reconcile_runners().await.unwrap();
    let runner = RunnerId { pod: "lodge-runner-ada-0".to_owned(), ..fixture.runner_id() };
    fixture.context.roster.connected(&runner, Arc::clone(&fixture.runner) as _, []);
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.ada().status.unwrap().runner.unwrap().name, "lodge-runner-ada-0");
    // The pod is stopping, and answers nothing any more.
    fixture.runner.hang(true);
    end_namespace(&mut fixture);
    fixture.delete_ada();
    fixture.reconcile().await.unwrap();
    assert!(fixture.api.get(ADA).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_workspace_that_was_never_bound_goes_with_its_namespace() {
    let mut fixture = Fixture::with_ada(json!({"env": [
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "k"}}},
    ]}));
    fixture.reconcile().await.unwrap_err();
    end_namespace(&mut fixture);
    fixture.delete_ada();
    fixture.reconcile().await.unwrap();
    assert!(fixture.api.get(ADA).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_that_cannot_be_removed_at_once_is_tried_again() {
    let mut fixture = bound().await;
    end_namespace(&mut fixture);
    fixture.delete_ada();
    fixture.api.fail(Method::PATCH, "workspaces/ada", StatusCode::CONFLICT, 1);
    let error = fixture.reconcile().await.unwrap_err();
    assert!(error.retry(0).is_some_and(|pause| pause <= Duration::from_secs(1)), "{error}");
    fixture.reconcile().await.unwrap();
    assert!(fixture.api.get(ADA).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_runner_with_a_later_epoch_than_the_record_is_made_to_let_go_too() {
    let mut fixture = bound().await;
    let config = fixture.runner.config(ADA_UID).unwrap();
    fixture.runner.put(ADA_UID, &vm_api::WorkspaceConfig { epoch: 7, ..config }).await.unwrap();
    fixture.delete_ada();
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.runner.deletes(), [(ADA_UID.to_owned(), u64::MAX)]);
    assert!(fixture.api.get(ADA).is_none());
}
