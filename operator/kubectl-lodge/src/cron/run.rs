//! `kubectl lodge cron run`: asks the operator, by an annotation, for a run outside the schedule, and waits for what it
//! comes to.

use std::time::Duration;

use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use lodge_crds::{condition, label};
use serde_json::json;
use tokio::time::Instant;
use vm_api::WireDuration;

use super::{Observed, ObservedCronJob, ObservedRun};
use crate::args::ClusterArgs;
use crate::cluster::{Cluster, api_error};
use crate::error::{self, Error};
use crate::place::check_name;
use crate::signals::until_signal;
use crate::terminal::Terminal;
use crate::workspace::{Condition, NO_KIND};

/// How often the status is looked at: at first, and in the end.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// What the operator says by then is about this request.
const STALL_PATIENCE: Duration = Duration::from_secs(3);
/// The operator has begun a run by then, or something is wrong.
const BEGIN_PATIENCE: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Examples:
  # Run it, wait, and print the end of what it says
  kubectl lodge cron run nightly

  # Only ask for it
  kubectl lodge cron run nightly --no-wait

It runs beside the schedule, also while the CronJob is suspended, and keeps to
spec.concurrencyPolicy. Ending this program does not end the run.

Exit codes:
  that of the command; 124 if its timeout ended it; 125 if it did not run, was replaced or is lost";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunArgs {
    /// Name of the CronJob
    #[arg(value_name = "CRONJOB")]
    name: String,
    /// Do not wait for its end
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for its end
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    timeout: WireDuration,
}

pub(super) async fn run(
    args: RunArgs,
    cluster_args: ClusterArgs,
    terminal: &mut Terminal,
) -> Result<u8, Error> {
    let RunArgs { name, no_wait, timeout } = args;
    let Cluster { client, namespace, credentials: _ } = Cluster::load(&cluster_args).await?;
    let api: Api<ObservedCronJob> = Api::namespaced(client, &namespace);
    let job = get(&api, &name, &namespace).await?;
    let at = instant(&job, Timestamp::now());
    let change = json!({"metadata": {"annotations": {label::RUN_NOW: at.to_string()}}});
    let patched = api.patch(&name, &PatchParams::default(), &Patch::Merge(&change)).await;
    patched.map_err(|error| {
        api_error(error, &format!("run CronJobs in namespace {namespace} (patch cronjobs.lodge.dev)"))
    })?;
    if no_wait {
        terminal.print(format!("CronJob {name} is asked to run, for {at}\n").as_bytes())?;
        return Ok(0);
    }
    let waiting = Waiting { api: &api, name: &name, namespace: &namespace, at };
    let run = until_signal(waiting.wait(timeout, terminal)).await?;
    report(&run, terminal)
}

/// Reads a CronJob.
pub(super) async fn get(
    api: &Api<ObservedCronJob>,
    name: &str,
    namespace: &str,
) -> Result<ObservedCronJob, Error> {
    check_name("CronJob", name)?;
    api.get(name).await.map_err(|error| match error {
        kube::Error::Api(status) if status.is_not_found() => {
            let is_kind_known = status.details.is_some_and(|details| details.name == name);
            Error::Api(if is_kind_known {
                format!("there is no CronJob {name} in namespace {namespace}; see `kubectl lodge cron list -n {namespace}`")
            } else {
                NO_KIND.to_owned()
            })
        }
        error => api_error(error, &format!("read CronJobs in namespace {namespace} (get cronjobs.lodge.dev)")),
    })
}

/// The instant that stands for this run: now, to the second, but none that stands for another run already.
fn instant(job: &ObservedCronJob, now: Timestamp) -> Timestamp {
    let mut taken: Vec<i64> = job
        .status
        .iter()
        .flat_map(|status| &status.runs)
        .filter_map(|run| second(&run.scheduled_for))
        .collect();
    let annotations = job.metadata.annotations.as_ref();
    taken.extend(annotations.and_then(|all| second(all.get(label::RUN_NOW)?)));
    let mut wanted = now.as_second();
    while taken.contains(&wanted) {
        wanted += 1;
    }
    Timestamp::from_second(wanted).unwrap_or(now)
}

fn second(instant: &str) -> Option<i64> {
    instant.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

struct Waiting<'a> {
    api: &'a Api<ObservedCronJob>,
    name: &'a str,
    namespace: &'a str,
    at: Timestamp,
}

