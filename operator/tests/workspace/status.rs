//! What the status says about power, storage and time.

use crate::{
    fixture::{ADA_UID, Fixture},
    workspace_state::never_used,
};
use kube::runtime::controller::Action;
use lodge_crds::ObservedPower;
use serde_json::json;
use std::time::Duration;
use vm_api::{Power, SleepReason, Usage, Wake, WakeCause, WorkspaceState};

async fn bound() -> Fixture {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    fixture.api.take_writes();
    fixture
}

/// The runner tells that something changed.
fn tell(fixture: &Fixture, change: impl FnOnce(&mut WorkspaceState)) {
    let mut state = never_used(ADA_UID, &fixture.runner.config(ADA_UID).unwrap());
    change(&mut state);
    fixture.context.roster.observe(&fixture.runner_id(), state);
}

fn awake(state: &mut WorkspaceState) {
    state.power = Power::Awake;
    state.sleep = None;
}

fn idle(state: &mut WorkspaceState) {
    state.sleep = Some(SleepReason::Idle);
}

#[tokio::test(start_paused = true)]
async fn power_is_written_once_it_has_settled_and_then_seldom() {
    let mut fixture = bound().await;
    tell(&fixture, awake);
    assert_eq!(fixture.reconcile().await.unwrap(), Action::requeue(Duration::from_secs(1)));
    assert_eq!(fixture.api.take_writes(), [""; 0]);
    fixture.pass(Duration::from_secs(1)).await;
    assert_eq!(fixture.reconcile().await.unwrap(), Action::await_change());
    assert_eq!(fixture.api.take_writes().len(), 1);
    assert_eq!(fixture.ada().status.unwrap().power, Some(ObservedPower::Awake));

    tell(&fixture, idle);
    fixture.pass(Duration::from_secs(5)).await;
    assert_eq!(fixture.reconcile().await.unwrap(), Action::requeue(Duration::from_secs(25)));
    fixture.pass(Duration::from_secs(25)).await;
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.api.take_writes().len(), 1);
    let status = fixture.ada().status.unwrap();
    assert_eq!(status.power, Some(ObservedPower::Asleep));
    assert!(status.idle_since.is_some());
    assert!(fixture.condition("Sleeping").unwrap().starts_with("True Idle"));
    assert!(fixture.condition("Ready").unwrap().starts_with("True"), "asleep is ready");
    assert_eq!(fixture.api.events().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn power_that_goes_back_and_forth_is_not_written_at_all() {
    let mut fixture = bound().await;
    tell(&fixture, awake);
    fixture.reconcile().await.unwrap();
    tell(&fixture, |_| {});
    assert_eq!(fixture.reconcile().await.unwrap(), Action::await_change());
    fixture.pass(Duration::from_secs(60)).await;
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.api.take_writes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn usage_is_written_only_when_it_changed_much() {
    let mut fixture = bound().await;
    let usage = |memory_bytes| Some(Usage { memory_bytes, ..Usage::default() });
    tell(&fixture, |state| {
        awake(state);
        state.usage = usage(100 << 20);
    });
    fixture.reconcile().await.unwrap();
    fixture.pass(Duration::from_secs(60)).await;
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.api.take_writes().len(), 1);
    tell(&fixture, |state| {
        awake(state);
        state.usage = usage(110 << 20);
    });
    fixture.pass(Duration::from_secs(60)).await;
    assert_eq!(fixture.reconcile().await.unwrap(), Action::await_change());
    assert_eq!(fixture.api.take_writes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_needed_restart_is_said_at_once_with_the_fields_that_need_it() {
    let mut fixture = bound().await;
    tell(&fixture, |state| {
        awake(state);
        state.restart_required = vec!["spec.software".to_owned()];
    });
    fixture.reconcile().await.unwrap();
    assert_eq!(
        fixture.condition("RestartRequired").unwrap(),
        "True SpecChanged: takes effect at the next boot: spec.software"
    );
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_does_not_boot_stalls_the_workspace_with_its_last_words() {
    let mut fixture = bound().await;
    tell(&fixture, |state| {
        state.sleep = Some(SleepReason::BootFailed);
        state.message = Some("no memory".to_owned());
    });
    fixture.reconcile().await.unwrap();
    assert!(
        fixture.condition("Ready").unwrap().starts_with("False BootFailed: the VM doesn't boot: no memory")
    );
    assert!(fixture.condition("Stalled").is_some());
    tell(&fixture, awake);
    fixture.reconcile().await.unwrap();
    assert!(fixture.condition("Ready").unwrap().starts_with("True"));
    assert_eq!(fixture.condition("Stalled"), None);
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_fails_to_boot_again_and_again_is_said_to_once() {
    let mut fixture = bound().await;
    for _ in 0..5 {
        tell(&fixture, |state| {
            state.power = Power::Waking;
            state.sleep = None;
        });
        fixture.reconcile().await.unwrap();
        tell(&fixture, |state| {
            state.sleep = Some(SleepReason::BootFailed);
            state.message = Some("no memory".to_owned());
        });
        fixture.reconcile().await.unwrap();
    }
    assert_eq!(fixture.api.events().len(), 2, "{:?}", fixture.api.events());
    let writes = fixture.api.take_writes();
    assert_eq!(writes.iter().filter(|write| write.ends_with("/status")).count(), 1, "{writes:?}");
    assert!(fixture.condition("Ready").unwrap().starts_with("False BootFailed"));
    assert!(fixture.condition("Stalled").unwrap().starts_with("True BootFailed"));
}

#[tokio::test(start_paused = true)]
async fn storage_that_lives_in_memory_is_said_to() {
    let fixture = bound().await;
    let storage = fixture.condition("StoragePersistent").unwrap();
    assert!(
        storage.starts_with("False MemoryOnly") && storage.contains("lost when the VM process ends"),
        "{storage}"
    );
    let mut fixture = Fixture::with_ada(json!({"storage": {"type": "Ephemeral"}}));
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    assert!(fixture.condition("StoragePersistent").unwrap().starts_with("False Ephemeral"));
}

#[tokio::test(start_paused = true)]
async fn a_condition_keeps_the_time_of_its_transition_while_its_status_stays() {
    let mut fixture = bound().await;
    let time = |fixture: &Fixture, kind: &str| {
        let conditions = fixture.ada().status.unwrap().conditions;
        let condition = conditions.into_iter().find(|condition| condition.type_ == kind).unwrap();
        (condition.last_transition_time, condition.observed_generation)
    };
    let (first, generation) = time(&fixture, "Ready");
    assert_eq!(generation, Some(1));
    fixture.pass(Duration::from_secs(60)).await;
    fixture.put_ada(json!({"power": "Asleep"}));
    fixture.reconcile().await.unwrap();
    assert_eq!(time(&fixture, "Ready"), (first.clone(), Some(2)));
    fixture.put_ada(json!({"software": [{"name": "nope"}]}));
    fixture.reconcile().await.unwrap_err();
    let (third, generation) = time(&fixture, "Ready");
    assert!(third > first);
    assert_eq!(generation, Some(3));
    assert_eq!(
        time(&fixture, "StoragePersistent"),
        (first, Some(2)),
        "what was not looked at is as old as it is"
    );
}

#[tokio::test(start_paused = true)]
async fn parts_of_the_spec_without_an_effect_are_named() {
    let mut fixture =
        Fixture::with_ada(json!({"network": {"egress": {"allow": [{"host": "api.anthropic.com"}]}}}));
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    assert!(fixture.condition("Ready").unwrap().contains("spec.network.egress has no effect yet"));
}

#[tokio::test(start_paused = true)]
async fn the_url_is_the_gateways_address_if_there_is_one() {
    let mut fixture = Fixture::new(&["--gateway-address=https://lodge.example.com/"]);
    fixture.put_ada(json!({}));
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    let url = fixture.ada().status.unwrap().url.unwrap();
    assert_eq!(url, "https://lodge.example.com/v1/namespaces/team-a/workspaces/ada");
}

#[tokio::test(start_paused = true)]
async fn waking_and_sleeping_again_within_the_interval_writes_nothing() {
    let mut fixture = bound().await;
    for round in 0..20 {
        let wake = Wake {
            at: format!("2027-06-01T00:00:{round:02}Z"),
            cause: WakeCause::Exec,
            queued_ms: 0,
            booted_ms: 2,
            first_byte_ms: Some(3),
        };
        tell(&fixture, |state| {
            awake(state);
            state.last_wake = Some(wake.clone());
        });
        fixture.reconcile().await.unwrap();
        fixture.pass(Duration::from_millis(500)).await;
        tell(&fixture, |state| state.last_wake = Some(wake));
        fixture.reconcile().await.unwrap();
        fixture.pass(Duration::from_secs(20)).await;
        fixture.reconcile().await.unwrap();
    }
    assert_eq!(fixture.api.take_writes(), [""; 0], "20 wakes in 410 seconds");
    fixture.pass(Duration::from_secs(200)).await;
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.api.take_writes().len(), 1, "all of them are told of at once, seldom");
    let status = fixture.ada().status.unwrap();
    let last = status.last_wake.unwrap();
    assert_eq!((last.booted_ms, last.first_byte_ms), (Some(2), Some(3)));
    assert_eq!(last.at.0.to_string(), "2027-06-01T00:00:19Z");
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_began_anew_does_not_make_anybody_forget_why_it_sleeps() {
    let mut fixture = bound().await;
    tell(&fixture, awake);
    fixture.pass(Duration::from_secs(60)).await;
    fixture.reconcile().await.unwrap();
    fixture.pass(Duration::from_secs(60)).await;
    fixture.reconcile().await.unwrap();
    tell(&fixture, idle);
    fixture.reconcile().await.unwrap();
    fixture.pass(Duration::from_secs(60)).await;
    fixture.reconcile().await.unwrap();
    assert!(fixture.condition("Sleeping").unwrap().starts_with("True Idle"));
    let before = fixture.ada().status.unwrap();
    tell(&fixture, |_| {});
    fixture.pass(Duration::from_secs(60)).await;
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.ada().status.unwrap(), before);
    tell(&fixture, awake);
    fixture.reconcile().await.unwrap();
    fixture.pass(Duration::from_secs(60)).await;
    fixture.reconcile().await.unwrap();
    tell(&fixture, |_| {});
    fixture.reconcile().await.unwrap();
    fixture.pass(Duration::from_secs(60)).await;
    fixture.reconcile().await.unwrap();
    assert!(fixture.condition("Sleeping").unwrap().starts_with("True RunnerRestarted"));
}

#[tokio::test(start_paused = true)]
async fn the_generation_that_the_vm_runs_is_told_while_it_runs() {
    let mut fixture = bound().await;
    assert_eq!(fixture.ada().status.unwrap().booted_generation, None);
    tell(&fixture, awake);
    fixture.reconcile().await.unwrap();
    fixture.pass(Duration::from_secs(1)).await;
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.ada().status.unwrap().booted_generation, Some(1));
    let mut state = never_used(ADA_UID, &fixture.runner.config(ADA_UID).unwrap());
    awake(&mut state);
    state.restart_required = vec!["spec.limits.processes".to_owned()];
    fixture.runner.say(state);
    fixture.put_ada(json!({"limits": {"processes": 7}}));
    fixture.reconcile().await.unwrap();
    let status = fixture.ada().status.unwrap();
    assert_eq!((status.booted_generation, status.observed_generation), (Some(1), Some(2)));
}

#[tokio::test(start_paused = true)]
async fn nothing_but_metadata_and_status_is_ever_written_of_a_workspace() {
    let mut fixture = Fixture::with_ada(json!({"power": "Asleep"}));
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    let generation = fixture.ada().metadata.generation;
    assert_eq!(fixture.runner.config(ADA_UID).unwrap().power, vm_api::PowerIntent::Asleep);
    tell(&fixture, |state| state.sleep = Some(SleepReason::Requested));
    fixture.pass(Duration::from_secs(60)).await;
    fixture.reconcile().await.unwrap();
    fixture.pass(Duration::from_secs(60)).await;
    fixture.reconcile().await.unwrap();
    assert!(fixture.condition("Sleeping").unwrap().starts_with("True PowerAsleep"));
    assert!(fixture.condition("Ready").unwrap().starts_with("True"));
    assert_eq!(fixture.ada().metadata.generation, generation);
    assert_eq!(fixture.api.get(crate::fixture::ADA).unwrap()["spec"], json!({"power": "Asleep"}));
}
