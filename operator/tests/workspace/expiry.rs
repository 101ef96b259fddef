//! Deleting a Workspace that nobody has used for `spec.idle.deleteAfter`.

use crate::{
    fixture::{ADA, ADA_UID, Fixture},
    workspace_state::never_used,
};
use http::{Method, StatusCode};
use kube::runtime::controller::Action;
use serde_json::json;
use std::time::Duration;
use vm_api::{Power, SleepReason, Wake, WakeCause, WorkspaceState};

const HOUR: Duration = Duration::from_secs(3600);

/// A Workspace that is to be deleted after an idle hour, bound just now.
async fn bound() -> Fixture {
    let mut fixture = Fixture::with_ada(json!({"idle": {"sleepAfter": "1m", "deleteAfter": "1h"}}));
    fixture.connect_runner();
    assert_eq!(fixture.reconcile().await.unwrap(), Action::requeue(HOUR));
    fixture
}

/// The runner tells that something changed, and says so when it is asked.
fn tell(fixture: &Fixture, change: impl FnOnce(&mut WorkspaceState)) {
    let mut state = never_used(ADA_UID, &fixture.runner.config(ADA_UID).unwrap());
    change(&mut state);
    fixture.runner.say(state.clone());
    fixture.context.roster.observe(&fixture.runner_id(), state);
}

fn woken(fixture: &Fixture) -> Option<Wake> {
    let at = fixture.context.clock.time().0.to_string();
    Some(Wake { at, cause: WakeCause::Exec, queued_ms: 0, booted_ms: 1, first_byte_ms: None })
}

fn is_being_deleted(fixture: &Fixture) -> bool {
    !fixture.api.get(ADA).unwrap()["metadata"]["deletionTimestamp"].is_null()
}

