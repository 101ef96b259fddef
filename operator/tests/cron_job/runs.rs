//! A run from its instant to its end: what is asked for, written, counted and announced.

use crate::world::{ADA_UID, NIGHTLY, World};
use lodge_crds::RunOutcome;
use operator::cron_job::run_name;
use serde_json::json;
use std::time::Duration;
use vm_api::RunEnd;

#[tokio::test(start_paused = true)]
async fn a_run_begins_at_its_instant_and_costs_two_writes() {
    let world = World::with_nightly(json!({ "schedule": "0 3 * * *" })).await;
    let mut operator = world.settled_operator().await;
    assert_eq!(world.condition("Ready").unwrap(), "True Scheduled: follows the schedule");
    assert_eq!(world.status().next_schedule_time.unwrap().0.to_string(), "2026-03-01T03:00:00Z");
    world.api.take_writes();
    world.pass_until("2026-03-01T02:59:59.999Z").await;
    operator.reconcile().await.unwrap();
    assert!(world.runner.begun().is_empty() && world.api.take_writes().is_empty(), "idle");
    assert_eq!(operator.wait(), Some(Duration::from_millis(1)));
    world.pass(Duration::from_millis(1)).await;
    operator.reconcile().await.unwrap();
    let [name] = <[String; 1]>::try_from(world.runner.begun()).unwrap();
    assert_eq!(name, run_name::scheduled(&run_name::id("uid-of-nightly"), world.now()));
    assert_eq!(world.status().active, std::slice::from_ref(&name));
    assert_eq!(world.status().next_schedule_time.unwrap().0.to_string(), "2026-03-02T03:00:00Z");
    assert_eq!(world.status().runs[0].workspace_uid.as_deref(), Some(ADA_UID));
    world.pass(Duration::from_secs(30)).await;
    operator.reconcile().await.unwrap();
    operator.sees_end(&world, &name, 0).await;
    operator.reconcile().await.unwrap();
    assert_eq!(world.api.take_writes(), vec![format!("PATCH {NIGHTLY}/status"); 2]);
    let status = world.status();
    assert_eq!((world.runs(), status.active.len()), (vec!["03:00:00 Succeeded".to_owned()], 0));
    assert_eq!(status.last_successful_time.unwrap().0.to_string(), "2026-03-01T03:00:30Z");
    assert_eq!(status.last_schedule_time.unwrap().0.to_string(), "2026-03-01T03:00:00Z");
    assert_eq!(operator.metric("cron_runs_total{outcome=\"Succeeded\"}").unwrap(), "1");
    assert_eq!(operator.metric("cron_start_delay_seconds_count").unwrap(), "1");
}

