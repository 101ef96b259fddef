//! CronJobs on a real cluster: each instant runs once, also in a workspace that sleeps; runs can be asked for.

use anyhow::{Context, Result};
use e2e::{
    cluster::Cluster,
    namespace::{Namespace, eventually},
};
use serde_json::Value;
use std::{collections::HashSet, time::Duration};

fn apply(cluster: &Cluster, namespace: &Namespace, name: &str, spec: &str) -> Result<()> {
    let space = &namespace.name;
    let manifest = format!(
        "apiVersion: lodge.dev/v1alpha1\nkind: CronJob\nmetadata: {{name: {name}, namespace: {space}}}\n\
         spec:\n  workspaceRef: {{name: ada}}\n{spec}\n"
    );
    cluster.apply(&manifest)?.success().map(drop)
}

fn status(cluster: &Cluster, namespace: &Namespace, name: &str) -> Result<Value> {
    let get = ["get", "cronjobs.lodge.dev", name, "-n", &namespace.name, "-o", "json"];
    let object: Value = serde_json::from_str(&cluster.kubectl(&get)?.success()?)?;
    Ok(object["status"].clone())
}

/// The names of the runs that succeeded.
fn succeeded(status: &Value) -> Vec<String> {
    let runs = status["runs"].as_array().into_iter().flatten();
    let good = runs.filter(|run| run["outcome"] == "Succeeded");
    good.filter_map(|run| run["name"].as_str().map(str::to_owned)).collect()
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn each_instant_of_a_schedule_runs_once_and_wakes_its_workspace() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "cron")?;
    namespace.ready_workspace("ada", "  idle: {sleepAfter: 1s}")?;
    let spec = "  schedule: '*/3 * * * * *'\n  history: {succeeded: 20, failed: 3}\n  \
                action: {exec: {command: 'date +%s >> ~/runs; echo done'}}";
    apply(&cluster, &namespace, "often", spec)?;
    let mut seen = Value::Null;
    eventually(Duration::from_secs(90), || {
        seen = status(&cluster, &namespace, "often")?;
        Ok(succeeded(&seen).len() >= 4)
    })
    .with_context(|| format!("four runs: {seen}"))?;
    apply(&cluster, &namespace, "often", &format!("{spec}\n  suspend: true"))?;
    eventually(Duration::from_secs(30), || {
        let first = status(&cluster, &namespace, "often")?;
        std::thread::sleep(Duration::from_secs(4));
        seen = status(&cluster, &namespace, "often")?;
        Ok(first["runs"] == seen["runs"] && seen["active"].as_array().is_none_or(Vec::is_empty))
    })
    .context("nothing begins while it is suspended")?;
    let names = succeeded(&seen);
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{names:?}");
    let lines = namespace.exec("ada", &["cat", "runs"])?.success()?;
    assert_eq!(lines.lines().count(), names.len(), "each run once, and no other: {lines} {seen}");
    let first = &seen["runs"][0];
    assert_eq!((&first["exitCode"], &first["outputTail"]), (&0.into(), &"done\n".into()), "{first}");
    assert!(seen["lastScheduleTime"].is_string() && seen["lastSuccessfulTime"].is_string(), "{seen}");
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
    apply(&cluster, &namespace, "yearly", spec)?;
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
    apply(&cluster, &namespace, "orphan", "  schedule: '@daily'\n  action: {exec: {command: 'true'}}")?;
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
        apply(&cluster, &namespace, name, spec)?;
        becomes(name, "Stalled", reason)?;
    }
    Ok(())
}
