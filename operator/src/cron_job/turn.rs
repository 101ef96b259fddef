//! One turn of a reconcile: a working copy of the status, and what happened to it that is to be counted and announced once it
//! is written.

use super::{
    Error,
    dereference::{self, Host, Whereabouts},
    due::due,
    plan::{self, Plan},
    record::{self, Identity},
    register::Register,
    run_name,
    validate::{ValidatedCronJob, validate},
};
use crate::{
    context::Context,
    runner_client,
    workspace::{self, Verdict, push::permit},
};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use lodge_crds::{CronJob, CronJobStatus, FollowedSchedule, RunNow, RunOutcome, RunStatus, condition, label};
use std::time::Duration;
use vm_api::{ExecRequest, ProblemCode, Run};

/// A schedule that was followed further into the future than clocks are wrong by accident: the clock was wrong then.
const WRONG_CLOCK: SignedDuration = SignedDuration::from_hours(24);
/// The longest value of the annotation that is taken for one.
const MAX_REQUEST_BYTES: usize = 128;

/// One turn of a reconcile.
pub(super) struct Turn<'a> {
    pub(super) context: &'a Context,
    pub(super) cron_job: &'a CronJob,
    /// What stands for the CronJob in the names of its runs.
    pub(super) id: String,
    pub(super) namespace: String,
    pub(super) now: Timestamp,
    /// The status as it shall be.
    pub(super) status: CronJobStatus,
    /// When to come back by the schedule.
    pub(super) wake: Option<Duration>,
    /// Runs that ended in this turn.
    pub(super) ended: Vec<RunStatus>,
    /// How many were missed in this turn.
    pub(super) missed: u64,
    /// How late those were that began by schedule in this turn.
    pub(super) delays: Vec<Duration>,
}

/// How it looks after a turn without a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    /// It waits for its next run.
    Scheduled,
    /// `spec.suspend` is set.
    Suspended,
}

impl<'a> Turn<'a> {
    pub(super) fn new(cron_job: &'a CronJob, id: String, context: &'a Context) -> Self {
        Self {
            context,
            cron_job,
            id,
            namespace: cron_job.namespace().unwrap_or_default(),
            now: context.clock.time().0,
            status: cron_job.status.clone().unwrap_or_default(),
            wake: None,
            ended: Vec::new(),
            missed: 0,
            delays: Vec::new(),
        }
    }

    /// Brings runs to where they shall be. What happened is in the status in any case.
    pub(super) async fn advance(&mut self) -> Result<Outlook, Error> {
        let settled = self.settle().await;
        let outlook = self.follow().await;
        settled.and(outlook)
    }

    async fn follow(&mut self) -> Result<Outlook, Error> {
        self.status.next_schedule_time = None;
        let validated = validate(self.cron_job, &self.context.cron_jobs.zones)?;
        self.take_up_schedule();
        if !validated.is_suspended {
            let next = validated.timetable.next((self.now - validated.delay).max(self.until()));
            self.wake = next.map(|next| unsigned((next + validated.delay).duration_since(self.now)));
        }
        let result = self.run_what_is_due(&validated).await;
        if !validated.is_suspended {
            self.status.next_schedule_time = validated.timetable.next(self.until()).map(record::time);
        }
        result.map(|()| if validated.is_suspended { Outlook::Suspended } else { Outlook::Scheduled })
    }

    async fn run_what_is_due(&mut self, validated: &ValidatedCronJob) -> Result<(), Error> {
        if validated.is_suspended && self.requested().is_none() {
            return Ok(());
        }
        let workspace = dereference::workspace(&self.namespace, &validated.workspace, self.context)?;
        if !self.is_due(validated) {
            if self.has_to_check_environment() {
                dereference::exec(validated, self.context).await?;
            }
            return Ok(());
        }
        let host = match dereference::host(&workspace, self.context) {
            Whereabouts::Here(host) => host,
            Whereabouts::Away | Whereabouts::Gone => {
                return Err(Error::RunnerAway { name: validated.workspace.clone() });
            }
        };
        let Some(_permit) = permit(&host.permits).await else {
            return Err(Error::RunnerAway { name: validated.workspace.clone() });
        };
        self.adopt(validated, &host).await?;
        let exec = match dereference::exec(validated, self.context).await {
            Err(Error::Environment(source)) if matches!(source.verdict(), Verdict::Stalled(_)) => Err(source),
            other => Ok(other?),
        };
        self.run_requested(validated, &host, &exec).await?;
        if !validated.is_suspended {
            self.run_scheduled(validated, &host, &exec).await?;
        }
        exec.map(|_| ()).map_err(Error::Environment)
    }

