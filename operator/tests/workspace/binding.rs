//! From a new Workspace to Ready.

use crate::fixture::{ADA_UID, FINALIZER_PAUSE, Fixture};
use http::{Method, StatusCode};
use kube::runtime::controller::Action;
use operator::{
    roster::Reach,
    runner::name::RunnerId,
    runner_client::RunnerConnection,
    workspace::{self, Error, error_policy},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use vm_api::ProblemCode;

#[tokio::test(start_paused = true)]
async fn on_a_connected_runner_a_workspace_is_ready_after_one_write_and_has_the_finalizer_after_two() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    let action = fixture.reconcile_once().await.unwrap();
    assert_eq!(action, Action::requeue(FINALIZER_PAUSE));
    let writes = fixture.api.take_writes();
    assert_eq!(
        writes,
        [
            "PATCH /apis/lodge.dev/v1alpha1/namespaces/team-a/workspaces/ada/status",
            "POST /apis/events.k8s.io/v1/namespaces/team-a/events",
        ]
    );
    fixture.pass(FINALIZER_PAUSE).await;
    assert_eq!(fixture.reconcile_once().await.unwrap(), Action::await_change());
    let writes = fixture.api.take_writes();
    assert_eq!(writes, ["PATCH /apis/lodge.dev/v1alpha1/namespaces/team-a/workspaces/ada"]);
    let ada = fixture.ada();
    assert_eq!(ada.metadata.finalizers.unwrap(), ["lodge.dev/workspace"]);
    let status = ada.status.unwrap();
    assert_eq!(status.observed_generation, Some(1));
    let runner = status.runner.unwrap();
    assert_eq!((runner.name.as_str(), runner.epoch), ("lodge-runner-0", 1));
    assert_eq!(
        status.url.unwrap(),
        "https://lodge-gateway.lodge-system.svc/v1/namespaces/team-a/workspaces/ada"
    );
    assert_eq!(fixture.condition("Ready").unwrap(), "True Bound: bound to lodge-runner-0");
    assert_eq!(fixture.condition("Reconciling"), None);
    assert_eq!(fixture.condition("Stalled"), None);
    assert!(fixture.condition("Sleeping").unwrap().starts_with("True NeverWoken"));
    assert_eq!(fixture.api.events(), ["Bound: bound to lodge-runner-0"]);
}

