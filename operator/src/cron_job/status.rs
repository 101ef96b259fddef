//! The status of a CronJob, as a function of what was observed. Pure.
//!
//! Conditions follow kstatus: `Ready` is the summary, `Reconciling` and `Stalled` are there only while they are true. A suspended
//! CronJob is as its spec wants it, hence Ready. Nothing in a status changes by the mere passing of time.

use super::{Error, prune::prune, turn::Outlook};
use crate::{
    event::News,
    workspace::{
        Verdict,
        status::{Conditions, find},
    },
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::events::EventType;
use lodge_crds::{
    CronJob, CronJobStatus, RunOutcome, RunStatus,
    condition::{self, reason},
};

/// Completes a status after a turn that had this outcome.
pub(super) fn complete(
    cron_job: &CronJob,
    mut status: CronJobStatus,
    outcome: &Result<Outlook, Error>,
    now: &Time,
) -> CronJobStatus {
    let finished = |run: &RunStatus| run.outcome.and(run.finished_at.clone());
    let succeeded = status.runs.iter().filter(|run| run.outcome == Some(RunOutcome::Succeeded));
    status.last_successful_time =
        succeeded.filter_map(finished).max().max(status.last_successful_time.take());
    let awaited = status.last_run_now.as_ref().map(|last| last.name.as_str());
    prune(&mut status.runs, &cron_job.spec.history, awaited);
    let going_on = status.runs.iter().rev().filter(|run| run.outcome.is_none());
    status.active = going_on.map(|run| run.name.clone()).collect();
    let (is_ready, reason, message, kind) = match outcome {
        Ok(Outlook::Scheduled) => (true, reason::SCHEDULED, "follows the schedule".to_owned(), None),
        Ok(Outlook::Suspended) => {
            let message = "suspended: no run begins by schedule while spec.suspend is true";
            (true, reason::SUSPENDED, message.to_owned(), None)
        }
        Err(error) => match error.verdict() {
            Verdict::Unchanged => return status,
            Verdict::Waiting(reason) => (false, reason, error.to_string(), Some(condition::RECONCILING)),
            Verdict::Stalled(reason) => (false, reason, error.to_string(), Some(condition::STALLED)),
        },
    };
    let generation = cron_job.metadata.generation;
    let mut conditions = Conditions { old: &status.conditions, new: Vec::new(), generation, now };
    conditions.set(condition::READY, is_ready, reason, &message);
    if let Some(kind) = kind {
        conditions.set(kind, true, reason, &message);
    }
    status.conditions = conditions.new;
    status.observed_generation = generation;
    status
}

/// What is worth an Event in going from one status to another: another answer to whether it is Ready, or why not.
pub(super) fn transition(
    old: &CronJobStatus,
    new: &CronJobStatus,
    outcome: &Result<Outlook, Error>,
) -> Option<News> {
    let summary = |status: &CronJobStatus| {
        find(&status.conditions, condition::READY).map(|ready| (ready.status.clone(), ready.reason.clone()))
    };
    let ready = find(&new.conditions, condition::READY)?;
    if summary(old) == summary(new) {
        return None;
    }
    let (severity, reason) = match outcome {
        // That a new one is in order goes without saying.
        Ok(_) if find(&old.conditions, condition::READY).is_none() => return None,
        Ok(Outlook::Scheduled) => (EventType::Normal, reason::SCHEDULED),
        Ok(Outlook::Suspended) => (EventType::Normal, reason::SUSPENDED),
        Err(error) => match error.verdict() {
            Verdict::Unchanged => return None,
            Verdict::Waiting(reason) | Verdict::Stalled(reason) => (EventType::Warning, reason),
        },
    };
    Some(News { severity, reason, action: "Reconcile", note: ready.message.clone() })
}

/// What is worth an Event in the end of a run: that it did not do its work. What the command wrote stays in the status.
pub(super) fn failure(run: &RunStatus) -> Option<News> {
    let name = &run.name;
    let (reason, note) = match run.outcome? {
        RunOutcome::Succeeded | RunOutcome::Replaced | RunOutcome::Skipped => return None,
        RunOutcome::Failed => match run.exit_code {
            Some(code) => ("RunFailed", format!("run {name} ended with exit code {code}")),
            None => {
                let why = run.output_tail.as_deref().unwrap_or("no reason was given");
                ("RunFailed", format!("run {name} could not begin: {why}"))
            }
        },
        RunOutcome::TimedOut => {
            ("RunTimedOut", format!("run {name} was stopped after spec.action.exec.timeout"))
        }
        RunOutcome::Lost => {
            let why = run.output_tail.as_deref().unwrap_or("the VM or the runner ended in the middle");
            ("RunLost", format!("nobody knows how run {name} ended: {why}"))
        }
    };
    Some(News { severity: EventType::Warning, reason, action: "Run", note })
}