    /// Whether a run is due, on request or by schedule.
    fn is_due(&self, validated: &ValidatedCronJob) -> bool {
        let by_schedule = || {
            let next = validated.timetable.next(self.until());
            next.is_some_and(|next| next <= self.now - validated.delay)
        };
        self.requested().is_some() || (!validated.is_suspended && by_schedule())
    }

    async fn run_requested(
        &mut self,
        validated: &ValidatedCronJob,
        host: &Host,
        exec: &Result<ExecRequest, workspace::Error>,
    ) -> Result<(), Error> {
        let Some(value) = self.requested() else { return Ok(()) };
        let name = run_name::manual(&self.id, &value);
        let scheduled_for = self.instant_of_request(&value);
        let identity = Identity { name: name.clone(), scheduled_for, workspace_uid: host.uid.clone() };
        let Plan { begin, skip, stops_others } =
            plan::on_request(identity, validated.concurrency, self.count_active());
        if stops_others {
            return self.stop_all().await;
        }
        for identity in begin {
            self.begin(identity, host, exec).await?;
        }
        for identity in skip {
            self.skip(identity);
        }
        self.status.last_run_now = Some(RunNow { value, name });
        Ok(())
    }

    async fn run_scheduled(
        &mut self,
        validated: &ValidatedCronJob,
        host: &Host,
        exec: &Result<ExecRequest, workspace::Error>,
    ) -> Result<(), Error> {
        let now = self.now - validated.delay;
        let due = due(&validated.timetable, self.until(), now, validated.choice);
        self.miss(due.missed);
        if let Some(missed) = due.missed_until {
            self.advance_to(missed);
        }
        let Plan { begin, skip, stops_others } =
            plan::by_schedule(&due, now, validated.concurrency, self.count_active());
        if stops_others {
            return self.stop_all().await;
        }
        let identity = |instant, id: &str| Identity {
            name: run_name::scheduled(id, instant),
            scheduled_for: instant,
            workspace_uid: host.uid.clone(),
        };
        for instant in begin {
            self.begin(identity(instant, &self.id), host, exec).await?;
            self.advance_to(instant);
            self.status.last_schedule_time = Some(record::time(instant));
            self.delays.push(unsigned(self.context.clock.time().0.duration_since(instant + validated.delay)));
        }
        for instant in skip {
            self.skip(identity(instant, &self.id));
            self.advance_to(instant);
        }
        Ok(())
    }

    /// Begins a run, or notes why it can't begin. A failure means that nobody knows; asking again under its name is safe.
    async fn begin(
        &mut self,
        identity: Identity,
        host: &Host,
        exec: &Result<ExecRequest, workspace::Error>,
    ) -> Result<(), Error> {
        let request = match exec {
            Ok(exec) => dereference::request(exec, host),
            Err(reason) => {
                self.refuse(identity, &reason.to_string());
                return Ok(());
            }
        };
        // Before it begins: it may end before its beginning is answered.
        self.register().expect(&self.id, &identity.name);
        match host.connection.put_run(&host.uid, &identity.name, &request).await {
            Ok(run) => {
                self.note_begin(identity, &run);
                Ok(())
            }
            Err(runner_client::Error::Refused(problem)) if is_final(&problem) => {
                self.refuse(identity, &problem.detail);
                Ok(())
            }
            Err(source) => {
                self.register().set_adopted(&self.id, false);
                Err(Error::Runner { name: host.name.clone(), source })
            }
        }
    }

    fn note_begin(&mut self, identity: Identity, run: &Run) {
        self.ended.extend(record::begun(&mut self.status, identity, run, self.now));
    }

    fn refuse(&mut self, identity: Identity, why: &str) {
        let closed = record::closed(&mut self.status, identity, RunOutcome::Failed, why, self.now);
        self.ended.push(closed);
    }

