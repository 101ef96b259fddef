//! The types and reasons of conditions: what `kubectl wait --for=condition=…` and alerts may rely on.
//!
//! Conditions follow kstatus: `Ready` (Workspace, CronJob) or `Succeeded` (Session) is the summary, `Reconciling` and `Stalled`
//! exist only while they are true. A reason is for machines and never changes its meaning; the message is for people.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The kind can do its work: a Workspace can be used (asleep or not), a CronJob fires.
pub const READY: &str = "Ready";
/// Every prompt of a Session's spec has been driven to its end.
pub const SUCCEEDED: &str = "Succeeded";
/// The operator is still working towards the spec.
pub const RECONCILING: &str = "Reconciling";
/// The operator can't get any further until somebody changes something.
pub const STALLED: &str = "Stalled";
/// The Workspace's VM is off and would be woken by the first action.
pub const SLEEPING: &str = "Sleeping";
/// The spec has changes that take effect at the next boot.
pub const RESTART_REQUIRED: &str = "RestartRequired";
/// The root's writable layer survives sleep and restarts of the runner.
pub const STORAGE_PERSISTENT: &str = "StoragePersistent";
/// The runner came back without what it had of the Workspace; it stays until the spec changes next.
pub const DATA_LOST: &str = "DataLost";
/// An agent waits for somebody to answer a permission request.
pub const AWAITING_PERMISSION: &str = "AwaitingPermission";
/// A Session has used up its budget.
pub const BUDGET_EXHAUSTED: &str = "BudgetExhausted";
/// Every sandbox of the Workspace can run commands.
pub const SANDBOX_READY: &str = "SandboxReady";

/// Reasons of [`READY`], [`RECONCILING`] and [`STALLED`], and of the conditions named in each line.
pub mod reason {
    /// Ready: the Workspace is bound to a runner that knows its spec.
    pub const BOUND: &str = "Bound";
    /// Not Ready: the Workspace isn't bound to a runner yet.
    pub const BINDING: &str = "Binding";
    /// Not Ready: the runner's pod isn't ready yet.
    pub const RUNNER_NOT_READY: &str = "RunnerNotReady";
    /// Not Ready: the runner's pod can't be scheduled, or can't get its volume.
    pub const RUNNER_UNSCHEDULABLE: &str = "RunnerUnschedulable";
    /// Not Ready: the runner doesn't answer.
    pub const RUNNER_UNREACHABLE: &str = "RunnerUnreachable";
    /// Not Ready: every runner of the namespace is full.
    pub const RUNNERS_FULL: &str = "RunnersFull";
    /// Stalled: the runner knows no package of a name in spec.software.
    pub const SOFTWARE_UNKNOWN: &str = "SoftwareUnknown";
    /// Reconciling: packages of an npm registry are being installed.
    pub const SOFTWARE_INSTALLING: &str = "SoftwareInstalling";
    /// Stalled: a Secret, or a key in it, is missing.
    pub const SECRET_MISSING: &str = "SecretMissing";
    /// Stalled: a ConfigMap, or a key in it, is missing.
    pub const CONFIG_MAP_MISSING: &str = "ConfigMapMissing";
    /// Stalled: a PersistentVolumeClaim is missing.
    pub const CLAIM_MISSING: &str = "ClaimMissing";
    /// Stalled: the spec asks for something that the schema can't refuse.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// Stalled: the API server refused something that the operator has to make; the message has its words.
    pub const APPLY_REFUSED: &str = "ApplyRefused";
    /// Stalled: the VM doesn't boot; the message has its last words.
    pub const BOOT_FAILED: &str = "BootFailed";
    /// Not Ready: the Workspace is being deleted.
    pub const DELETING: &str = "Deleting";
    /// Stalled while deleting: the runner can't be made to give up the data; the finalizer gave up.
    pub const CLEANUP_ABANDONED: &str = "CleanupAbandoned";
    /// Any condition: the operator has done what the spec asks.
    pub const RECONCILED: &str = "Reconciled";
    /// Any condition: the operator is still working on it.
    pub const IN_PROGRESS: &str = "InProgress";

    /// Sleeping: nobody used it for spec.idle.sleepAfter.
    pub const IDLE: &str = "Idle";
    /// Sleeping: spec.power says so.
    pub const POWER_ASLEEP: &str = "PowerAsleep";
    /// Sleeping: it has never been used.
    pub const NEVER_WOKEN: &str = "NeverWoken";
    /// Sleeping: somebody asked for it.
    pub const ON_DEMAND: &str = "OnDemand";
    /// Sleeping: the runner was short of memory.
    pub const MEMORY_PRESSURE: &str = "MemoryPressure";
    /// Sleeping: the VM went over spec.limits.memory and was ended.
    pub const MEMORY_LIMIT: &str = "MemoryLimit";
    /// Sleeping: the VM ended by itself.
    pub const VM_DIED: &str = "VmDied";
    /// Sleeping: the runner began anew while the VM ran.
    pub const RUNNER_RESTARTED: &str = "RunnerRestarted";
    /// Not Sleeping: it is in use, or spec.power says Awake.
    pub const AWAKE: &str = "Awake";