#[tokio::test(start_paused = true)]
async fn one_that_was_never_used_goes_after_its_time_counted_from_when_it_was_bound() {
    let mut fixture = bound().await;
    assert!(fixture.ada().status.unwrap().idle_since.is_some());
    fixture.pass(HOUR - Duration::from_secs(1)).await;
    assert_eq!(fixture.reconcile().await.unwrap(), Action::requeue(Duration::from_secs(1)));
    assert!(!is_being_deleted(&fixture));
    fixture.pass(Duration::from_secs(1)).await;
    fixture.reconcile().await.unwrap();
    assert!(is_being_deleted(&fixture));
    let events = fixture.api.events();
    assert!(events.iter().any(|event| event.starts_with("Expired: deleted with its files")), "{events:?}");
    assert!(fixture.context.metrics.expose().contains("workspaces_expired_total 1"));
    fixture.reconcile().await.unwrap();
    assert!(fixture.api.get(ADA).is_none());
    assert_eq!(fixture.runner.deletes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_time_begins_anew_whenever_it_goes_to_sleep() {
    let mut fixture = bound().await;
    fixture.pass(HOUR / 2).await;
    let wake = woken(&fixture);
    tell(&fixture, |state| {
        (state.power, state.sleep, state.last_wake) = (Power::Awake, None, wake.clone());
    });
    fixture.reconcile().await.unwrap();
    fixture.pass(Duration::from_secs(60)).await;
    fixture.reconcile().await.unwrap();
    tell(&fixture, |state| (state.sleep, state.last_wake) = (Some(SleepReason::Idle), wake.clone()));
    fixture.reconcile().await.unwrap();
    fixture.pass(HOUR - Duration::from_secs(60)).await;
    fixture.reconcile().await.unwrap();
    assert!(!is_being_deleted(&fixture));
    fixture.pass(Duration::from_secs(61)).await;
    fixture.reconcile().await.unwrap();
    assert!(is_being_deleted(&fixture));
}

#[tokio::test(start_paused = true)]
async fn a_moment_awake_that_no_status_tells_of_counts_too() {
    let mut fixture = bound().await;
    fixture.pass(HOUR - Duration::from_secs(10)).await;
    let wake = woken(&fixture);
    // It woke and sleeps again before anything was written.
    tell(&fixture, |state| (state.sleep, state.last_wake) = (Some(SleepReason::NotStarted), wake));
    fixture.reconcile().await.unwrap();
    fixture.pass(Duration::from_secs(20)).await;
    fixture.reconcile().await.unwrap();
    assert!(!is_being_deleted(&fixture));
    fixture.pass(HOUR).await;
    fixture.reconcile().await.unwrap();
    assert!(is_being_deleted(&fixture));
}

#[tokio::test(start_paused = true)]
async fn the_time_goes_on_while_no_operator_runs() {
    let old = bound().await;
    let mut fixture = Fixture::new(&[]);
    fixture.api.put(ADA, old.api.get(ADA).unwrap());
    fixture.pass(HOUR + Duration::from_secs(1)).await;
    fixture.sync();
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    assert!(is_being_deleted(&fixture));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_being_woken_right_now_stays() {
    let mut fixture = bound().await;
    fixture.pass(HOUR + Duration::from_secs(1)).await;
    // The stream hasn't told yet.
    let mut waking = never_used(ADA_UID, &fixture.runner.config(ADA_UID).unwrap());
    waking.power = Power::Waking;
    fixture.runner.say(waking);
    fixture.reconcile().await.unwrap();
    assert!(!is_being_deleted(&fixture));
    assert!(!fixture.api.events().iter().any(|event| event.starts_with("Expired")));
}

#[tokio::test(start_paused = true)]
async fn one_that_was_edited_right_now_stays() {
    let mut fixture = bound().await;
    fixture.pass(HOUR + Duration::from_secs(1)).await;
    let mut object = fixture.api.get(ADA).unwrap();
    object["spec"]["idle"]["deleteAfter"] = json!("720h");
    fixture.api.put(ADA, object);
    fixture.reconcile_with_stale_stores().await.unwrap();
    assert!(!is_being_deleted(&fixture));
    fixture.reconcile().await.unwrap();
    assert!(!is_being_deleted(&fixture));
}

#[tokio::test(start_paused = true)]
async fn one_whose_runner_cannot_be_asked_stays() {
    let mut fixture = bound().await;
    fixture.pass(HOUR + Duration::from_secs(1)).await;
    fixture.runner.hang(true);
    assert_eq!(fixture.reconcile().await.unwrap(), Action::requeue(Duration::from_secs(30)));
    assert!(!is_being_deleted(&fixture));
    fixture.runner.hang(false);
    fixture.api.fail(Method::DELETE, "workspaces", StatusCode::INTERNAL_SERVER_ERROR, 1);
    fixture.reconcile().await.unwrap_err();
    fixture.reconcile().await.unwrap();
    assert!(is_being_deleted(&fixture));
}

#[tokio::test(start_paused = true)]
async fn timers_for_a_far_future_are_set_for_a_day() {
    let mut fixture = Fixture::with_ada(json!({"idle": {"sleepAfter": "1m", "deleteAfter": "87600h"}}));
    fixture.connect_runner();
    assert_eq!(fixture.reconcile().await.unwrap(), Action::requeue(24 * HOUR));
}

#[tokio::test(start_paused = true)]
async fn fractions_of_a_second_that_no_status_can_hold_are_no_change() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    fixture.pass(HOUR).await;
    // As a runner writes it.
    let at = fixture.context.clock.time().0 + jiff::SignedDuration::from_micros(123_456);
    let wake = woken(&fixture).map(|wake| Wake { at: at.to_string(), ..wake });
    tell(&fixture, |state| (state.power, state.last_wake) = (Power::Awake, wake.clone()));
    fixture.reconcile().await.unwrap();
    fixture.pass(Duration::from_secs(60)).await;
    fixture.reconcile().await.unwrap();
    tell(&fixture, |state| (state.sleep, state.last_wake) = (Some(SleepReason::Idle), wake.clone()));
    for _ in 0..3 {
        fixture.reconcile().await.unwrap();
        fixture.pass(HOUR).await;
    }
    fixture.api.take_writes();
    for _ in 0..3 {
        assert_eq!(fixture.reconcile().await.unwrap(), Action::await_change());
        fixture.pass(HOUR).await;
    }
    assert_eq!(fixture.api.take_writes(), [""; 0], "an idle workspace costs no write");
}
