//! Learns from runners what became of runs: of those that the status says go on ([`Turn::settle`]), and of those that an
//! earlier leader began and didn't live to note down ([`Turn::adopt`]).

use super::{
    Error,
    dereference::{Host, Whereabouts, host_of},
    due::{Choice, due},
    record::{self, Identity, Stop},
    run_name,
    turn::Turn,
    validate::ValidatedCronJob,
};
use crate::{runner_client, workspace::push::permit};
use jiff::Timestamp;
use lodge_crds::{CatchUp, ConcurrencyPolicy, RunNow, RunOutcome, RunStatus};
use vm_api::ProblemCode;

impl Turn<'_> {
    /// Notes the ends of runs. Returns a failure to ask for one, after which no other is asked for in this turn: a runner that
    /// hangs shall not hold it up once for each run.
    pub(super) async fn settle(&mut self) -> Result<(), Error> {
        let going_on: Vec<RunStatus> =
            self.status.runs.iter().filter(|run| run.outcome.is_none()).cloned().collect();
        let mut result = Ok(());
        for run in going_on {
            if let Some(ended) = self.register().ended(&self.id, &run.name) {
                self.note_end(&ended);
            } else if result.is_ok() {
                result = self.ask(&run).await;
                if result.is_err() {
                    self.register().ask_again(&self.id, &run.name);
                }
            }
        }
        result
    }

    /// Asks the runner for a run, if there is a reason to.
    async fn ask(&mut self, run: &RunStatus) -> Result<(), Error> {
        let uid = run.workspace_uid.clone().unwrap_or_default();
        let name = self.cron_job.spec.workspace_ref.name.clone();
        let host = match host_of(&self.namespace, &name, &uid, self.context) {
            Whereabouts::Gone => {
                self.lose(run, "its workspace was deleted");
                return Ok(());
            }
            Whereabouts::Away => return Ok(()),
            Whereabouts::Here(host) => host,
        };
        if !self.register().has_to_ask(&self.id, &run.name, &host.connection) {
            return Ok(());
        }
        let Some(_permit) = permit(&host.permits).await else {
            return Err(Error::RunnerAway { name: host.name });
        };
        match host.connection.get_run(&host.uid, &run.name).await {
            Ok(known) => self.note_end(&known),
            Err(runner_client::Error::Refused(problem)) if problem.is(ProblemCode::RunNotFound) => {
                self.lose(run, "the runner has forgotten it");
            }
            Err(source) => return Err(Error::Runner { name: host.name, source }),
        }
        Ok(())
    }

    fn lose(&mut self, run: &RunStatus, why: &str) {
        let identity = Identity {
            name: run.name.clone(),
            scheduled_for: run.scheduled_for.0,
            workspace_uid: run.workspace_uid.clone().unwrap_or_default(),
        };
        let closed = record::closed(&mut self.status, identity, RunOutcome::Lost, why, self.now);
        self.ended.push(closed);
    }

    fn note_end(&mut self, run: &vm_api::Run) {
        // A leader before this one may have stopped it.
        let is_ours = self.cron_job.spec.concurrency_policy == ConcurrencyPolicy::Replace
            || self.register().is_stopping(&self.id, &run.name);
        let stop = if is_ours { Stop::ByUs } else { Stop::ByOthers };
        self.ended.extend(record::ended(&mut self.status, run, stop, self.now));
    }

    /// Takes runs of this CronJob into the status that the runner knows and the status doesn't.
    ///
    /// Asked for once, before the first run that this process begins: later it knows what it did, unless a status could not be
    /// written.
    pub(super) async fn adopt(&mut self, validated: &ValidatedCronJob, host: &Host) -> Result<(), Error> {
        if self.register().is_adopted(&self.id) {
            return Ok(());
        }
        let list = host.connection.list_runs(&host.uid).await;
        let list = list.map_err(|source| Error::Runner { name: host.name.clone(), source })?;
        let until = self.until();
        let (mut adopted, mut last) = (0_u64, until);
        for run in list.items {
            if record::has(&self.status, &run.name) {
                continue;
            }
            let request = self.requested().filter(|value| run_name::manual(&self.id, value) == run.name);
            let scheduled_for = match (run_name::instant_of(&run.name, &self.id), &request) {
                (Some(instant), _) if instant > until || !run.is_finished() => instant,
                (None, Some(value)) => self.instant_of_request(value),
                _ => continue,
            };
            let identity =
                Identity { name: run.name.clone(), scheduled_for, workspace_uid: host.uid.clone() };
            self.ended.extend(record::begun(&mut self.status, identity, &run, self.now));
            if let Some(value) = request {
                self.status.last_run_now = Some(RunNow { value, name: run.name });
            } else if scheduled_for > until {
                adopted += 1;
                last = last.max(scheduled_for);
            }
        }
        self.pass_over(validated, until, last, adopted);
        self.register().set_adopted(&self.id, true);
        Ok(())
    }

    /// Whoever began runs up to `last` had decided to leave out the instants between them.
    fn pass_over(&mut self, validated: &ValidatedCronJob, until: Timestamp, last: Timestamp, adopted: u64) {
        if last > until {
            let all = Choice { catch_up: CatchUp::All, starting_deadline: None };
            let passed = due(&validated.timetable, until, last, all);
            let count = passed.missed + u64::try_from(passed.chosen.len()).unwrap_or_default();
            self.miss(count.saturating_sub(adopted));
            self.advance_to(last);
            self.status.last_schedule_time = Some(record::time(last));
        }
    }
}
