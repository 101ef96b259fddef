//! What stands in the way of runs, as conditions; and what doesn't.

use crate::world::{NIGHTLY, START, World};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

/// The condition that a spec leads to, after its failure.
async fn stalled(spec: Value) -> String {
    let world = World::with_nightly(spec).await;
    let mut operator = world.operator();
    operator.reconcile().await.unwrap_err();
    let ready = world.condition("Ready").unwrap();
    assert_eq!(ready.strip_prefix("False "), world.condition("Stalled").unwrap().strip_prefix("True "));
    assert_eq!((world.status().observed_generation, world.status().next_schedule_time), (Some(1), None));
    world.api.take_writes();
    operator.reconcile().await.unwrap_err();
    assert!(world.api.take_writes().is_empty(), "once said is enough");
    assert_eq!(world.api.events().len(), 1);
    ready
}

#[tokio::test(start_paused = true)]
async fn what_never_comes_or_is_unknown_or_not_there_yet_is_refused_by_name() {
    let never = stalled(json!({ "schedule": "0 0 30 2 *" })).await;
    assert!(never.starts_with("False ScheduleInvalid: spec.schedule: \"0 0 30 2 *\" never comes"), "{never}");
    let wrong = stalled(json!({ "schedule": "61 * * * *" })).await;
    assert!(wrong.contains("minute: \"61\" is no number from 0 to 59"), "{wrong}");
    let zone = stalled(json!({ "schedule": "@daily", "timeZone": "Europe/Lodge" })).await;
    assert!(zone.starts_with("False TimeZoneUnknown: spec.timeZone: \"Europe/Lodge\""), "{zone}");
    let session = json!({ "session": { "agent": { "name": "pi" }, "prompt": "hello" } });
    let session = stalled(json!({ "schedule": "@daily", "action": session })).await;
    assert!(
        session.starts_with("False NotImplemented: spec.action.session: Sessions are not implemented"),
        "{session}"
    );
    let exec = json!({ "exec": { "command": "a", "argv": ["b"] } });
    let exec = stalled(json!({ "schedule": "@daily", "action": exec })).await;
    assert!(exec.starts_with("False InvalidSpec: spec.action.exec: set exactly one"), "{exec}");
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_is_mended_is_followed_from_then_on() {
    let world = World::with_nightly(json!({ "schedule": "0 0 30 2 *" })).await;
    let mut operator = world.operator();
    operator.reconcile().await.unwrap_err();
    world.put_nightly(json!({ "schedule": "0 3 * * *" }));
    operator.reconcile().await.unwrap();
    assert_eq!(world.condition("Stalled"), None);
    assert!(world.condition("Ready").unwrap().starts_with("True Scheduled"));
    assert!(world.api.events().iter().any(|event| event == "Scheduled: follows the schedule"));
}

#[tokio::test(start_paused = true)]
async fn a_workspace_that_is_not_ready_holds_runs_up_until_it_is() {
    let world = World::with_nightly(json!({ "schedule": "0 3 * * *" })).await;
    world.put_ada("False", "the runner's pod isn't ready yet");
    let mut operator = world.operator();
    operator.reconcile().await.unwrap_err();
    let words = "WorkspaceNotReady: Workspace \"ada\" isn't ready: the runner's pod isn't ready yet";
    assert_eq!(world.condition("Ready").unwrap(), format!("False {words}"));
    assert_eq!(world.condition("Reconciling").unwrap(), format!("True {words}"));
    assert_eq!(world.status().next_schedule_time.unwrap().0.to_string(), "2026-03-01T03:00:00Z");
    world.pass_until("2026-03-01T03:00:05Z").await;
    operator.reconcile().await.unwrap_err();
    world.put_ada("True", "bound");
    operator.sync();
    let watched = operator.context.stores.workspaces.state().pop().unwrap();
    operator::cron_job::ask_for(&watched, &operator.context);
    assert_eq!(operator.context.cron_jobs.due.try_take().len(), 1, "its Workspace changed");
    operator.reconcile().await.unwrap();
    assert_eq!((world.condition("Reconciling"), world.begun().len()), (None, 1));
}

/// A world whose run takes its variable TOKEN from the Secret `keys`.
async fn world_with_token() -> World {
    let env =
        json!([{ "name": "TOKEN", "valueFrom": { "secretKeyRef": { "name": "keys", "key": "token" } } }]);
    let action = json!({ "exec": { "command": "make", "env": env } });
    World::with_nightly(json!({ "schedule": "0 3 * * *", "action": action })).await
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_missing_is_told_before_the_first_run_and_fails_it() {
    let world = world_with_token().await;
    let mut operator = world.operator();
    let error = operator.reconcile().await.unwrap_err();
    let words =
        "SecretMissing: spec.action.exec.env[0].valueFrom.secretKeyRef: Secret \"keys\" doesn't exist";
    assert!(world.condition("Stalled").unwrap().contains(words), "{:?}", world.condition("Stalled"));
    assert_ne!(
        operator.after(&error),
        kube::runtime::controller::Action::await_change(),
        "Secrets aren't watched"
    );
    world.pass_until("2026-03-01T03:00:00Z").await;
    operator.reconcile().await.unwrap_err();
    assert_eq!((world.runs(), world.begun().len()), (vec!["03:00:00 Failed".to_owned()], 0));
    assert!(world.status().runs[0].output_tail.as_ref().unwrap().contains("Secret \"keys\" doesn't exist"));
    world.put_token("eA==");
    operator.reconcile().await.unwrap();
    assert!(world.condition("Ready").unwrap().starts_with("True Scheduled"));
    world.pass_until("2026-03-02T03:00:00Z").await;
    operator.reconcile().await.unwrap();
    assert_eq!(world.begun().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_cannot_be_read_just_now_takes_no_run_away() {
    let world = world_with_token().await;
    world.put_token("eA==");
    let mut operator = world.settled_operator().await;
    world.pass_until("2026-03-01T03:00:00Z").await;
    world.api.fail(Method::GET, "secrets/keys", StatusCode::SERVICE_UNAVAILABLE, 1);
    operator.reconcile().await.unwrap_err();
    assert!(
        world.condition("Ready").unwrap().starts_with("True"),
        "the API server's trouble is not the CronJob's"
    );
    operator.reconcile().await.unwrap();
    assert_eq!(world.begun(), ["03:00:00"]);
}

#[tokio::test(start_paused = true)]
async fn a_cron_job_that_cannot_be_read_says_so() {
    let world = World::new().await;
    let metadata = json!({ "name": "nightly", "namespace": "team-a", "creationTimestamp": START });
    let spec = json!({ "workspaceRef": { "name": "ada" }, "schedule": "@daily", "action": { "poem": {} }, "timeZone": 7 });
    world.api.put(NIGHTLY, json!({ "metadata": metadata, "spec": spec }));
    world.operator().reconcile().await.unwrap();
    let conditions = world.api.get(NIGHTLY).unwrap()["status"]["conditions"].clone();
    assert_eq!(
        (&conditions[0]["reason"], &conditions[1]["type"]),
        (&json!("InvalidSpec"), &json!("Stalled"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_cron_job_that_is_deleted_stops_nothing_and_is_forgotten() {
    let world = World::with_nightly(json!({ "schedule": "0 3 * * *" })).await;
    let operator = world.operator_at("2026-03-01T03:00:00Z").await;
    let watched = operator.context.stores.cron_jobs.state().pop().unwrap();
    world.api.remove(NIGHTLY);
    operator::cron_job::forget(&watched, &operator.context);
    assert!(operator.context.cron_jobs.register.all().is_empty());
    assert_eq!(operator.wait(), None);
    assert!(world.runner.stopped().is_empty());
    let run = world.runner.begun().pop().unwrap();
    world.finish(&run, 0);
    assert!(!operator.learn(&world, &run).await, "nobody waits for it");
}

#[tokio::test(start_paused = true)]
async fn an_idle_cron_job_writes_nothing_all_day() {
    let world = World::with_nightly(json!({ "schedule": "0 0 1 1 *", "jitter": "5m" })).await;
    let mut operator = world.settled_operator().await;
    world.api.take_writes();
    operator.live(&world, "2026-03-02T00:00:00Z", Duration::from_secs(1)).await;
    assert!(world.api.take_writes().is_empty());
}
