//! CronJob: what happens in a Workspace at which times. Always `lodge_crds::CronJob` and `cronjobs.lodge.dev` in full, so that it
//! is never taken for the one of `batch/v1`.
//!
//! ```yaml
//! apiVersion: lodge.dev/v1alpha1
//! kind: CronJob
//! metadata: {name: nightly, namespace: team-a}
//! spec:
//!   workspaceRef: {name: ada}
//!   schedule: "0 3 * * *"
//!   timeZone: Europe/Paris
//!   action: {exec: {command: make nightly}}
//! ```
//!
//! ```
//! use lodge_crds::{CronAction, CronJob, CronJobSpec, ExecAction, WorkspaceRef};
//! # fn main() -> Result<(), lodge_crds::InvalidText> {
//! let action = CronAction::exec(ExecAction::new("make nightly"));
//! let spec = CronJobSpec::new(WorkspaceRef { name: "ada".parse()? }, "@daily".parse()?, action);
//! assert_eq!(CronJob::new("nightly", spec).spec.time_zone, "UTC");
//! # Ok(())
//! # }
//! ```
//!
//! Field names that `batch/v1` has too mean the same. Knows nothing of when a schedule fires: that is the cron clock's.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Agent, Budget, Duration, EnvVar, McpServer, Model, Permissions, WorkspaceRef,
    condition::ConditionsSchema,
    mount::GuestPath,
    schema::{TimeSchema, at_least, duration_between, list_map, max_length, range, rules, strings},
    text::text,
};

text! {
    /// When something happens: five fields as in crontab, six with seconds in front, or a macro such as `@daily`. Whether
    /// the numbers make sense is seen by who computes the times (`operator`'s `cron_job::schedule`).
    Schedule: "schedule", max 128,
    rule "self.matches('^@(yearly|annually|monthly|weekly|daily|midnight|hourly|every [0-9hms]+)$') || \
          self.matches('^[-0-9A-Za-z*/,?#]+( +[-0-9A-Za-z*/,?#]+){4,5}$')",
    else "write five fields (minute hour day month weekday), six with seconds in front, or one of @yearly, @monthly, \
          @weekly, @daily, @hourly and '@every 5m'",
    if is_schedule
}

text! {
    /// A name of the time zone database.
    TimeZoneName: "time zone", max 64,
    rule "self.matches('^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$') && self != 'Local'",
    else "write a name of the time zone database such as Europe/Paris, or UTC",
    if is_time_zone
}

/// What shall happen when.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "lodge.dev",
    version = "v1alpha1",
    kind = "CronJob",
    plural = "cronjobs",
    singular = "cronjob",
    shortname = "wscron",
    category = "lodge",
    namespaced,
    status = "CronJobStatus",
    derive = "PartialEq",
    doc = "A CronJob runs a command or asks an agent in a Workspace at the times of a schedule. It wakes the Workspace if need be.",
    annotation("helm.sh/resource-policy", "keep"),
    label("app.kubernetes.io/name", "lodge"),
    label("app.kubernetes.io/part-of", "lodge"),
    selectable = ".spec.workspaceRef.name",
    selectable = ".spec.suspend",
    validation = Rule::new("self.metadata.name.size() <= 52 && !self.metadata.name.contains('.')")
        .message("metadata.name: use at most 52 lower-case letters, digits and '-': eleven more are needed for the names of runs"),
    printcolumn(name = "Workspace", type_ = "string", json_path = ".spec.workspaceRef.name", description = "The workspace it runs in."),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule", description = "When it runs."),
    printcolumn(name = "Suspend", type_ = "boolean", json_path = ".spec.suspend", description = "Whether it pauses."),
    printcolumn(name = "Last", type_ = "date", json_path = ".status.lastScheduleTime", description = "When it last ran."),
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextScheduleTime", description = "When it will run next.", priority = "1"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether it will run.", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct CronJobSpec {
    /// The Workspace, in the same namespace.
    pub workspace_ref: WorkspaceRef,
    /// When it runs: five fields as in crontab, six with seconds in front, or a macro such as @daily.
    pub schedule: Schedule,
    /// The time zone of the schedule, a name of the time zone database. Default: UTC.
    #[serde(default = "default_time_zone")]
    pub time_zone: TimeZoneName,
    /// What happens.
    pub action: CronAction,
    /// What happens when a run is due while another one goes on. Allow: both go on. Forbid: the new one is skipped. Replace:
    /// the old one is stopped. Default: Forbid.
    #[serde(default)]
    pub concurrency_policy: ConcurrencyPolicy,
    /// How late a run may begin; a run that is later counts as missed. From 1s to 8760h. Default: any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = duration_between("1s", "8760h"))]
    pub starting_deadline: Option<Duration>,
    /// Which missed runs are made up for. None: none, a run that is a minute late is missed. Last: the last one. All: each of
    /// them, but never more than 100. Default: Last.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// By how much a run may begin later, so that not everything begins at once. It is the same for every run of this
    /// CronJob. From 0s to 1h. Default: 0s.
    #[serde(default = "default_jitter")]
    #[schemars(transform = duration_between("0s", "1h"))]
    pub jitter: Duration,
    /// Whether no runs begin; those that go on are left alone. Runs that are missed meanwhile are made up for afterwards, as
    /// catchUp says. Default: false.
    #[serde(default)]
    pub suspend: bool,
    /// How many finished runs are kept in the status.
    #[serde(default)]
    pub history: History,
}

