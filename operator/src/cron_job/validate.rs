//! From the spec of a CronJob to what can be run. Pure.

use super::{
    Error,
    due::Choice,
    schedule::{Timetable, zone::Zones},
};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use lodge_crds::{CatchUp, ConcurrencyPolicy, CronAction, CronJob, EnvVar, ExecAction, History};
use sha2::{Digest, Sha256};
use vm_api::{ExecRequest, WireDuration};

/// A CronJob that can be followed.
#[derive(Clone, Debug)]
pub struct ValidatedCronJob {
    /// Its namespace.
    pub namespace: String,
    /// Name of its Workspace.
    pub workspace: String,
    /// When it fires.
    pub timetable: Timetable,
    /// By how much each run begins later.
    pub delay: SignedDuration,
    /// What is run, without its environment.
    pub exec: ExecRequest,
    /// The environment, unresolved.
    pub env: Vec<EnvVar>,
    /// What happens when a run is due while another one goes on.
    pub concurrency: ConcurrencyPolicy,
    /// Which missed runs are made up for.
    pub choice: Choice,
    /// Whether no runs begin by schedule.
    pub is_suspended: bool,
    /// How many finished runs are kept.
    pub history: History,
}

/// Checks a CronJob.
///
/// # Errors
/// Names the part of the spec that is wrong, and the way out.
pub fn validate(cron_job: &CronJob, zones: &Zones) -> Result<ValidatedCronJob, Error> {
    let spec = &cron_job.spec;
    let zone = zones
        .get(&spec.time_zone)
        .ok_or_else(|| Error::TimeZoneUnknown { name: spec.time_zone.to_string() })?;
    let created = cron_job.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let timetable = Timetable::parse(&spec.schedule, zone, created).map_err(Error::ScheduleInvalid)?;
    let (exec, env) = exec(&spec.action)?;
    Ok(ValidatedCronJob {
        namespace: cron_job.namespace().unwrap_or_default(),
        workspace: spec.workspace_ref.name.to_string(),
        timetable,
        delay: delay(&cron_job.uid().unwrap_or_default(), spec.jitter.get()),
        exec,
        env,
        concurrency: spec.concurrency_policy,
        choice: Choice {
            catch_up: match (spec.concurrency_policy, spec.catch_up) {
                // Each would end the one before it.
                (ConcurrencyPolicy::Replace, CatchUp::All) => CatchUp::Last,
                (_, catch_up) => catch_up,
            },
            starting_deadline: spec.starting_deadline.as_ref().map(lodge_crds::Duration::get),
        },
        is_suspended: spec.suspend,
        history: spec.history.clone(),
    })
}

fn exec(action: &CronAction) -> Result<(ExecRequest, Vec<EnvVar>), Error> {
    let ExecAction { command, argv, env, cwd, timeout } = match action {
        CronAction { exec: Some(exec), session: None } => exec.clone(),
        CronAction { exec: None, session: Some(_) } => {
            let (path, what) = ("spec.action.session", "Sessions");
            return Err(Error::NotImplemented { path, what });
        }
        CronAction { exec: Some(_), session: Some(_) } | CronAction { exec: None, session: None } => {
            let detail = "set exactly one of exec and session";
            return Err(Error::InvalidSpec { path: "spec.action", detail });
        }
    };
    if command.is_some() == argv.is_some() {
        return Err(Error::InvalidSpec {
            path: "spec.action.exec",
            detail: "set exactly one of command and argv",
        });
    }
    let request = ExecRequest {
        command,
        argv,
        cwd: cwd.map(|path| path.to_string()),
        timeout: Some(WireDuration(timeout.get())),
        ..ExecRequest::default()
    };
    Ok((request, env))
}

/// The same for every run of a CronJob, and evenly spread over many CronJobs.
fn delay(uid: &str, jitter: std::time::Duration) -> SignedDuration {
    let digest = Sha256::digest(format!("jitter of {uid}"));
    let number = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let most = u64::try_from(jitter.as_millis()).unwrap_or(u64::MAX);
    let millis = most.checked_add(1).map_or(number, |span| number % span);
    SignedDuration::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn jitter_is_the_same_each_time_and_spread_over_many() {
        let jitter = Duration::from_secs(60);
        let delays: Vec<_> = (0..1000).map(|n| delay(&format!("uid-{n}"), jitter)).collect();
        assert!(delays.iter().all(|delay| (0..=60_000).contains(&delay.as_millis())));
        assert_eq!(delays[7], delay("uid-7", jitter));
        for quarter in 0..4 {
            let begin = quarter * 15_000;
            let count =
                delays.iter().filter(|delay| (begin..begin + 15_000).contains(&delay.as_millis())).count();
            assert!((180..320).contains(&count), "{count}");
        }
        assert_eq!(delay("uid-7", Duration::ZERO), SignedDuration::ZERO);
    }
}
