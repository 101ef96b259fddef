//! CronJobs on a real cluster: each instant runs once, also in a workspace that sleeps; runs can be asked for.

use anyhow::{Context, Result};
use e2e::{
    cluster::Cluster,
    namespace::{Namespace, eventually},
};
use lodge_crds::{CronJobStatus, RunOutcome};
use std::{collections::HashSet, time::Duration};

/// The names of the runs that ended in a way.
fn ended(status: &CronJobStatus, outcome: RunOutcome) -> Vec<&str> {
    let runs = status.runs.iter().filter(|run| run.outcome == Some(outcome));
    runs.map(|run| run.name.as_str()).collect()
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn each_instant_of_a_schedule_runs_once_and_wakes_its_workspace() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "cron")?;
    namespace.ready_workspace("ada", "  idle: {sleepAfter: 1s}")?;
    let spec = "  schedule: '*/3 * * * * *'\n  history: {succeeded: 20, failed: 3}\n  \
                action: {exec: {command: 'date +%s >> ~/runs; echo done'}}";
    namespace.apply_cron_job("often", "ada", spec)?;
    let mut seen = CronJobStatus::default();
    eventually(Duration::from_secs(90), || {
        seen = namespace.cron_job_status("often")?;
        Ok(ended(&seen, RunOutcome::Succeeded).len() >= 4)
    })
    .with_context(|| format!("four runs: {seen:?}"))?;
    namespace.apply_cron_job("often", "ada", &format!("{spec}\n  suspend: true"))?;
    eventually(Duration::from_secs(30), || {
        let first = namespace.cron_job_status("often")?;
        std::thread::sleep(Duration::from_secs(4));
        seen = namespace.cron_job_status("often")?;
        Ok(first.runs == seen.runs && seen.active.is_empty())
    })
    .context("nothing begins while it is suspended")?;
    let names = ended(&seen, RunOutcome::Succeeded);
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{names:?}");
    let lines = namespace.exec("ada", &["cat", "runs"])?.success()?;
    assert_eq!(lines.lines().count(), names.len(), "each run once, and no other: {lines} {seen:?}");
    let first = seen.runs.first().context("a run")?;
    assert_eq!((first.exit_code, first.output_tail.as_deref()), (Some(0), Some("done\n")), "{first:?}");
    assert!(seen.last_schedule_time.is_some() && seen.last_successful_time.is_some(), "{seen:?}");
    let cause = cluster.field(&namespace.name, "workspace/ada", ".status.lastWake.cause")?;
    assert!(["Cron", "Exec"].contains(&cause.as_str()), "{cause}");
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_run_can_be_asked_for_and_says_how_it_ended() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "runnow")?;
    namespace.ready_workspace("ada", "")?;
    namespace.lodge(&["sleep", "ada"])?.success()?;
    let spec = "  schedule: '0 3 1 1 *'\n  timeZone: Europe/Paris\n  suspend: true\n  \
                action: {exec: {command: 'echo once >> ~/runs; echo said; exit 3'}}";
    namespace.apply_cron_job("yearly", "ada", spec)?;
    let done = namespace.lodge(&["cron", "run", "yearly"])?;
    assert_eq!(done.code, 3, "the exit code is that of the command: {done:?}");
    assert!(done.stdout.contains("said"), "prints what it said: {done:?}");
    let list = namespace.lodge(&["cron", "list"])?.success()?;
    assert!(list.contains("yearly") && list.contains("0 3 1 1 *"), "{list}");
    let runs = namespace.lodge(&["cron", "list", "yearly"])?.success()?;
    assert!(runs.contains("Failed"), "{runs}");
    assert_eq!(
        namespace.exec("ada", &["cat", "runs"])?.success()?,
        "once\n",
        "once, and it was woken for it"
    );
    let again = namespace.lodge(&["cron", "run", "yearly"])?;
    assert_eq!(again.code, 3, "{again:?}");
    assert_eq!(namespace.exec("ada", &["cat", "runs"])?.success()?, "once\nonce\n");
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn what_cannot_run_yet_or_at_all_says_why() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "cronbad")?;
    namespace.apply_cron_job("orphan", "ada", "  schedule: '@daily'\n  action: {exec: {command: 'true'}}")?;
    let get =
        |name: &str, path: &str| cluster.field(&namespace.name, &format!("cronjobs.lodge.dev/{name}"), path);
    let becomes = |name: &str, kind: &str, wanted: &str| {
        let mut seen = String::new();
        eventually(Duration::from_secs(30), || {
            seen = get(name, &format!(".status.conditions[?(@.type==\"{kind}\")].reason"))?;
            Ok(seen == wanted)
        })
        .with_context(|| format!("{kind} of {name} has the reason {seen:?}, not {wanted}"))
    };
    becomes("orphan", "Ready", "WorkspaceMissing")?;
    let bad = [
        (
            "agent",
            "  schedule: '@daily'\n  action: {session: {agent: {name: pi}, prompt: hello}}",
            "NotImplemented",
        ),
        ("never", "  schedule: '0 0 30 2 *'\n  action: {exec: {command: 'true'}}", "ScheduleInvalid"),
        (
            "nowhere",
            "  schedule: '@daily'\n  timeZone: Europe/Nowhere\n  action: {exec: {command: 'true'}}",
            "TimeZoneUnknown",
        ),
    ];
    for (name, spec, reason) in bad {
        namespace.apply_cron_job(name, "ada", spec)?;
        becomes(name, "Stalled", reason)?;
    }
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_run_whose_runner_is_deleted_in_the_middle_is_lost_and_the_next_instant_runs() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "cronlost")?;
    namespace.ready_workspace("ada", "")?;
    // The first run goes on until somebody ends it; all others end at once.
    let command = "if mkdir ~/first 2>/dev/null; then sync; echo began; sleep 1000; else echo again; fi";
    let spec = format!(
        "  schedule: '*/4 * * * * *'\n  concurrencyPolicy: Forbid\n  history: {{succeeded: 20, failed: 20}}\n  \
         action: {{exec: {{command: '{command}'}}}}"
    );
    namespace.apply_cron_job("often", "ada", &spec)?;
    let mut seen = CronJobStatus::default();
    eventually(Duration::from_secs(60), || {
        let has_begun = namespace.exec("ada", &["ls", "/home/agent"])?.stdout.contains("first");
        seen = namespace.cron_job_status("often")?;
        Ok(has_begun && !seen.active.is_empty())
    })
    .with_context(|| format!("the first run goes on: {seen:?}"))?;
    let first = seen.active.first().context("a run")?.clone();
    let delete = ["delete", "pod", "lodge-runner-0", "-n", &namespace.name, "--wait=false"];
    cluster.kubectl(&delete)?.success()?;
    eventually(Duration::from_secs(60), || {
        seen = namespace.cron_job_status("often")?;
        Ok(!ended(&seen, RunOutcome::Lost).is_empty() && !ended(&seen, RunOutcome::Succeeded).is_empty())
    })
    .with_context(|| format!("the first run is lost, and another one runs: {seen:?}"))?;
    assert_eq!(ended(&seen, RunOutcome::Lost), [first.as_str()], "{seen:?}");
    let run = |name: &str| seen.runs.iter().find(|run| run.name == name).context("is remembered");
    let (lost, next) = (run(&first)?, run(ended(&seen, RunOutcome::Succeeded)[0])?);
    assert_eq!(next.output_tail.as_deref(), Some("again\n"), "{next:?}");
    assert!(next.scheduled_for.0 > lost.scheduled_for.0, "{next:?}");
    assert!(lost.finished_at.is_some(), "{lost:?}");
    assert_eq!(lost.output_tail.as_deref(), Some("began\n"), "what it had said is kept: {lost:?}");
    eventually(Duration::from_secs(20), || {
        let selector = "--field-selector=reason=RunLost,type=Warning,involvedObject.name=often";
        let get = ["get", "events", "-n", &namespace.name, selector, "-o", "jsonpath={.items[*].message}"];
        Ok(cluster.kubectl(&get)?.success()?.contains(&first))
    })
    .context("a Warning names the run that is lost")
}