#[tokio::test(start_paused = true)]
async fn a_runner_is_told_the_whole_spec_with_its_defaults() {
    let mut fixture = Fixture::with_ada(json!({
        "power": "Awake",
        "idle": {"sleepAfter": "90s"},
        "env": [{"name": "EDITOR", "value": "vi"}],
        "limits": {"memory": "1Gi", "cpu": "500m", "processes": 7},
        "mounts": [{"path": "/scratch", "tmpfs": {"size": "1Mi"}}],
    }));
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    let config = fixture.runner.config(ADA_UID).unwrap();
    assert_eq!((config.namespace.as_str(), config.name.as_str()), ("team-a", "ada"));
    assert_eq!((config.generation, config.epoch), (1, 1));
    assert_eq!(config.power, vm_api::PowerIntent::Awake);
    assert_eq!(config.software[0].name, "common");
    assert_eq!(config.env, [vm_api::EnvVar::new("EDITOR", "vi")]);
    assert_eq!(config.user.home, "/home/agent");
    assert_eq!(config.idle.sleep_after_ms, Some(90_000));
    assert_eq!(
        (config.limits.memory_bytes, config.limits.cpu_millis, config.limits.processes),
        (1 << 30, 500, 7)
    );
    assert_eq!(config.limits.open_files, 1024);
    assert_eq!(
        config.mounts[0].source,
        vm_api::MountSource::Tmpfs(vm_api::TmpfsMount { size_bytes: 1 << 20 })
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_or_told_when_nothing_changed() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    fixture.api.take_writes();
    for _ in 0..3 {
        fixture.reconcile().await.unwrap();
    }
    assert_eq!(fixture.api.take_writes(), [""; 0]);
    assert_eq!(fixture.runner.puts(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reconcile_that_sees_an_old_object_neither_writes_nor_announces_again() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    fixture.reconcile_with_stale_stores().await.unwrap();
    fixture.api.take_writes();
    fixture.reconcile_with_stale_stores().await.unwrap();
    assert_eq!(fixture.api.take_writes(), [""; 0]);
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.api.events().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_changed_spec_is_told_at_once_and_observed() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    fixture.put_ada(json!({"env": [{"name": "A", "value": "1"}]}));
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.runner.config(ADA_UID).unwrap().generation, 2);
    let status = fixture.ada().status.unwrap();
    assert_eq!(status.observed_generation, Some(2));
    assert_eq!(status.runner.unwrap().epoch, 1, "the binding is the same");
    assert_eq!(fixture.api.events().len(), 1, "staying bound is no transition");
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_comes_back_is_told_everything_again_without_a_write() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    fixture.api.take_writes();
    fixture.disconnect_runner();
    fixture.pass(Duration::from_secs(2)).await;
    fixture.reconcile().await.unwrap_err();
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.runner.puts(), 2);
    assert_eq!(fixture.api.take_writes(), [""; 0], "a restart within the time of grace changes nothing");
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_stays_away_makes_the_workspace_not_ready_and_is_tried_again() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    fixture.api.put(
        "/api/v1/namespaces/team-a/pods/lodge-runner-0",
        json!({"metadata": {"name": "lodge-runner-0", "namespace": "team-a"}, "status": {"podIP": "10.0.0.9"}}),
    );
    fixture.disconnect_runner();
    fixture.pass(Duration::from_secs(11)).await;
    let error = fixture.reconcile().await.unwrap_err();
    assert!(error.retry(0).unwrap() <= Duration::from_secs(1));
    assert_eq!(fixture.condition("Ready").unwrap(), "False RunnerUnreachable: connection refused");
    assert!(fixture.condition("Reconciling").unwrap().starts_with("True RunnerUnreachable"));
    let status = fixture.ada().status.unwrap();
    assert_eq!(status.runner.unwrap().epoch, 1, "the binding stands");
    fixture.reconcile().await.unwrap_err();
    assert_eq!(fixture.api.events().len(), 2, "{:?}", fixture.api.events());
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.condition("Ready").unwrap(), "True Bound: bound to lodge-runner-0");
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_does_not_answer_is_told_again_and_the_condition_says_so() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    fixture.runner.hang(true);
    let error = fixture.reconcile().await.unwrap_err();
    assert!(matches!(error, Error::RunnerUnreachable { .. }), "{error}");
    assert!(error.retry(0).is_some());
    assert!(fixture.condition("Ready").unwrap().contains("did not answer within 10 s"));
    fixture.runner.hang(false);
    fixture.reconcile().await.unwrap();
    assert!(fixture.condition("Ready").unwrap().starts_with("True"));
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_hangs_holds_up_no_more_than_its_share() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    let Reach::Here(placement) = fixture.context.roster.reach(&fixture.runner_id(), "another") else {
        return assert!(fixture.context.roster.is_connected(&fixture.runner_id()));
    };
    let hung = placement.permits.acquire_many(16).await.unwrap();
    let error = fixture.reconcile().await.unwrap_err();
    assert!(matches!(error, Error::RunnerBusy { .. }), "{error}");
    assert!(fixture.condition("Ready").unwrap().contains("has not answered earlier requests yet"));
    drop(hung);
    fixture.reconcile().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_new_operator_does_not_take_ready_workspaces_for_lost() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    let mut next = Fixture::new(&[]);
    next.api.put(crate::fixture::ADA, fixture.api.get(crate::fixture::ADA).unwrap());
    next.api.take_writes();
    next.reconcile().await.unwrap_err();
    assert_eq!(next.api.take_writes(), [""; 0]);
    assert!(next.condition("Ready").unwrap().starts_with("True"));
}

