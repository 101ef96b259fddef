//! Writes what became of runs into a status. Pure. All times are cut to whole seconds, as Kubernetes writes them, so that a
//! status that was read back is equal to the one that was written.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lodge_crds::{CronJobStatus, RunOutcome, RunStatus};
use vm_api::{Run, RunEnd, run::MAX_TAIL_BYTES};

/// The identity of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// The instant for which it is scheduled, or at which it was asked for.
    pub scheduled_for: Timestamp,
    /// UID of the Workspace.
    pub workspace_uid: String,
}

/// A time in whole seconds.
pub fn time(instant: Timestamp) -> Time {
    Time(Timestamp::from_second(instant.as_second()).unwrap_or(instant))
}

/// Whether the status has a run of this name.
pub fn has(status: &CronJobStatus, name: &str) -> bool {
    status.runs.iter().any(|run| run.name == name)
}

/// Notes a run that a runner accepted. Returns it if it has ended already.
pub fn begun(status: &mut CronJobStatus, identity: Identity, run: &Run, now: Timestamp) -> Option<RunStatus> {
    let started_at = Some(time(run.started_at.parse().unwrap_or(now)));
    add(status, RunStatus { started_at, ..blank(identity) });
    ended(status, run, Stop::ByOthers, now)
}

/// Who stopped a run, if it was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The operator, for the one after it.
    ByUs,
    /// Whoever put the workspace to sleep.
    ByOthers,
}

/// Notes the end of a run, if it has ended. Returns it as it is then.
pub fn ended(status: &mut CronJobStatus, run: &Run, stop: Stop, now: Timestamp) -> Option<RunStatus> {
    let end = run.end?;
    let noted = status.runs.iter_mut().find(|noted| noted.name == run.name && noted.outcome.is_none())?;
    let finished_at = run.finished_at.as_deref().and_then(|at| at.parse().ok()).unwrap_or(now);
    noted.finished_at = Some(time(finished_at));
    noted.outcome = Some(match (end, run.exit_code) {
        (RunEnd::Exited, Some(0)) => RunOutcome::Succeeded,
        (RunEnd::Exited | RunEnd::NotStarted, _) => RunOutcome::Failed,
        (RunEnd::TimedOut, _) => RunOutcome::TimedOut,
        (RunEnd::Stopped, _) if stop == Stop::ByUs => RunOutcome::Replaced,
        (RunEnd::Stopped, _) => RunOutcome::Failed,
        (RunEnd::Lost, _) => RunOutcome::Lost,
    });
    noted.exit_code = run.exit_code.map(i32::from);
    noted.output_tail = tail(&run.output_tail).or_else(|| {
        let is_others = end == RunEnd::Stopped && stop == Stop::ByOthers;
        is_others.then(|| "it was stopped: its workspace was put to sleep or deleted".to_owned())
    });
    Some(noted.clone())
}

/// Notes the end of a run of which no runner tells, and why. Returns it as it is then.
pub fn closed(
    status: &mut CronJobStatus,
    identity: Identity,
    outcome: RunOutcome,
    why: &str,
    now: Timestamp,
) -> RunStatus {
    let name = identity.name.clone();
    if !has(status, &name) {
        add(status, blank(identity.clone()));
    }
    let end = |noted: &mut RunStatus| {
        noted.finished_at = Some(time(now));
        noted.outcome = Some(outcome);
        noted.output_tail = tail(why);
        noted.clone()
    };
    status.runs.iter_mut().find(|noted| noted.name == name).map(end).unwrap_or_else(|| blank(identity))
}

fn add(status: &mut CronJobStatus, run: RunStatus) {
    status.runs.retain(|noted| noted.name != run.name);
    status.runs.push(run);
}

fn blank(identity: Identity) -> RunStatus {
    let Identity { name, scheduled_for, workspace_uid } = identity;
    RunStatus {
        name,
        scheduled_for: time(scheduled_for),
        workspace_uid: Some(workspace_uid),
        started_at: None,
        finished_at: None,
        outcome: None,
        exit_code: None,
        output_tail: None,
        session_id: None,
    }
}

/// The end of a text.
fn tail(text: &str) -> Option<String> {
    let start = text.ceil_char_boundary(text.len().saturating_sub(MAX_TAIL_BYTES));
    text.get(start..).filter(|tail| !tail.is_empty()).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        let scheduled_for = "2026-11-22T19:00:00Z".parse().unwrap();
        Identity { name: "r".to_owned(), scheduled_for, workspace_uid: "u".to_owned() }
    }

    fn run(end: Option<RunEnd>, exit_code: Option<u8>) -> Run {
        let (name, started_at) = ("r".to_owned(), "2026-11-22T19:00:00.25Z".to_owned());
        let finished_at = end.map(|_| "2026-11-22T19:00:09.75Z".to_owned());
        Run { name, started_at, finished_at, end, exit_code, ..Run::default() }
    }

    #[test]
    fn an_end_becomes_an_outcome() {
        for (end, exit_code, outcome) in [
            (RunEnd::Exited, Some(0), RunOutcome::Succeeded),
            (RunEnd::Exited, Some(2), RunOutcome::Failed),
            (RunEnd::Exited, None, RunOutcome::Failed),
            (RunEnd::TimedOut, Some(143), RunOutcome::TimedOut),
            (RunEnd::Stopped, Some(143), RunOutcome::Failed),
            (RunEnd::NotStarted, None, RunOutcome::Failed),
            (RunEnd::Lost, None, RunOutcome::Lost),
        ] {
            let mut status = CronJobStatus::default();
            assert_eq!(begun(&mut status, identity(), &run(None, None), Timestamp::UNIX_EPOCH), None);
            let ended = ended(&mut status, &run(Some(end), exit_code), Stop::ByOthers, Timestamp::UNIX_EPOCH)
                .unwrap();
            assert_eq!((ended.outcome, ended.exit_code), (Some(outcome), exit_code.map(i32::from)));
        }
    }

    #[test]
    fn who_stopped_a_run_makes_the_difference() {
        for (stop, outcome, words) in [
            (Stop::ByUs, RunOutcome::Replaced, None),
            (
                Stop::ByOthers,
                RunOutcome::Failed,
                Some("it was stopped: its workspace was put to sleep or deleted"),
            ),
        ] {
            let mut status = CronJobStatus::default();
            begun(&mut status, identity(), &run(None, None), Timestamp::UNIX_EPOCH);
            let stopped = run(Some(RunEnd::Stopped), Some(143));
            let ended = ended(&mut status, &stopped, stop, Timestamp::UNIX_EPOCH).unwrap();
            assert_eq!((ended.outcome, ended.output_tail.as_deref()), (Some(outcome), words));
        }
    }

    #[test]
    fn an_end_is_noted_once_and_in_whole_seconds() {
        let mut status = CronJobStatus::default();
        let done = run(Some(RunEnd::Exited), Some(0));
        let noted = begun(&mut status, identity(), &done, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(serde_json::to_value(&noted).unwrap()["finishedAt"], "2026-11-22T19:00:09Z");
        assert_eq!(ended(&mut status, &done, Stop::ByOthers, Timestamp::UNIX_EPOCH), None);
        let read: CronJobStatus = serde_json::from_str(&serde_json::to_string(&status).unwrap()).unwrap();
        assert_eq!(read, status);
    }

    #[test]
    fn a_tail_is_the_end_and_no_half_character() {
        assert_eq!(tail(""), None);
        let long = format!("{}end", "ä".repeat(2000));
        let tail = tail(&long).unwrap();
        assert!(tail.len() <= MAX_TAIL_BYTES && tail.ends_with("äend"));
    }
}
