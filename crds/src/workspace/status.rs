//! What was last seen of a Workspace. Written by the operator only, coarsely: no heartbeats, nothing that changes with every
//! request.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    condition::ConditionsSchema,
    schema::{TimeSchema, at_least, list_map, max_length, range},
};

/// What was last seen of a Workspace. Coarse: what changes with every request is in the runner's API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkspaceStatus {
    /// The metadata.generation that the operator has acted upon.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = at_least(0))]
    pub observed_generation: Option<i64>,
    /// Whether the VM runs. Awake, Asleep, Waking, or Unbound if no runner has the workspace yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power: Option<ObservedPower>,
    /// Which runner has the workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner: Option<RunnerBinding>,
    /// Where the gateway serves the workspace's API.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = max_length(2048))]
    pub url: Option<String>,
    /// The names of the packages it has, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = max_length(2048))]
    pub software: Option<String>,
    /// The metadata.generation that the running VM was booted from; older than observedGeneration if a restart is required.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = at_least(0))]
    pub booted_generation: Option<i64>,
    /// How it last woke.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_wake: Option<Wake>,
    /// Since when nobody has used it. Written when it goes to sleep; spec.idle.deleteAfter counts from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<TimeSchema>")]
    pub idle_since: Option<Time>,
    /// What it uses, rounded, and written only when it has changed much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<WorkspaceUsage>,
    /// The state of each sandbox.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_map("name", 8))]
    pub sandboxes: Vec<SandboxStatus>,
    /// Ready, Reconciling, Stalled, Sleeping, RestartRequired, StoragePersistent, DataLost, SandboxReady.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "ConditionsSchema")]
    pub conditions: Vec<Condition>,
}

/// Whether the VM runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ObservedPower {
    /// It runs.
    Awake,
    /// It is off and would be woken by the first action.
    Asleep,
    /// It is booting.
    Waking,
    /// No runner has the workspace.
    Unbound,
}

/// Which runner has a workspace, and since which binding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunnerBinding {
    /// Name of the runner's pod.
    #[schemars(transform = max_length(253))]
    pub name: String,
    /// Grows with every binding of the workspace. A runner with a smaller one may not write.
    #[schemars(transform = at_least(0))]
    pub epoch: u64,
}

/// How a workspace woke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Wake {
    /// When.
    #[schemars(with = "TimeSchema")]
    pub at: Time,
    /// What woke it: Exec, Preview, Cron, Session or Spec.
    pub cause: WakeCause,
    /// How long the action waited before the boot began, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = range(0, u32::MAX.into()))]
    pub queued_ms: Option<u32>,
    /// How long the boot took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = range(0, u32::MAX.into()))]
    pub booted_ms: Option<u32>,
    /// How long it took from the action to the first byte of its answer, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = range(0, u32::MAX.into()))]
    pub first_byte_ms: Option<u32>,
}

/// What woke a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WakeCause {
    /// A command, a shell, or another action of the API.
    Exec,
    /// A request to a preview.
    Preview,
    /// A run of a CronJob.
    Cron,
    /// A prompt to a Session.
    Session,
    /// The spec: power is Awake.
    Spec,
}

/// What a workspace uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkspaceUsage {
    /// Bytes in the root's writable layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = at_least(0))]
    pub storage_bytes: Option<u64>,
    /// Files and directories in the root's writable layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = at_least(0))]
    pub files: Option<u64>,
    /// Open Sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = range(0, i32::MAX.into()))]
    pub sessions: Option<u32>,
    /// Running processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = range(0, i32::MAX.into()))]
    pub processes: Option<u32>,
    /// Bytes of memory of the VM.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = at_least(0))]
    pub memory_bytes: Option<u64>,
}

/// The state of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SandboxStatus {
    /// Name of the sandbox.
    #[schemars(transform = max_length(63))]
    pub name: String,
    /// Whether commands can run in it.
    pub ready: bool,
    /// Why they can't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = max_length(1024))]
    pub message: Option<String>,
}