#[tokio::test(start_paused = true)]
async fn the_epoch_grows_when_the_workspace_moves_to_another_runner() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    let mut object = fixture.api.get(crate::fixture::ADA).unwrap();
    object["status"]["runner"] = json!({"name": "old-runner-7", "epoch": 4});
    fixture.api.put(crate::fixture::ADA, object);
    fixture.reconcile().await.unwrap();
    let runner = fixture.ada().status.unwrap().runner.unwrap();
    assert_eq!((runner.name.as_str(), runner.epoch), ("lodge-runner-0", 5));
    assert_eq!(fixture.runner.config(ADA_UID).unwrap().epoch, 5);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_package_stalls_the_workspace_and_is_named() {
    let mut fixture = Fixture::with_ada(json!({"software": [{"name": "common"}, {"name": "nope"}]}));
    fixture.connect_runner();
    let error = fixture.reconcile().await.unwrap_err();
    assert!(error.retry(0).is_some(), "a new image of the runner may have it");
    let stalled = fixture.condition("Stalled").unwrap();
    assert!(
        stalled.starts_with("True SoftwareUnknown: spec.software[1].name: there is no package \"nope\""),
        "{stalled}"
    );
    assert!(fixture.condition("Ready").unwrap().starts_with("False SoftwareUnknown"));
    assert_eq!(fixture.condition("Reconciling"), None);
    fixture.put_ada(json!({"software": [{"name": "common"}]}));
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.condition("Stalled"), None);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_implemented_yet_is_refused_by_name() {
    let mut fixture = Fixture::with_ada(json!({
        "software": [{"name": "common"}, {"name": "left-pad", "npm": {"name": "left-pad", "version": "1.3.0"}}],
    }));
    fixture.connect_runner();
    let error = fixture.reconcile().await.unwrap_err();
    assert_eq!(error.retry(0), None);
    let stalled = fixture.condition("Stalled").unwrap();
    assert!(stalled.starts_with("True NotImplemented: spec.software[1].npm"), "{stalled}");
    assert_eq!(fixture.runner.puts(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_spec_that_cannot_be_read_stalls_the_workspace_and_blinds_nobody() {
    let mut fixture = Fixture::with_ada(json!({"idle": {"sleepAfter": "a while"}}));
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    let status = fixture.api.get(crate::fixture::ADA).unwrap()["status"].clone();
    let stalled =
        status["conditions"].as_array().unwrap().iter().find(|condition| condition["type"] == "Stalled");
    let stalled = stalled.unwrap();
    assert_eq!(stalled["reason"], "InvalidSpec");
    assert!(stalled["message"].as_str().unwrap().contains("a while"), "{stalled}");
    fixture.api.take_writes();
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.api.take_writes(), [""; 0]);
    fixture.put_ada(json!({"idle": {"sleepAfter": "1h"}}));
    fixture.reconcile().await.unwrap();
    assert!(fixture.condition("Ready").unwrap().starts_with("True"));
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_is_tried_again_and_pauses_grow() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    fixture.api.fail(Method::PATCH, "/status", StatusCode::INTERNAL_SERVER_ERROR, 2);
    let mut pauses = Vec::new();
    for _ in 0..2 {
        let error = fixture.reconcile().await.unwrap_err();
        assert!(matches!(error, Error::UpdateStatus(_)), "{error}");
        let watched = fixture.context.stores.workspaces.state().remove(0);
        pauses.push(error_policy(watched, &error, Arc::clone(&fixture.context)));
    }
    assert_eq!(pauses, [200, 400].map(|pause| Action::requeue(Duration::from_millis(pause))));
    fixture.reconcile().await.unwrap();
    assert!(fixture.condition("Ready").unwrap().starts_with("True"));
    assert_eq!(fixture.api.events().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_that_somebody_adds_in_the_meantime_is_not_lost() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    fixture.reconcile_once().await.unwrap();
    fixture.pass(FINALIZER_PAUSE).await;
    let mut object = fixture.api.get(crate::fixture::ADA).unwrap();
    object["metadata"]["finalizers"] = json!(["example.com/backup"]);
    fixture.api.put(crate::fixture::ADA, object);
    let error = fixture.reconcile_with_stale_stores().await.unwrap_err();
    assert!(matches!(error, Error::Finalizer(_)), "{error}");
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.ada().metadata.finalizers.unwrap(), ["example.com/backup", "lodge.dev/workspace"]);
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_forgot_is_bound_anew_and_whoever_has_the_old_epoch_is_refused() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    let late = fixture.runner.config(ADA_UID).unwrap();
    fixture.api.take_writes();
    // The pod was replaced: same name, same volume, another process.
    fixture.runner.restart();
    fixture.disconnect_runner();
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.runner.config(ADA_UID).unwrap().epoch, 2);
    assert_eq!(fixture.ada().status.unwrap().runner.unwrap().epoch, 2);
    assert_eq!(fixture.api.take_writes().len(), 1, "the epoch, and no Event");
    assert!(fixture.condition("Ready").unwrap().starts_with("True"));
    assert_eq!(fixture.condition("DataLost"), None, "its files are on the volume");
    let error = fixture.runner.put(ADA_UID, &late).await.unwrap_err();
    assert!(error.problem().unwrap().is(ProblemCode::StaleEpoch), "{error}");
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.api.take_writes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_epoch_that_was_used_but_never_written_is_not_used_again() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    fixture.runner.restart();
    fixture.disconnect_runner();
    fixture.connect_runner();
    fixture.api.fail(Method::PATCH, "/status", StatusCode::INTERNAL_SERVER_ERROR, 1);
    fixture.reconcile().await.unwrap_err();
    assert_eq!(fixture.runner.config(ADA_UID).unwrap().epoch, 2);
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.ada().status.unwrap().runner.unwrap().epoch, 2, "what the runner has");
}