#[tokio::test(start_paused = true)]
async fn a_reconcile_that_runs_ahead_of_the_watch_sees_what_was_written() {
    let world = World::with_nightly(json!({ "schedule": "0 3 * * *" })).await;
    let mut operator = world.operator_at("2026-03-01T03:00:00Z").await;
    world.api.take_writes();
    operator.reconcile_with_stale_stores().await.unwrap();
    assert_eq!((world.runner.begun().len(), world.api.take_writes().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_run_is_asked_for_with_all_that_the_spec_says_and_no_secret_is_written_down() {
    let env = json!([
        { "name": "PLAIN", "value": "1" },
        { "name": "TOKEN", "valueFrom": { "secretKeyRef": { "name": "keys", "key": "token" } } },
    ]);
    let exec = json!({ "argv": ["make", "nightly"], "cwd": "/work", "timeout": "2h", "env": env });
    let world = World::with_nightly(json!({ "schedule": "0 3 * * *", "action": { "exec": exec } })).await;
    world.put_token("aHVudGVyMg==");
    drop(world.operator_at("2026-03-01T03:00:00Z").await);
    let request = world.runner.last_request();
    assert_eq!(request.epoch, 1);
    assert_eq!(request.exec.argv.unwrap(), ["make", "nightly"]);
    assert_eq!(request.exec.cwd.as_deref(), Some("/work"));
    assert_eq!(request.exec.timeout.unwrap().0, Duration::from_secs(7200));
    let env: Vec<_> = request.exec.env.iter().map(|variable| (&*variable.name, &*variable.value)).collect();
    assert_eq!(env, [("PLAIN", "1"), ("TOKEN", "hunter2")]);
    let written = world.api.get(NIGHTLY).unwrap().to_string() + &world.api.events().join("\n");
    assert!(!written.contains("hunter2") && !written.contains("aHVudGVyMg"));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_in_the_status_and_announced_once() {
    let world = World::with_nightly(json!({ "schedule": "* * * * *" })).await;
    let mut operator = world.operator();
    for (end, exit_code, outcome, event) in [
        (RunEnd::Exited, Some(2), RunOutcome::Failed, "RunFailed: run {} ended with exit code 2"),
        (
            RunEnd::TimedOut,
            Some(137),
            RunOutcome::TimedOut,
            "RunTimedOut: run {} was stopped after spec.action.exec.timeout",
        ),
        (
            RunEnd::NotStarted,
            None,
            RunOutcome::Failed,
            "RunFailed: run {} could not begin: no such directory",
        ),
        (RunEnd::Lost, None, RunOutcome::Lost, "RunLost: nobody knows how run {} ended: no such directory"),
    ] {
        world.pass(Duration::from_secs(60)).await;
        operator.reconcile().await.unwrap();
        let name = world.runner.begun().last().unwrap().clone();
        world.runner.finish(&name, &world.now().to_string(), end, exit_code, "no such directory");
        operator.learn(&world, &name).await;
        operator.reconcile().await.unwrap();
        operator.reconcile().await.unwrap();
        assert_eq!(world.last_outcome(), Some(outcome));
        assert_eq!(world.status().runs[0].output_tail.as_deref(), Some("no such directory"));
        // A second one of the same reason is counted by the first.
        let event = event.replace("{}", &name);
        let is_first = exit_code.is_some() || outcome == RunOutcome::Lost;
        assert_eq!(world.api.events().contains(&event), is_first, "{event}");
    }
    for (reason, count) in [("RunFailed", "2"), ("RunTimedOut", "1"), ("RunLost", "1")] {
        assert_eq!(operator.metric(&format!("events_total{{reason=\"{reason}\"}}")).unwrap(), count);
    }
    assert_eq!(operator.metric("cron_runs_total{outcome=\"Failed\"}").unwrap(), "2");
    assert_eq!(world.status().last_successful_time, None);
}

#[tokio::test(start_paused = true)]
async fn history_keeps_as_many_as_the_spec_says() {
    let history = json!({ "succeeded": 2, "failed": 1 });
    let world = World::with_nightly(json!({ "schedule": "* * * * *", "history": history })).await;
    let mut operator = world.operator();
    for exit_code in [1, 0, 1, 0, 0] {
        world.pass(Duration::from_secs(60)).await;
        operator.reconcile().await.unwrap();
        let name = world.runner.begun().last().unwrap().clone();
        operator.sees_end(&world, &name, exit_code).await;
    }
    assert_eq!(world.runs(), ["00:05:00 Succeeded", "00:04:00 Succeeded", "00:03:00 Failed"]);
}

#[tokio::test(start_paused = true)]
async fn jitter_delays_every_run_by_the_same_and_not_the_instant() {
    let world = World::with_nightly(json!({ "schedule": "0 * * * *", "jitter": "10m" })).await;
    let mut operator = world.settled_operator().await;
    let mut delays = Vec::new();
    for hour in 1..4 {
        world.pass_until(&format!("2026-03-01T0{hour}:00:00Z")).await;
        operator.reconcile().await.unwrap();
        assert_eq!(world.begun().len(), hour - 1, "not yet");
        let delay = operator.wait().unwrap();
        world.pass(delay).await;
        operator.reconcile().await.unwrap();
        assert_eq!(world.begun().len(), hour);
        operator.sees_end(&world, world.runner.begun().last().unwrap(), 0).await;
        delays.push(delay);
    }
    assert!(delays[0] > Duration::ZERO && delays[0] <= Duration::from_secs(600));
    assert_eq!((delays[1], delays[2]), (delays[0], delays[0]));
    assert_eq!(world.begun(), ["01:00:00", "02:00:00", "03:00:00"]);
    assert_eq!(world.status().next_schedule_time.unwrap().0.to_string(), "2026-03-01T04:00:00Z");
}

#[tokio::test(start_paused = true)]
async fn a_command_that_ends_at_once_is_noted_with_one_write() {
    let world = World::with_nightly(json!({ "schedule": "0 3 * * *" })).await;
    let asleep = vm_api::WorkspaceConfig {
        power: vm_api::PowerIntent::Asleep,
        ..vm_api::WorkspaceConfig::new("team-a", "ada")
    };
    operator::runner_client::RunnerConnection::put(&*world.runner, ADA_UID, &asleep).await.unwrap();
    let mut operator = world.settled_operator().await;
    world.api.take_writes();
    world.pass_until("2026-03-01T03:00:00Z").await;
    operator.reconcile().await.unwrap();
    assert_eq!(world.runs(), ["03:00:00 Failed"]);
    assert_eq!(world.status().runs[0].output_tail.as_deref(), Some("spec.power is Asleep"));
    let statuses = world.api.take_writes();
    assert_eq!(statuses.iter().filter(|write| write.starts_with("PATCH")).count(), 1, "{statuses:?}");
}
