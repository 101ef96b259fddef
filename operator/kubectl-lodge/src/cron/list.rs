//! `kubectl lodge cron list`: CronJobs with their last and next times, or the runs of one.

use kube::Api;
use kube::api::ListParams;
use serde_json::json;

use super::run::get;
use super::{ObservedCronJob, ObservedRun};
use crate::args::{ClusterArgs, Format};
use crate::cluster::{Cluster, api_error};
use crate::error::Error;
use crate::table::{self, Table};
use crate::terminal::Terminal;

const EXAMPLES: &str = "\
Examples:
  kubectl lodge cron list
  kubectl lodge cron list -A -o wide

  # The runs of one that are kept, with exit codes
  kubectl lodge cron list nightly
  kubectl lodge cron list nightly -o json";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ListArgs {
    /// Name of a CronJob whose runs are listed
    #[arg(value_name = "CRONJOB")]
    name: Option<String>,
    /// CronJobs of all namespaces
    #[arg(short = 'A', long, conflicts_with = "name")]
    all_namespaces: bool,
    /// How it is printed
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

pub(super) async fn run(
    args: ListArgs,
    cluster_args: ClusterArgs,
    terminal: &mut Terminal,
) -> Result<u8, Error> {
    let ListArgs { name, all_namespaces, output } = args;
    let Cluster { client, namespace, credentials: _ } = Cluster::load(&cluster_args).await?;
    if let Some(name) = name {
        let api = Api::namespaced(client, &namespace);
        let job = get(&api, &name, &namespace).await?;
        return print_runs(&job, output, terminal);
    }
    let api: Api<ObservedCronJob> =
        if all_namespaces { Api::all(client) } else { Api::namespaced(client, &namespace) };
    let jobs = api.list(&ListParams::default()).await;
    let jobs = jobs.map_err(|error| api_error(error, "list CronJobs of Lodge (list cronjobs.lodge.dev)"))?;
    let mut table = Table::new(
        &["NAMESPACE", "NAME", "WORKSPACE", "SCHEDULE", "LAST", "OUTCOME", "NEXT"],
        &["TIMEZONE", "ACTIVE", "READY"],
    );
    for job in &jobs.items {
        table.add(job.metadata.name.as_deref().unwrap_or_default(), cells(job));
    }
    table.print(&json!({"items": jobs.items}), output, "no CronJobs", terminal)?;
    Ok(0)
}

fn cells(job: &ObservedCronJob) -> Vec<String> {
    let status = job.status.clone().unwrap_or_default();
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let last = status
        .runs
        .iter()
        .filter(|run| run.outcome.is_some())
        .max_by(|a, b| a.scheduled_for.cmp(&b.scheduled_for));
    let next = if job.spec.suspend { Some("suspended".to_owned()) } else { status.next_schedule_time };
    let ready = status.conditions.iter().find(|condition| condition.kind == "Ready");
    vec![
        job.metadata.namespace.clone().unwrap_or_default(),
        job.metadata.name.clone().unwrap_or_default(),
        job.spec.workspace_ref.name.clone(),
        job.spec.schedule.clone(),
        status
            .last_schedule_time
            .as_deref()
            .map_or_else(|| "-".to_owned(), |at| format!("{} ago", table::age(at))),
        last.map_or_else(|| "-".to_owned(), outcome),
        or_none(next),
        or_none(job.spec.time_zone.clone()),
        status.active.len().to_string(),
        ready.map_or_else(|| "-".to_owned(), |ready| format!("{} ({})", ready.status, ready.reason)),
    ]
}

fn print_runs(job: &ObservedCronJob, format: Option<Format>, terminal: &mut Terminal) -> Result<u8, Error> {
    let runs = job.status.clone().unwrap_or_default().runs;
    let mut table = Table::new(&["NAME", "SCHEDULED", "STARTED", "FINISHED", "OUTCOME"], &["OUTPUT"]);
    for run in &runs {
        let ObservedRun { name, scheduled_for, started_at, finished_at, output_tail, .. } = run;
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let tail = output_tail.as_deref().unwrap_or_default();
        let last_line = tail.trim_end().lines().last().unwrap_or_default().to_owned();
        let cells = vec![
            name.clone(),
            scheduled_for.clone(),
            or_none(started_at),
            or_none(finished_at),
            outcome(run),
            last_line,
        ];
        table.add(name, cells);
    }
    table.print(&json!({"items": runs}), format, "no runs are kept", terminal)?;
    Ok(0)
}

fn outcome(run: &ObservedRun) -> String {
    match (&run.outcome, run.exit_code) {
        (None, _) => "running".to_owned(),
        (Some(outcome), Some(code)) if code != 0 => format!("{outcome} ({code})"),
        (Some(outcome), _) => outcome.clone(),
    }
}
