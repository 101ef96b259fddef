//! `cron list` and `cron run`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::world::{Outcome, World};

const JOB: &str = "/apis/lodge.dev/v1alpha1/namespaces/team-a/cronjobs/nightly";
const JOBS: &str = "/apis/lodge.dev/v1alpha1/namespaces/team-a/cronjobs";

fn job(status: Value) -> Value {
    json!({
        "apiVersion": "lodge.dev/v1alpha1", "kind": "CronJob", "metadata": {"name": "nightly", "namespace": "team-a"},
        "spec": {"workspaceRef": {"name": "ada"}, "schedule": "0 3 * * *", "action": {"exec": {"command": "make"}}},
        "status": status,
    })
}

/// Runs a CronJob; the operator gives the run this end.
async fn run_with(end: Value) -> (World, Outcome) {
    let world = World::new(|_| panic!("the gateway is not asked")).await;
    world.put(JOB, job(json!({})));
    let objects = world.objects.clone();
    let operator = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let mut objects = objects.lock().unwrap();
            let object = objects.get_mut(JOB).unwrap();
            let Some(at) = object["metadata"]["annotations"]["lodge.dev/run-now"].as_str().map(str::to_owned)
            else {
                continue;
            };
            let mut run = json!({"name": "nightly-m1", "scheduledFor": at});
            run.as_object_mut().unwrap().extend(end.as_object().unwrap().clone());
            let other =
                json!({"name": "nightly-1", "scheduledFor": "2026-01-01T03:00:00Z", "outcome": "Failed"});
            object["status"] = json!({"runs": [other, run]});
            return;
        }
    });
    let outcome = world.run(&["cron", "run", "nightly"]).await;
    operator.await.unwrap();
    (world, outcome)
}

#[tokio::test]
async fn a_run_is_asked_for_and_its_end_is_printed() {
    let (world, outcome) =
        run_with(json!({"outcome": "Failed", "exitCode": 3, "outputTail": "no rule"})).await;
    assert_eq!((outcome.code, outcome.text()), (3, "no rule\n"));
    assert_eq!(outcome.stderr, "run nightly-m1: Failed, exit code 3\n");
    let at = world.objects.lock().unwrap()[JOB]["metadata"]["annotations"]["lodge.dev/run-now"].clone();
    assert!(at.as_str().unwrap().ends_with('Z') && !at.as_str().unwrap().contains('.'), "{at}");
}

#[tokio::test]
async fn ends_have_exit_codes() {
    for (end, code) in [
        (json!({"outcome": "Succeeded", "exitCode": 0}), 0),
        (json!({"outcome": "TimedOut"}), 124),
        (json!({"outcome": "Skipped"}), 125),
        (json!({"outcome": "Lost"}), 125),
    ] {
        assert_eq!(run_with(end.clone()).await.1.code, code, "{end}");
    }
}

#[tokio::test]
async fn a_run_that_cannot_begin_says_why() {
    let world = World::new(|_| panic!("the gateway is not asked")).await;
    let stalled = json!({"type": "Stalled", "status": "True", "reason": "WorkspaceMissing", "message": "there is no Workspace ada"});
    world.put(JOB, job(json!({"conditions": [stalled]})));
    let outcome = world.run(&["cron", "run", "nightly"]).await;
    assert_eq!(outcome.code, 125);
    assert!(outcome.stderr.contains("WorkspaceMissing): there is no Workspace ada"), "{}", outcome.stderr);
    let missing = world.run(&["cron", "run", "weekly"]).await;
    assert!(missing.stderr.contains("there is no CronJob weekly in namespace team-a"), "{}", missing.stderr);
    let asked = world.run(&["cron", "run", "nightly", "--no-wait"]).await;
    assert!(asked.code == 0 && asked.text().starts_with("CronJob nightly is asked to run, for "));
}

#[tokio::test]
async fn jobs_and_their_runs_are_listed() {
    let world = World::new(|_| panic!("the gateway is not asked")).await;
    let runs = json!([
        {"name": "n-1", "scheduledFor": "2026-01-01T03:00:00Z", "outcome": "Failed", "exitCode": 2, "outputTail": "a\nb\n"},
        {"name": "n-2", "scheduledFor": "2026-01-02T03:00:00Z"},
    ]);
    let object = job(
        json!({"runs": runs, "nextScheduleTime": "2026-01-03T03:00:00Z", "lastScheduleTime": "2026-01-02T03:00:00Z"}),
    );
    world.put(JOB, object.clone());
    world.put(
        JOBS,
        json!({"apiVersion": "lodge.dev/v1alpha1", "kind": "CronJobList", "metadata": {}, "items": [object]}),
    );
    let jobs = world.run(&["cron", "list"]).await;
    assert_eq!((jobs.code, jobs.stderr.as_str()), (0, ""));
    for part in ["nightly", "0 3 * * *", "Failed (2)", "2026-01-03T03:00:00Z"] {
        assert!(jobs.text().contains(part), "{part} is missing in {}", jobs.text());
    }
    let runs = world.run(&["cron", "list", "nightly", "-o", "wide"]).await;
    assert!(runs.text().contains("running") && runs.text().contains("Failed (2)   b\n"), "{}", runs.text());
    assert_eq!(world.run(&["cron", "list", "-o", "name"]).await.text(), "nightly\n");
}