impl Waiting<'_> {
    async fn wait(&self, timeout: WireDuration, terminal: &mut Terminal) -> Result<ObservedRun, Error> {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut is_told = false;
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            let job = get(self.api, self.name, self.namespace).await?;
            let status = job.status.unwrap_or_default();
            if let Some(run) = find(&status, self.at) {
                if run.outcome.is_some() {
                    return Ok(run.clone());
                }
                if !std::mem::replace(&mut is_told, true) {
                    terminal.tell(&format!("run {} has begun", run.name));
                }
            } else if let Some(stalled) = stalled(&status).filter(|_| began.elapsed() > STALL_PATIENCE) {
                return Err(Error::Api(format!(
                    "CronJob {} cannot run ({}): {}",
                    self.name, stalled.reason, stalled.message
                )));
            } else if began.elapsed() > BEGIN_PATIENCE && !std::mem::replace(&mut is_told, true) {
                terminal.tell(
                    "the operator has not begun the run yet; does it run? `kubectl get pods -A -l \
                     app.kubernetes.io/name=lodge-operator`",
                );
            }
            if began.elapsed() > timeout.0 {
                let (name, namespace) = (self.name, self.namespace);
                return Err(Error::Api(format!(
                    "the run has not ended within {timeout} and goes on; see `kubectl lodge cron list {name} -n {namespace}`"
                )));
            }
        }
    }
}

/// The run that was asked for: as the operator names it, or the one of that instant.
fn find(status: &Observed, at: Timestamp) -> Option<&ObservedRun> {
    let request = status.last_run_now.as_ref().filter(|request| request.value == at.to_string());
    status.runs.iter().find(|run| match request {
        Some(request) => run.name == request.name,
        None => second(&run.scheduled_for) == Some(at.as_second()),
    })
}

/// Why nothing can run.
fn stalled(status: &Observed) -> Option<&Condition> {
    status.conditions.iter().find(|found| found.kind == condition::STALLED && found.status == "True")
}

/// Prints what became of a run, and gives the exit code.
fn report(run: &ObservedRun, terminal: &mut Terminal) -> Result<u8, Error> {
    let ObservedRun { name, outcome, exit_code, output_tail, .. } = run;
    if let Some(tail) = output_tail.as_deref().filter(|tail| !tail.is_empty()) {
        terminal.print(tail.as_bytes())?;
        if !tail.ends_with('\n') {
            terminal.print(b"\n")?;
        }
    }
    let outcome = outcome.as_deref().unwrap_or("Lost");
    let code = exit_code.and_then(|code| u8::try_from(code).ok());
    let shown = code.map_or_else(String::new, |code| format!(", exit code {code}"));
    terminal.tell(&format!("run {name}: {outcome}{shown}"));
    Ok(match (outcome, code) {
        ("Succeeded", _) => 0,
        ("TimedOut", _) => error::TIMED_OUT,
        ("Failed", Some(code)) if code != 0 => code,
        _ => error::OWN_FAILURE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_known_by_the_operator_s_name_for_it() {
        let status: Observed = serde_json::from_value(json!({
            "lastRunNow": {"value": "2026-11-22T12:00:00Z", "name": "asked"},
            "runs": [{"name": "due", "scheduledFor": "2026-11-22T12:00:00Z"},
                     {"name": "asked", "scheduledFor": "2026-11-22T12:00:00Z"}],
        }))
        .unwrap();
        let named = |at: &str| find(&status, at.parse().unwrap()).map(|run| run.name.as_str());
        assert_eq!(named("2026-11-22T12:00:00Z"), Some("asked"));
        assert_eq!(named("2026-11-22T12:00:01Z"), None);
    }

    #[test]
    fn a_run_never_stands_for_another_one() {
        let job: ObservedCronJob = serde_json::from_value(json!({
            "metadata": {"annotations": {"lodge.dev/run-now": "2026-11-22T12:00:01Z"}},
            "status": {"runs": [{"name": "a", "scheduledFor": "2026-11-22T12:00:00Z"}]},
        }))
        .unwrap();
        let at = instant(&job, "2026-11-22T12:00:00.7Z".parse().unwrap());
        assert_eq!(at.to_string(), "2026-11-22T12:00:02Z");
        let other = instant(&job, "2026-11-22T13:00:00.7Z".parse().unwrap());
        assert_eq!(other.to_string(), "2026-11-22T13:00:00Z");
    }
}
