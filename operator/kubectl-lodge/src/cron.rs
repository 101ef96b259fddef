//! `kubectl lodge cron`: CronJobs of a namespace, and runs outside their schedule.

mod list;
mod run;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lodge_crds::CronJob;
use serde::{Deserialize, Serialize};

pub(crate) use self::list::ListArgs;
pub(crate) use self::run::RunArgs;
use crate::args::ClusterArgs;
use crate::error::Error;
use crate::terminal::Terminal;
use crate::workspace::Condition;

const EXAMPLES: &str = "\
Examples:
  # What runs when, and how it went
  kubectl lodge cron list

  # Run one now; print what it says; its exit code is that of the command
  kubectl lodge cron run nightly

  # The runs of one
  kubectl lodge cron list nightly";

/// See CronJobs, and run them now
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct CronArgs {
    #[command(subcommand)]
    pub(crate) command: CronCommand,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum CronCommand {
    /// List CronJobs, or the runs of one
    List(ListArgs),
    /// Run a CronJob now, outside its schedule
    Run(RunArgs),
}

/// Does it.
pub(crate) async fn run(
    args: CronArgs,
    cluster_args: ClusterArgs,
    terminal: &mut Terminal,
) -> Result<u8, Error> {
    match args.command {
        CronCommand::List(args) => list::run(args, cluster_args, terminal).await,
        CronCommand::Run(args) => run::run(args, cluster_args, terminal).await,
    }
}

/// A CronJob, as far as this program reads it; leniently, as [`crate::workspace::ObservedWorkspace`].
#[derive(Clone, Debug, Serialize, Deserialize, kube::Resource)]
#[resource(inherit = "CronJob")]
struct ObservedCronJob {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: ObservedSpec,
    #[serde(default)]
    status: Option<Observed>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObservedSpec {
    workspace_ref: ObservedReference,
    schedule: String,
    time_zone: Option<String>,
    suspend: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObservedReference {
    name: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Observed {
    last_schedule_time: Option<String>,
    next_schedule_time: Option<String>,
    active: Vec<String>,
    runs: Vec<ObservedRun>,
    last_run_now: Option<ObservedRequest>,
    conditions: Vec<Condition>,
}

/// The last request that the operator has followed, and the run that it led to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct ObservedRequest {
    value: String,
    name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObservedRun {
    name: String,
    scheduled_for: String,
    started_at: Option<String>,
    finished_at: Option<String>,
    outcome: Option<String>,
    exit_code: Option<i32>,
    output_tail: Option<String>,
}