#[tokio::test(start_paused = true)]
async fn a_status_that_was_lost_while_the_runner_forgot_is_found_again_step_by_step() {
    let mut fixture = Fixture::with_ada(json!({}));
    let config = vm_api::WorkspaceConfig { epoch: 9, ..vm_api::WorkspaceConfig::new("team-a", "ada") };
    fixture.runner.put(ADA_UID, &config).await.unwrap();
    fixture.runner.restart();
    fixture.connect_runner();
    let mut attempts = 0;
    while let Err(error) = fixture.reconcile().await {
        assert!(error.retry(attempts).unwrap() <= Duration::from_secs(10), "{error}");
        attempts += 1;
        assert!(attempts < 10);
    }
    assert!(fixture.ada().status.unwrap().runner.unwrap().epoch >= 9);
    assert!(fixture.condition("Ready").unwrap().starts_with("True"));
}

#[tokio::test(start_paused = true)]
async fn a_workspace_whose_status_was_lost_is_found_on_the_runner_that_has_it() {
    let mut fixture = Fixture::with_ada(json!({}));
    let config = vm_api::WorkspaceConfig { epoch: 4, ..vm_api::WorkspaceConfig::new("team-a", "ada") };
    let told = crate::workspace_state::never_used(ADA_UID, &config);
    let second = RunnerId { pod: "lodge-runner-1".to_owned(), ..fixture.runner_id() };
    fixture.connect_runner();
    fixture.context.roster.connected(&second, Arc::clone(&fixture.runner) as _, [told]);
    fixture.reconcile().await.unwrap();
    let runner = fixture.ada().status.unwrap().runner.unwrap();
    assert_eq!((runner.name.as_str(), runner.epoch), ("lodge-runner-1", 4));
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_is_gone_for_good_is_said_loudly_and_the_workspace_comes_back_empty() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    let mut object = fixture.api.get(crate::fixture::ADA).unwrap();
    object["status"]["lastWake"] = json!({"at": "2027-01-01T00:00:00Z", "cause": "Exec"});
    fixture.api.put(crate::fixture::ADA, object);
    fixture.runner.restart();
    fixture.runner.lose_volume();
    fixture.disconnect_runner();
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    assert!(fixture.condition("Ready").unwrap().starts_with("True"));
    let lost = fixture.condition("DataLost").unwrap();
    assert!(lost.starts_with("True VolumeLost: the runner lodge-runner-0 came back"), "{lost}");
    let told = |fixture: &Fixture| {
        fixture.api.events().iter().filter(|event| event.starts_with("DataLost: ")).count()
    };
    assert_eq!(told(&fixture), 1);
    assert!(fixture.context.metrics.expose().contains("workspaces_data_lost_total 1"));
    fixture.pass(Duration::from_secs(60)).await;
    fixture.reconcile().await.unwrap();
    assert_eq!(
        (fixture.condition("DataLost").unwrap(), told(&fixture)),
        (lost, 1),
        "it stays, and is told once"
    );
    fixture.put_ada(json!({"env": [{"name": "A", "value": "1"}]}));
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.condition("DataLost"), None, "somebody has been here since");
}

