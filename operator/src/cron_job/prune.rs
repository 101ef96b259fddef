//! Which finished runs stay in the status. Pure.

use lodge_crds::{History, RunOutcome, RunStatus};

/// Drops what `spec.history` doesn't keep, and puts the newest first. Runs that go on stay, and so does the one of this name,
/// for whose end somebody may wait.
///
/// Those that succeeded, those that failed in any way, and those that were skipped are counted apart, so that neither a
/// schedule that works nor one that is too dense pushes the failures out.
pub(super) fn prune(runs: &mut Vec<RunStatus>, history: &History, awaited: Option<&str>) {
    runs.sort_by(|a, b| (&b.scheduled_for, &b.name).cmp(&(&a.scheduled_for, &a.name)));
    let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    let (mut succeeded, mut failed, mut skipped) =
        (size(history.succeeded), size(history.failed), size(history.failed));
    runs.retain(|run| {
        if awaited == Some(run.name.as_str()) {
            return true;
        }
        let left = match run.outcome {
            None => return true,
            Some(RunOutcome::Succeeded) => &mut succeeded,
            Some(RunOutcome::Skipped) => &mut skipped,
            Some(RunOutcome::Failed | RunOutcome::TimedOut | RunOutcome::Replaced | RunOutcome::Lost) => {
                &mut failed
            }
        };
        let is_kept = *left > 0;
        *left = left.saturating_sub(1);
        is_kept
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn run(second: i64, outcome: Option<RunOutcome>) -> RunStatus {
        RunStatus {
            name: format!("r-{second}"),
            scheduled_for: Time(jiff::Timestamp::from_second(second).unwrap()),
            workspace_uid: None,
            started_at: None,
            finished_at: None,
            outcome,
            exit_code: None,
            output_tail: None,
            session_id: None,
        }
    }

    #[test]
    fn the_newest_of_each_kind_stay_and_what_goes_on_stays_in_any_case() {
        use RunOutcome::{Failed, Lost, Skipped, Succeeded};
        let outcomes = [
            None,
            Some(Failed),
            Some(Succeeded),
            Some(Lost),
            Some(Succeeded),
            Some(Skipped),
            Some(Skipped),
            Some(Succeeded),
            None,
        ];
        let mut runs: Vec<_> = (0..).zip(outcomes).map(|(second, outcome)| run(second, outcome)).collect();
        prune(&mut runs, &History { succeeded: 2, failed: 1 }, None);
        let names: Vec<_> = runs.iter().map(|run| run.name.as_str()).collect();
        assert_eq!(names, ["r-8", "r-7", "r-6", "r-4", "r-3", "r-0"]);
        prune(&mut runs, &History { succeeded: 0, failed: 0 }, Some("r-4"));
        let names: Vec<_> = runs.iter().map(|run| run.name.as_str()).collect();
        assert_eq!(names, ["r-8", "r-4", "r-0"]);
    }
}
