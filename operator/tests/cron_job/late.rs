//! Runs that could not begin at their instant: downtime, clocks that jump, edits, suspension.

use crate::world::{NIGHTLY, World};
use serde_json::json;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn after_a_downtime_catch_up_decides() {
    for (catch_up, begun, missed) in [
        ("None", vec![], Some(3)),
        ("Last", vec!["03:00:00"], Some(2)),
        ("All", vec!["01:00:00", "02:00:00", "03:00:00"], None),
    ] {
        let spec = json!({ "schedule": "0 * * * *", "catchUp": catch_up, "concurrencyPolicy": "Allow" });
        let world = World::with_nightly(spec).await;
        world.operator().reconcile().await.unwrap();
        world.pass_until("2026-03-01T03:20:00Z").await;
        let mut next = world.settled_operator().await;
        next.reconcile().await.unwrap();
        assert_eq!(
            (world.begun(), world.status().missed),
            (begun.iter().map(ToString::to_string).collect(), missed),
            "{catch_up}"
        );
        assert_eq!(world.status().next_schedule_time.unwrap().0.to_string(), "2026-03-01T04:00:00Z");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_made_up_for_under_forbid_runs_one_after_the_other() {
    let world = World::with_nightly(json!({ "schedule": "0 * * * *", "catchUp": "All" })).await;
    world.operator().reconcile().await.unwrap();
    world.pass_until("2026-03-01T03:20:00Z").await;
    let mut operator = world.operator();
    operator.live(&world, "2026-03-01T03:50:00Z", Duration::from_secs(300)).await;
    assert_eq!(world.begun(), ["01:00:00", "02:00:00", "03:00:00"]);
    assert_eq!(world.status().missed, None);
    assert!(world.runs().iter().all(|run| run.ends_with("Succeeded")), "{:?}", world.runs());
}

#[tokio::test(start_paused = true)]
async fn a_run_past_its_starting_deadline_is_missed() {
    let world = World::with_nightly(json!({ "schedule": "0 * * * *", "startingDeadline": "10m" })).await;
    world.operator().reconcile().await.unwrap();
    world.pass_until("2026-03-01T01:10:01Z").await;
    let mut operator = world.settled_operator().await;
    assert_eq!((world.begun().len(), world.status().missed), (0, Some(1)));
    world.pass_until("2026-03-01T02:09:59Z").await;
    operator.reconcile().await.unwrap();
    assert_eq!((world.begun(), world.status().missed), (vec!["02:00:00".to_owned()], Some(1)));
    assert_eq!(operator.metric("cron_runs_missed_total").unwrap(), "1");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_due_before_the_creation() {
    let world = World::new().await;
    world.set_clock("2026-03-01T03:00:00.4Z");
    world.put_nightly(json!({ "schedule": "* * * * *", "catchUp": "All" }));
    world.operator().reconcile().await.unwrap();
    assert!(world.begun().is_empty());
    assert_eq!(world.status().missed, None);
    assert_eq!(world.status().next_schedule_time.unwrap().0.to_string(), "2026-03-01T03:01:00Z");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_brings_nothing_twice() {
    let world = World::with_nightly(json!({ "schedule": "0 * * * *", "catchUp": "All" })).await;
    let mut operator = world.operator();
    operator.live(&world, "2026-03-01T03:30:00Z", Duration::from_secs(1)).await;
    world.set_clock("2026-03-01T00:30:00Z");
    operator.live(&world, "2026-03-01T04:30:00Z", Duration::from_secs(1)).await;
    assert_eq!(world.begun(), ["01:00:00", "02:00:00", "03:00:00", "04:00:00"]);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_forward_leaps_over_runs() {
    let world = World::with_nightly(json!({ "schedule": "0 * * * *" })).await;
    let mut operator = world.settled_operator().await;
    world.set_clock("2026-03-01T05:30:00Z");
    operator.live(&world, "2026-03-01T06:30:00Z", Duration::from_secs(1)).await;
    assert_eq!(
        (world.begun(), world.status().missed),
        (vec!["05:00:00".to_owned(), "06:00:00".to_owned()], Some(4))
    );
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_years_ahead_does_not_silence_a_schedule_for_years() {
    let world = World::with_nightly(json!({ "schedule": "0 * * * *" })).await;
    let mut operator = world.settled_operator().await;
    world.set_clock("2031-03-01T00:30:00Z");
    operator.reconcile().await.unwrap();
    world.finish(&world.runner.begun()[0], 0);
    world.set_clock("2026-03-01T08:30:00Z");
    operator.live(&world, "2026-03-01T09:30:00Z", Duration::from_secs(1)).await;
    assert_eq!(world.begun().last().unwrap(), "09:00:00");
}

#[tokio::test(start_paused = true)]
async fn everybody_looks_again_when_the_clock_was_set() {
    let world = World::with_nightly(json!({ "schedule": "0 * * * *" })).await;
    let operator = world.settled_operator().await;
    let watch =
        operator::spawn::spawn(operator::cron_job::watch_clock(std::sync::Arc::clone(&operator.context)));
    for _ in 0..5 {
        world.pass(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
    assert!(operator.context.cron_jobs.due.try_take().is_empty());
    world.set_clock("2026-03-01T05:30:00Z");
    for _ in 0..3 {
        world.pass(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(operator.context.cron_jobs.due.try_take().len(), 1);
    drop(watch);
}

#[tokio::test(start_paused = true)]
async fn an_edited_schedule_makes_up_for_nothing_before_the_edit() {
    let world = World::with_nightly(json!({ "schedule": "0 0 * * *", "catchUp": "All" })).await;
    let mut operator = world.settled_operator().await;
    world.pass_until("2026-03-01T10:05:30Z").await;
    world.put_nightly(json!({ "schedule": "*/10 * * * *", "catchUp": "All" }));
    operator.reconcile().await.unwrap();
    assert!(world.begun().is_empty());
    assert_eq!(world.status().next_schedule_time.unwrap().0.to_string(), "2026-03-01T10:10:00Z");
    world.put_nightly(json!({ "schedule": "*/10 * * * *", "catchUp": "All", "timeZone": "Asia/Kathmandu" }));
    operator.reconcile().await.unwrap();
    assert_eq!(world.status().next_schedule_time.unwrap().0.to_string(), "2026-03-01T10:15:00Z");
    assert_eq!(world.status().missed, None);
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_something_else_takes_no_run_away() {
    let world = World::with_nightly(json!({ "schedule": "0 * * * *" })).await;
    world.operator().reconcile().await.unwrap();
    world.pass_until("2026-03-01T01:00:20Z").await;
    world.put_nightly(
        json!({ "schedule": "0 * * * *", "jitter": "0s", "action": { "exec": { "command": "other" } } }),
    );
    world.operator().reconcile().await.unwrap();
    assert_eq!(world.begun(), ["01:00:00"]);
    assert_eq!(world.runner.last_request().exec.command.as_deref(), Some("other"));
}

#[tokio::test(start_paused = true)]
async fn a_suspended_cron_job_begins_nothing_and_makes_up_afterwards_as_batch_v1_does() {
    let world = World::with_nightly(json!({ "schedule": "0 * * * *", "suspend": true })).await;
    let mut operator = world.settled_operator().await;
    assert!(world.condition("Ready").unwrap().starts_with("True Suspended: suspended"));
    assert_eq!((world.status().next_schedule_time, operator.wait()), (None, None));
    world.api.take_writes();
    world.pass(HOUR * 5 + Duration::from_secs(600)).await;
    operator.reconcile().await.unwrap();
    assert_eq!((world.begun().len(), world.api.take_writes().len()), (0, 0));
    world.put_nightly(json!({ "schedule": "0 * * * *" }));
    operator.reconcile().await.unwrap();
    assert_eq!((world.begun(), world.status().missed), (vec!["05:00:00".to_owned()], Some(4)));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_goes_on_while_suspended_is_noted_to_its_end() {
    let world = World::with_nightly(json!({ "schedule": "0 * * * *" })).await;
    let mut operator = world.settled_operator().await;
    world.pass(HOUR).await;
    operator.reconcile().await.unwrap();
    world.put_nightly(json!({ "schedule": "0 * * * *", "suspend": true }));
    operator.reconcile().await.unwrap();
    assert!(world.runner.stopped().is_empty());
    operator.sees_end(&world, &world.runner.begun()[0], 0).await;
    assert_eq!(world.runs(), ["01:00:00 Succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn while_the_runner_is_away_nothing_is_written_and_nothing_is_given_up() {
    let world = World::with_nightly(json!({ "schedule": "* * * * *" })).await;
    let mut operator = world.settled_operator().await;
    operator.disconnect();
    world.api.take_writes();
    for _ in 0..5 {
        world.pass(Duration::from_secs(60)).await;
        operator.reconcile().await.unwrap_err();
    }
    assert!(world.api.take_writes().is_empty());
    operator.connect(&world.runner);
    operator.reconcile().await.unwrap();
    assert_eq!((world.begun(), world.status().missed), (vec!["00:05:00".to_owned()], Some(4)));
    assert!(world.api.get(NIGHTLY).is_some());
}