    /// RestartRequired: the spec has changed in fields that need a boot; the message names them.
    pub const SPEC_CHANGED: &str = "SpecChanged";
    /// Not RestartRequired: the VM runs what the spec says.
    pub const UP_TO_DATE: &str = "UpToDate";

    /// StoragePersistent: the files are on the runner's volume.
    pub const ON_VOLUME: &str = "OnVolume";
    /// Not StoragePersistent: the runner has no volume, the files are in its memory or on its node.
    pub const MEMORY_ONLY: &str = "MemoryOnly";
    /// Not StoragePersistent: spec.storage.type says so.
    pub const EPHEMERAL: &str = "Ephemeral";

    /// DataLost: the runner's volume has nothing of the Workspace any more.
    pub const VOLUME_LOST: &str = "VolumeLost";
    /// The Event before a Workspace is deleted because nobody used it for spec.idle.deleteAfter.
    pub const EXPIRED: &str = "Expired";

    /// SandboxReady: every sandbox runs.
    pub const SANDBOXES_RUNNING: &str = "SandboxesRunning";
    /// Not SandboxReady: the runner has no Docker engine.
    pub const ENGINE_MISSING: &str = "EngineMissing";
    /// Not SandboxReady: a sandbox couldn't be started; the message says which and why.
    pub const SANDBOX_FAILED: &str = "SandboxFailed";

    /// Stalled: the Workspace that a Session or CronJob refers to doesn't exist.
    pub const WORKSPACE_MISSING: &str = "WorkspaceMissing";
    /// Not Ready: the Workspace that a Session or CronJob refers to isn't ready.
    pub const WORKSPACE_NOT_READY: &str = "WorkspaceNotReady";
    /// Stalled: the Workspace has no agent of this name.
    pub const AGENT_UNKNOWN: &str = "AgentUnknown";
    /// Stalled: the agent ended, or doesn't speak the Agent Client Protocol; the message has its last words.
    pub const AGENT_FAILED: &str = "AgentFailed";
    /// Not Succeeded yet: prompts are left.
    pub const PROMPTS_PENDING: &str = "PromptsPending";
    /// Succeeded: every prompt came to its end.
    pub const PROMPTS_FINISHED: &str = "PromptsFinished";
    /// Not Succeeded: a prompt's turn failed; the message says which.
    pub const PROMPT_FAILED: &str = "PromptFailed";
    /// Not Succeeded: somebody closed the Session before every prompt was done.
    pub const CLOSED: &str = "Closed";
    /// AwaitingPermission: requests are open.
    pub const REQUESTS_PENDING: &str = "RequestsPending";
    /// Not AwaitingPermission: no request is open.
    pub const NO_REQUESTS: &str = "NoRequests";
    /// BudgetExhausted: spec.budget.tokens is used up.
    pub const TOKENS_EXHAUSTED: &str = "TokensExhausted";
    /// BudgetExhausted: spec.budget.toolCalls is used up.
    pub const TOOL_CALLS_EXHAUSTED: &str = "ToolCallsExhausted";
    /// BudgetExhausted: spec.budget.duration is used up.
    pub const DURATION_EXHAUSTED: &str = "DurationExhausted";
    /// Not BudgetExhausted: some of the budget is left, or there is none.
    pub const WITHIN_BUDGET: &str = "WithinBudget";

    /// Ready: the CronJob waits for its next run.
    pub const SCHEDULED: &str = "Scheduled";
    /// Ready, as the spec wants it: spec.suspend is set, so no run begins by schedule.
    pub const SUSPENDED: &str = "Suspended";
    /// Stalled: the schedule can't be parsed, or never comes.
    pub const SCHEDULE_INVALID: &str = "ScheduleInvalid";
    /// Stalled: the time zone isn't known.
    pub const TIME_ZONE_UNKNOWN: &str = "TimeZoneUnknown";
}

/// Stands for a list of [`Condition`]s in schemas: bounded, and merged by type.
pub(crate) struct ConditionsSchema;

impl JsonSchema for ConditionsSchema {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Conditions".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "maxItems": 16,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": {
                "type": "object",
                "description": "One aspect of the current state of the object.",
                "required": ["type", "status", "lastTransitionTime", "reason", "message"],
                "properties": {
                    "type": {
                        "description": "Which aspect, such as Ready.",
                        "type": "string",
                        "minLength": 1,
                        "maxLength": 63,
                    },
                    "status": {
                        "description": "Whether it holds: True, False or Unknown.",
                        "type": "string",
                        "enum": ["True", "False", "Unknown"],
                    },
                    "observedGeneration": {
                        "description": "The metadata.generation that was looked at. If it is older than the object's, the condition is out of date.",
                        "type": "integer",
                        "format": "int64",
                        "minimum": 0,
                    },
                    "lastTransitionTime": {
                        "description": "When the status last changed.",
                        "type": "string",
                        "format": "date-time",
                    },
                    "reason": {
                        "description": "Why, as one word for machines.",
                        "type": "string",
                        "minLength": 1,
                        "maxLength": 63,
                        "pattern": "^[A-Z][A-Za-z0-9]*$",
                    },
                    "message": {
                        "description": "Why, and what to do, for people.",
                        "type": "string",
                        "maxLength": 4096,
                    },
                },
            },
        })
    }
}
