//! Runs that somebody asks for with the annotation `lodge.dev/run-now`.

use crate::world::{NIGHTLY, World};
use http::{Method, StatusCode};
use operator::cron_job::{run_name, trigger_version};
use serde_json::json;

const VALUE: &str = "2026-03-01T00:00:30.123456Z";

#[tokio::test(start_paused = true)]
async fn each_value_runs_once_also_while_suspended() {
    let world = World::with_nightly(json!({ "schedule": "0 3 * * *", "suspend": true })).await;
    let mut operator = world.settled_operator().await;
    world.request(VALUE);
    operator.reconcile().await.unwrap();
    let name = run_name::manual(&run_name::id("uid-of-nightly"), VALUE);
    assert_eq!(world.runner.begun(), std::slice::from_ref(&name));
    let asked = world.status().last_run_now.unwrap();
    assert_eq!((asked.value.as_str(), asked.name.as_str()), (VALUE, name.as_str()));
    assert_eq!(world.status().runs[0].scheduled_for.0.to_string(), "2026-03-01T00:00:30Z");
    assert_eq!(world.status().last_schedule_time, None, "that was not the schedule's");
    operator.sees_end(&world, &name, 0).await;
    world.operator().reconcile().await.unwrap();
    assert_eq!((world.runner.begun().len(), world.runs()), (1, vec!["00:00:30 Succeeded".to_owned()]));
    world.request("2026-03-01T00:00:31Z");
    operator.reconcile().await.unwrap();
    assert_eq!(world.runner.begun().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_noted_begins_nothing_twice() {
    let world = World::with_nightly(json!({ "schedule": "0 3 * * *" })).await;
    let mut first = world.settled_operator().await;
    world.request(VALUE);
    world.api.fail(Method::PATCH, NIGHTLY, StatusCode::SERVICE_UNAVAILABLE, 1);
    first.reconcile().await.unwrap_err();
    drop(first);
    world.operator().reconcile().await.unwrap();
    assert_eq!((world.runner.begun().len(), world.runs()), (1, vec!["00:00:30 going on".to_owned()]));
    assert_eq!(world.status().last_run_now.unwrap().value, VALUE);
}

#[tokio::test(start_paused = true)]
async fn a_request_keeps_to_the_concurrency_policy() {
    for (policy, begun, stopped) in [("Allow", 2, 0), ("Forbid", 1, 0), ("Replace", 1, 1)] {
        let spec = json!({ "schedule": "0 3 * * *", "concurrencyPolicy": policy });
        let world = World::with_nightly(spec).await;
        let mut operator = world.operator_at("2026-03-01T03:00:00Z").await;
        world.request("2026-03-01T03:00:10Z");
        operator.reconcile().await.unwrap();
        assert_eq!((world.runner.begun().len(), world.runner.stopped().len()), (begun, stopped), "{policy}");
        let is_done = world.status().last_run_now.is_some();
        assert_eq!(is_done, policy != "Replace", "one that replaces waits for the end of the other");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_value_is_looked_at_and_what_the_operator_writes_is_not() {
    let world = World::with_nightly(json!({ "schedule": "0 3 * * *" })).await;
    let watched = || serde_json::from_value(world.api.get(NIGHTLY).unwrap()).unwrap();
    let before = trigger_version(&watched());
    world.operator().reconcile().await.unwrap();
    assert_eq!(trigger_version(&watched()), before);
    world.request(VALUE);
    assert_ne!(trigger_version(&watched()), before);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_no_instant_runs_too_and_an_endless_one_does_not() {
    let world = World::with_nightly(json!({ "schedule": "0 3 * * *" })).await;
    let mut operator = world.operator();
    world.request("now!");
    operator.reconcile().await.unwrap();
    assert_eq!(world.status().runs[0].scheduled_for.0, world.now());
    world.request(&"x".repeat(129));
    operator.reconcile().await.unwrap();
    world.request("");
    operator.reconcile().await.unwrap();
    assert_eq!(world.runner.begun().len(), 1);
}