    fn skip(&mut self, identity: Identity) {
        let others = self.status.runs.iter().find(|run| run.outcome.is_none());
        let why = others.map_or_else(String::new, |run| format!("{} was still going on", run.name));
        let closed = record::closed(&mut self.status, identity, RunOutcome::Skipped, &why, self.now);
        self.ended.push(closed);
    }

    /// Asks all runs to end, each once; their ends bring the next turn.
    async fn stop_all(&mut self) -> Result<(), Error> {
        let going_on: Vec<_> = self.status.runs.iter().filter(|run| run.outcome.is_none()).cloned().collect();
        for run in going_on.iter().filter(|run| !self.register().is_stopping(&self.id, &run.name)) {
            let uid = run.workspace_uid.clone().unwrap_or_default();
            let name = &self.cron_job.spec.workspace_ref.name;
            if let Whereabouts::Here(host) = dereference::host_of(&self.namespace, name, &uid, self.context) {
                match host.connection.stop_run(&host.uid, &run.name).await {
                    Ok(_) => self.register().stopping(&self.id, &run.name),
                    // It has ended, which is about to be learned.
                    Err(runner_client::Error::Refused(_)) => self.register().ask_again(&self.id, &run.name),
                    Err(source) => return Err(Error::Runner { name: host.name, source }),
                }
            }
        }
        Ok(())
    }

    /// Begins to follow a schedule: from the creation on, or from now on if it is another than before.
    fn take_up_schedule(&mut self) {
        let (schedule, time_zone) =
            (self.cron_job.spec.schedule.to_string(), self.cron_job.spec.time_zone.to_string());
        let until = match &self.status.followed {
            None => self.cron_job.creation_timestamp().map_or(self.now, |time| time.0),
            Some(followed) if followed.schedule != schedule || followed.time_zone != time_zone => self.now,
            Some(followed) if followed.until.0.duration_since(self.now) > WRONG_CLOCK => self.now,
            Some(_) => return,
        };
        self.status.followed = Some(FollowedSchedule { schedule, time_zone, until: record::time(until) });
    }

    /// Up to where the schedule was followed.
    pub(super) fn until(&self) -> Timestamp {
        self.status.followed.as_ref().map_or(self.now, |followed| followed.until.0)
    }

    pub(super) fn advance_to(&mut self, instant: Timestamp) {
        if let Some(followed) = &mut self.status.followed {
            followed.until = record::time(instant);
        }
    }

    pub(super) fn miss(&mut self, count: u64) {
        if count > 0 {
            self.missed = self.missed.saturating_add(count);
            self.status.missed = Some(self.status.missed.unwrap_or_default().saturating_add(count));
        }
    }

    /// The value of the annotation, if it asks for a run that there has not been yet.
    pub(super) fn requested(&self) -> Option<String> {
        let value = self.cron_job.annotations().get(label::RUN_NOW)?;
        let is_new = self.status.last_run_now.as_ref().is_none_or(|last| last.value != *value);
        (is_new && !value.is_empty() && value.len() <= MAX_REQUEST_BYTES).then(|| value.clone())
    }

    /// The instant that a request names, or now.
    pub(super) fn instant_of_request(&self, value: &str) -> Timestamp {
        value.parse().unwrap_or(self.now)
    }

    /// Whether the environment has not been looked at since it changed, or was found wrong.
    fn has_to_check_environment(&self) -> bool {
        let status = &self.status;
        let is_stalled = workspace::status::is_true(&status.conditions, condition::STALLED);
        is_stalled || status.observed_generation != self.cron_job.metadata.generation
    }

    fn count_active(&self) -> usize {
        self.status.runs.iter().filter(|run| run.outcome.is_none()).count()
    }

    pub(super) fn register(&self) -> &'a Register {
        &self.context.cron_jobs.register
    }
}

/// Whether a runner would refuse the same again.
fn is_final(problem: &vm_api::Problem) -> bool {
    let is_about_request = matches!(problem.status, 400 | 413 | 422);
    is_about_request && problem.known_code() != Some(ProblemCode::StaleEpoch)
}

fn unsigned(duration: SignedDuration) -> Duration {
    Duration::try_from(duration).unwrap_or(Duration::ZERO)
}