impl CronJobSpec {
    /// A CronJob that leaves everything else to the defaults.
    pub fn new(workspace_ref: WorkspaceRef, schedule: Schedule, action: CronAction) -> Self {
        Self {
            workspace_ref,
            schedule,
            time_zone: default_time_zone(),
            action,
            concurrency_policy: ConcurrencyPolicy::default(),
            starting_deadline: None,
            catch_up: CatchUp::default(),
            jitter: default_jitter(),
            suspend: false,
            history: History::default(),
        }
    }
}

fn default_time_zone() -> TimeZoneName {
    TimeZoneName::known("UTC")
}

fn default_jitter() -> Duration {
    Duration::from_secs(0)
}

/// What happens in a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules(&[(
    "has(self.exec) != has(self.session)",
    "exactly one of action.exec and action.session must be set: remove the other, or make another CronJob for it",
)]))]
pub struct CronAction {
    /// A command is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecAction>,
    /// An agent is asked, in a new Session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionAction>,
}

impl CronAction {
    /// Runs a command.
    pub fn exec(exec: ExecAction) -> Self {
        Self { exec: Some(exec), session: None }
    }

    /// Asks an agent.
    pub fn session(session: SessionAction) -> Self {
        Self { exec: None, session: Some(session) }
    }
}

/// A command that is run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules(&[(
    "has(self.command) != has(self.argv)",
    "exactly one of command and argv must be set: command goes through the shell, argv does not",
)]))]
pub struct ExecAction {
    /// The command, as for sh -c.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), transform = max_length(32768))]
    pub command: Option<String>,
    /// The program and its arguments, without a shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), transform = strings(256, 4096))]
    pub argv: Option<Vec<String>>,
    /// Environment of the command, in addition to the workspace's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_map("name", 128))]
    pub env: Vec<EnvVar>,
    /// The directory in which it runs. Default: the home directory of the workspace's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<GuestPath>,
    /// After how much time it is stopped. From 1s to 168h. Default: 10m.
    #[serde(default = "default_exec_timeout")]
    #[schemars(transform = duration_between("1s", "168h"))]
    pub timeout: Duration,
}

impl ExecAction {
    /// Runs `command` with a shell.
    pub fn new(command: impl Into<String>) -> Self {
        let command = Some(command.into());
        Self { command, argv: None, env: Vec::new(), cwd: None, timeout: default_exec_timeout() }
    }
}

fn default_exec_timeout() -> Duration {
    Duration::from_mins(10)
}

/// An agent that is asked. The fields are those of a Session; it is closed when the prompt is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionAction {
    /// The agent.
    pub agent: Agent,
    /// The model that the agent talks to. Default: what the agent is set up with itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// What the agent is asked.
    #[schemars(length(min = 1), transform = max_length(32768))]
    pub prompt: String,
    /// The directory in which the agent works. Default: the home directory of the workspace's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<GuestPath>,
    /// Environment of the agent, in addition to the workspace's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_map("name", 128))]
    pub env: Vec<EnvVar>,
    /// What the agent shall always keep in mind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = max_length(65536))]
    pub instructions: Option<String>,
    /// Servers of the Model Context Protocol that the agent may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_map("name", 16))]
    pub mcp_servers: Vec<McpServer>,
    /// What the agent may do without asking. Default: what the workspace says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
    /// What may be used up before the agent is stopped. Default: no bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

/// What happens when a run is due while another one goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConcurrencyPolicy {
    /// Both go on.
    Allow,
    /// The new one is skipped.
    #[default]
    Forbid,
    /// The old one is stopped.
    Replace,
}

/// Which missed runs are made up for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum CatchUp {
    /// None.
    None,
    /// The last one.
    #[default]
    Last,
    /// Each of them, but never more than [`CatchUp::MAX_RUNS`].
    All,
}

impl CatchUp {
    /// How many missed runs are made up for at most.
    pub const MAX_RUNS: usize = 100;
}

/// How many finished runs are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct History {
    /// Runs that succeeded. From 0 to 40. Default: 3.
    #[schemars(transform = range(0, 40))]
    pub succeeded: u32,
    /// Runs that failed in any way, and as many that were skipped. From 0 to 40. Default: 3.
    #[schemars(transform = range(0, 40))]
    pub failed: u32,
}

impl Default for History {
    fn default() -> Self {
        Self { succeeded: 3, failed: 3 }
    }
}

