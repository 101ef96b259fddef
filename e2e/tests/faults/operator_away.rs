//! An operator that is away for a while, and what it makes up for.

use crate::beside;
use anyhow::{Context, Result};
use e2e::{
    cluster::{Cluster, SYSTEM_NAMESPACE},
    namespace::{Namespace, eventually},
};
use lodge_crds::{CronJobStatus, RunOutcome};
use std::time::Duration;

/// While this lives there is no operator; then as many as before.
struct Away {
    cluster: Cluster,
    replicas: String,
}

impl Away {
    fn begin(cluster: &Cluster) -> Result<Self> {
        let replicas = cluster.field(SYSTEM_NAMESPACE, "deployment/lodge-operator", ".spec.replicas")?;
        let away = Self { cluster: cluster.clone(), replicas };
        away.scale("0")?;
        let selector = "app.kubernetes.io/name=lodge-operator";
        let gone = ["wait", "pods", "-n", SYSTEM_NAMESPACE, "-l", selector, "--for=delete", "--timeout=60s"];
        cluster.kubectl(&gone)?.success()?;
        Ok(away)
    }

    fn scale(&self, replicas: &str) -> Result<()> {
        let replicas = format!("--replicas={replicas}");
        let scale = ["scale", "deployment/lodge-operator", "-n", SYSTEM_NAMESPACE, &replicas];
        self.cluster.kubectl(&scale)?.success().map(drop)
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        // A failure is noticed by whoever waits for the operator.
        drop(self.scale(&self.replicas));
    }
}

/// Seconds from one instant of the schedule to the next.
const EVERY: i64 = 4;

/// The instants of the runs that there are, oldest first.
fn instants(status: &CronJobStatus) -> Vec<i64> {
    let mut instants: Vec<_> = status.runs.iter().map(|run| run.scheduled_for.0.as_second()).collect();
    instants.sort_unstable();
    instants
}

/// The last instant of a run that succeeded; 0 if there is none.
fn last_success(status: &CronJobStatus) -> i64 {
    let good = status.runs.iter().filter(|run| run.outcome == Some(RunOutcome::Succeeded));
    good.map(|run| run.scheduled_for.0.as_second()).max().unwrap_or_default()
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn an_operator_that_was_away_makes_up_for_each_run_or_for_the_last_as_it_is_told() -> Result<()> {
    let _beside = beside();
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "catchup")?;
    namespace.ready_workspace("ada", "")?;
    let spec = |catch_up: &str, suspend: bool| {
        format!(
            "  schedule: '*/{EVERY} * * * * *'\n  catchUp: {catch_up}\n  concurrencyPolicy: Allow\n  suspend: {suspend}\n  \
             history: {{succeeded: 40, failed: 40}}\n  action: {{exec: {{command: 'echo x >> ~/{catch_up}'}}}}"
        )
    };
    let jobs = [("every", "All"), ("newest", "Last")];
    let all_succeed_after = |second: i64| {
        eventually(Duration::from_secs(60), || {
            let is_later = |name| anyhow::Ok(last_success(&namespace.cron_job_status(name)?) > second);
            Ok(is_later("every")? && is_later("newest")?)
        })
    };
    for (name, catch_up) in jobs {
        namespace.apply_cron_job(name, "ada", &spec(catch_up, false))?;
    }
    all_succeed_after(0).context("both run")?;
    let away = Away::begin(&cluster)?;
    let before = namespace.cron_job_status("every")?;
    // Three instants pass, and a workspace is there for whoever needs it.
    std::thread::sleep(Duration::from_secs(3 * u64::try_from(EVERY)?));
    assert_eq!(namespace.exec("ada", &["echo", "here"])?.success()?, "here\n");
    assert_eq!(namespace.cron_job_status("every")?, before, "nothing runs while there is no operator");
    let returns = last_success(&before) + 3 * EVERY;
    drop(away);
    all_succeed_after(returns).context("both run again")?;
    for (name, catch_up) in jobs {
        namespace.apply_cron_job(name, "ada", &spec(catch_up, true))?;
    }
    for (name, catch_up) in jobs {
        let mut status = CronJobStatus::default();
        eventually(Duration::from_secs(30), || {
            status = namespace.cron_job_status(name)?;
            let is_suspended = status.conditions.iter().any(|condition| condition.reason == "Suspended");
            Ok(is_suspended && status.active.is_empty())
        })
        .with_context(|| format!("{name} comes to rest: {status:?}"))?;
        let (instants, missed) = (instants(&status), i64::try_from(status.missed.unwrap_or_default())?);
        let is_good = status.runs.iter().all(|run| run.outcome == Some(RunOutcome::Succeeded));
        assert!(is_good, "{status:?}");
        let passed = (instants[instants.len() - 1] - instants[0]) / EVERY + 1;
        let count = i64::try_from(instants.len())?;
        assert_eq!(
            count + missed,
            passed,
            "{name}: each instant has run or is counted as missed: {status:?}"
        );
        match name {
            "every" => assert_eq!(missed, 0, "{status:?}"),
            _ => assert!(missed >= 2, "of the instants that passed only the last has run: {status:?}"),
        }
        let lines = namespace.exec("ada", &["wc", "-l", catch_up])?.success()?;
        assert!(lines.trim().starts_with(&format!("{count} ")), "each run once, {count} of them: {lines}");
    }
    Ok(())
}