#[tokio::test(start_paused = true)]
async fn the_volume_of_a_workspace_that_was_never_used_is_no_loss() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    fixture.runner.restart();
    fixture.runner.lose_volume();
    fixture.disconnect_runner();
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.condition("DataLost"), None);
    assert!(fixture.condition("Ready").unwrap().starts_with("True"));
}

#[tokio::test(start_paused = true)]
async fn a_workspace_that_goes_in_the_moment_before_it_gets_its_finalizer_leaves_nothing() {
    let fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    fixture.api.remove(crate::fixture::ADA);
    let error = fixture.reconcile_with_stale_stores().await.unwrap_err();
    assert!(matches!(error, Error::UpdateStatus(_)), "{error}");
    let strays = fixture.context.strays.try_take();
    assert_eq!(strays.iter().map(|stray| stray.uid.as_str()).collect::<Vec<_>>(), [ADA_UID]);
}

#[tokio::test(start_paused = true)]
async fn a_workspace_that_a_runner_has_gets_its_finalizer_before_anything_is_told() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    let mut object = fixture.api.get(crate::fixture::ADA).unwrap();
    object["metadata"]["finalizers"] = json!([]);
    object["spec"] = json!({"env": [{"name": "A", "value": "1"}]});
    fixture.api.put(crate::fixture::ADA, object);
    fixture.api.fail(Method::PATCH, "workspaces/ada", StatusCode::INTERNAL_SERVER_ERROR, 1);
    fixture.reconcile().await.unwrap_err();
    assert_eq!(fixture.runner.puts(), 1);
    assert!(fixture.context.strays.try_take().is_empty(), "its files are there");
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.runner.puts(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_workspace_that_goes_after_its_status_and_before_its_finalizer_leaves_nothing() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    fixture.reconcile_once().await.unwrap();
    let shown = fixture.context.stores.workspaces.state().remove(0);
    fixture.api.remove(crate::fixture::ADA);
    workspace::forget(&shown, &fixture.context);
    let strays = fixture.context.strays.try_take();
    assert_eq!(strays.iter().map(|stray| stray.uid.as_str()).collect::<Vec<_>>(), [ADA_UID]);
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_lets_those_pass_that_are_not_ready_yet_but_not_for_ever() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    let context = Arc::clone(&fixture.context);
    let passage = context.rush.enter();
    let mut times = 0;
    while fixture.ada().metadata.finalizers.is_none() {
        assert!(times < 11, "it takes longer than five seconds");
        times += 1;
        fixture.reconcile_once().await.unwrap();
        fixture.pass(Duration::from_millis(500)).await;
    }
    assert_eq!(times, 11);
    drop(passage);
    assert_eq!(fixture.reconcile_once().await.unwrap(), Action::await_change());
}

#[tokio::test(start_paused = true)]
async fn the_next_operator_adds_the_finalizer_that_the_last_one_had_put_off() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.connect_runner();
    fixture.reconcile_once().await.unwrap();
    assert_eq!(fixture.ada().metadata.finalizers, None);
    fixture.restart_operator(&[]);
    fixture.connect_runner();
    fixture.reconcile_once().await.unwrap();
    assert_eq!(fixture.ada().metadata.finalizers.unwrap(), ["lodge.dev/workspace"]);
}