/// What was last seen of a CronJob.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CronJobStatus {
    /// The metadata.generation that the operator has acted upon.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = at_least(0))]
    pub observed_generation: Option<i64>,
    /// The scheduled instant of the last run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<TimeSchema>")]
    pub last_schedule_time: Option<Time>,
    /// The scheduled instant of the next run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<TimeSchema>")]
    pub next_schedule_time: Option<Time>,
    /// When a run last succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<TimeSchema>")]
    pub last_successful_time: Option<Time>,
    /// The names of runs that go on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = strings(100, 63))]
    pub active: Vec<String>,
    /// The runs that go on, and those that spec.history keeps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_map("name", 200))]
    pub runs: Vec<RunStatus>,
    /// The schedule that is followed, and how far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub followed: Option<FollowedSchedule>,
    /// The last run that was asked for with the annotation lodge.dev/run-now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run_now: Option<RunNow>,
    /// How many runs were missed and not made up for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = at_least(0))]
    pub missed: Option<u64>,
    /// Ready, Reconciling, Stalled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "ConditionsSchema")]
    pub conditions: Vec<Condition>,
}

/// A schedule, and how far it has been followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FollowedSchedule {
    /// The spec's schedule. A spec that says something else begins anew: nothing is made up for.
    #[schemars(transform = max_length(128))]
    pub schedule: String,
    /// The spec's time zone.
    #[schemars(transform = max_length(64))]
    pub time_zone: String,
    /// Every instant of the schedule up to this one has had its run, was skipped, or was counted as missed.
    #[schemars(with = "TimeSchema")]
    pub until: Time,
}

/// A run that was asked for with the annotation lodge.dev/run-now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunNow {
    /// The value of the annotation. The same value never runs twice.
    #[schemars(transform = max_length(128))]
    pub value: String,
    /// The name of the run, as in status.runs.
    #[schemars(transform = max_length(63))]
    pub name: String,
}

/// One firing of a CronJob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    /// Name of the run, a function of the CronJob's UID and the scheduled instant, so that it can't happen twice.
    #[schemars(transform = max_length(63))]
    pub name: String,
    /// The scheduled instant, or the one at which somebody asked for it.
    #[schemars(with = "TimeSchema")]
    pub scheduled_for: Time,
    /// The UID of the Workspace that it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = max_length(63))]
    pub workspace_uid: Option<String>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<TimeSchema>")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<TimeSchema>")]
    pub finished_at: Option<Time>,
    /// How it ended: Succeeded, Failed, TimedOut, Replaced, Skipped or Lost. Not set while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<RunOutcome>,
    /// The command's exit code, or 128 and the signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = range(0, 255))]
    pub exit_code: Option<i32>,
    /// The end of the command's output, or why it didn't run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = max_length(2048))]
    pub output_tail: Option<String>,
    /// The id of the session, for an agent that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = max_length(128))]
    pub session_id: Option<String>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RunOutcome {
    /// The command's exit code was 0, or the agent came to its end.
    Succeeded,
    /// The command's exit code wasn't 0, or the agent failed, or it couldn't be started.
    Failed,
    /// It was stopped after its timeout.
    TimedOut,
    /// It was stopped because the next one was due.
    Replaced,
    /// It didn't begin because another one went on.
    Skipped,
    /// Nobody knows: the runner went away in the middle.
    Lost,
}

fn is_schedule(schedule: &str) -> bool {
    if let Some(interval) = schedule.strip_prefix("@every ") {
        return !interval.is_empty() && interval.bytes().all(|b| b.is_ascii_digit() || b"hms".contains(&b));
    }
    if let Some(name) = schedule.strip_prefix('@') {
        return ["yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly"].contains(&name);
    }
    let is_field = |field: &str| field.bytes().all(|b| b.is_ascii_alphanumeric() || b"-*/,?#".contains(&b));
    let fields = schedule.split(' ').filter(|field| !field.is_empty());
    matches!(fields.clone().count(), 5 | 6)
        && fields.clone().all(is_field)
        && !schedule.starts_with(' ')
        && !schedule.ends_with(' ')
}

fn is_time_zone(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b))
    };
    name != "Local" && name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_has_five_fields_or_six_or_is_a_macro() {
        for right in ["*/5 * * * *", "0 */5 * * * MON-FRI", "@daily", "@every 1h30m", "0  3 1,15 * ?"] {
            assert!(Schedule::new(right).is_ok(), "{right:?}");
        }
        for wrong in
            ["", "* * * *", "* * * * * * *", "@never", " * * * * *", "* * * * * ", "@every ", "a;b * * * *"]
        {
            assert!(Schedule::new(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_time_zone_is_a_name_of_the_database() {
        for right in ["UTC", "Europe/Paris", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "EST5EDT"] {
            assert!(TimeZoneName::new(right).is_ok(), "{right:?}");
        }
        for wrong in ["Local", "+02:00", "Europe/", "/UTC", "Europe//Paris", "Europe/../Paris"] {
            assert!(TimeZoneName::new(wrong).is_err(), "{wrong:?}");
        }
    }
}
