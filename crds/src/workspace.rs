//! Workspace: the durable environment of an agent or a person.
//!
//! ```yaml
//! apiVersion: lodge.dev/v1alpha1
//! kind: Workspace
//! metadata: {name: ada, namespace: team-a}
//! spec:
//!   software: [{name: common}, {name: pi}]
//!   idle: {sleepAfter: 15m}
//!   network:
//!     egress: {policy: Deny, allow: [{host: api.anthropic.com, ports: [443]}]}
//! ```
//!
//! ```
//! use lodge_crds::{Power, Workspace, WorkspaceSpec};
//! let workspace = Workspace::new("ada", WorkspaceSpec::default());
//! assert_eq!(workspace.spec.power, Power::Auto);
//! assert_eq!(workspace.spec.software[0].name, "common");
//! ```
//!
//! Invariants: the spec is written by users only, the status by the operator only. A type here never says how something
//! is done, only what is wanted or what was seen.

use k8s_openapi::{
    api::core::v1 as core,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::{
    Duration, EnvVar, Limits, Mount, Network, Permissions, Quantity, Sandbox, SoftwareRef, Toolkit,
    condition::ConditionsSchema,
    mount::GuestPath,
    name::{ObjectName, UserName},
    schema::{
        TimeSchema, duration_between, list_atomic, list_map, map, max_length, quantity_between, range, rules,
    },
    software::default_software,
};

/// What a Workspace shall be.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "lodge.dev",
    version = "v1alpha1",
    kind = "Workspace",
    plural = "workspaces",
    shortname = "ws",
    category = "lodge",
    namespaced,
    status = "WorkspaceStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A Workspace is a computer of its own for an agent or a person: files, programs, network, schedules and agent sessions. It sleeps when idle and wakes on the first action.",
    annotation("helm.sh/resource-policy", "keep"),
    label("app.kubernetes.io/name", "lodge"),
    label("app.kubernetes.io/part-of", "lodge"),
    selectable = ".spec.power",
    selectable = ".spec.isolation",
    selectable = ".status.power",
    selectable = ".status.runner.name",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("metadata.name: use at most 63 lower-case letters, digits and '-': the name becomes part of URLs and labels"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether the workspace can be used, asleep or not."),
    printcolumn(name = "Power", type_ = "string", json_path = ".status.power", description = "Whether its VM runs."),
    printcolumn(name = "Runner", type_ = "string", json_path = ".status.runner.name", description = "Which runner has it.", priority = "1"),
    printcolumn(name = "Software", type_ = "string", json_path = ".status.software", description = "The packages it has.", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", default)]
#[schemars(transform = rules(&[
    (
        "!has(self.mounts) || self.mounts.all(m, !has(m.sandbox) || (has(self.sandboxes) && \
         self.sandboxes.exists(s, s.name == m.sandbox.name)))",
        "mounts: a sandbox mount must name a sandbox of spec.sandboxes: declare it there, or correct sandbox.name",
    ),
    (
        "!has(self.mounts) || self.isolation == 'Dedicated' || self.mounts.all(m, !has(m.volume))",
        "mounts: a volume can only be mounted into a runner of its own: set isolation: Dedicated, or remove the volume mount",
    ),
    (
        "!has(self.runner) || self.isolation == 'Dedicated'",
        "runner: only a dedicated runner can be configured here: set isolation: Dedicated, or remove runner",
    ),
    (
        "self.isolation == oldSelf.isolation",
        "isolation: can't be changed, because the files are on the runner's volume: make a new workspace and copy them",
    ),
]))]
pub struct WorkspaceSpec {
    /// Software that the guest finds in its path, in layers: later items win. Default: the package common.
    #[schemars(transform = list_map("name", 32))]
    pub software: Vec<SoftwareRef>,
    /// Whether the VM shall run. Auto: it wakes on the first action and sleeps when idle. Awake: it always runs. Asleep: it
    /// is off, and actions are refused. Default: Auto.
    pub power: Power,
    /// What happens when nobody uses it.
    pub idle: Idle,
    /// Environment of every process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_map("name", 256))]
    pub env: Vec<EnvVar>,
    /// The user as whom everything runs inside the VM.
    pub user: User,
    /// The root's writable layer.
    pub storage: Storage,
    /// File systems mounted beside the root.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_map("path", 64))]
    pub mounts: Vec<Mount>,
    /// Machines beside the VM that run native programs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_map("name", 8))]
    pub sandboxes: Vec<Sandbox>,
    /// What it may reach, and what may reach it.
    pub network: Network,
    /// Host tools: each toolkit becomes the command agentos- and its name in the guest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_map("name", 16))]
    pub tools: Vec<Toolkit>,
    /// What it may use at most.
    pub limits: Limits,
    /// What agents may do without asking. Sessions may override it.
    pub permissions: Permissions,
    /// Shared: a process beside those of other workspaces of the namespace. Dedicated: a pod of its own. It can't be
    /// changed later. Default: Shared.
    pub isolation: Isolation,
    /// The runner's pod. Only with isolation: Dedicated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner: Option<DedicatedRunner>,
}

impl Default for WorkspaceSpec {
    fn default() -> Self {
        Self {
            software: default_software(),
            power: Power::default(),
            idle: Idle::default(),
            env: Vec::new(),
            user: User::default(),
            storage: Storage::default(),
            mounts: Vec::new(),
            sandboxes: Vec::new(),
            network: Network::default(),
            tools: Vec::new(),
            limits: Limits::default(),
            permissions: Permissions::default(),
            isolation: Isolation::default(),
            runner: None,
        }
    }
}

/// Whether the VM shall run. Intent only: going to sleep when idle doesn't change it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Power {
    /// Wakes on the first action and sleeps when idle.
    #[default]
    Auto,
    /// Always runs.
    Awake,
    /// Is off; actions are refused.
    Asleep,
}

/// Where the VM runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Isolation {
    /// As a process beside those of other workspaces of the namespace.
    #[default]
    Shared,
    /// In a pod of its own.
    Dedicated,
}

/// What happens when nobody uses the workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(transform = rules(&[(
    "!has(self.deleteAfter) || duration(self.deleteAfter) > duration(self.sleepAfter)",
    "deleteAfter must be longer than sleepAfter: raise it, or leave it out so that the workspace is never deleted",
)]))]
pub struct Idle {
    /// After how much time without any action, process or open connection the VM sleeps. From 1s to 8760h. Default: 15m.
    #[schemars(transform = duration_between("1s", "8760h"))]
    pub sleep_after: Duration,
    /// After how much time without any action the Workspace is deleted, with its files. From 1m to 87600h. Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = duration_between("1m", "87600h"))]
    pub delete_after: Option<Duration>,
}

impl Default for Idle {
    fn default() -> Self {
        Self { sleep_after: Duration::from_mins(15), delete_after: None }
    }
}

/// The user as whom everything runs inside the VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct User {
    /// Name of the user; never root. Default: agent.
    pub name: UserName,
    /// Number of the user, from 1 to 65533. Default: 1000.
    #[schemars(transform = range(1, 65533))]
    pub uid: u32,
    /// Number of the user's group, from 1 to 65533. Default: 1000.
    #[schemars(transform = range(1, 65533))]
    pub gid: u32,
    /// The user's home directory. Default: /home/ and the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home: Option<GuestPath>,
}

impl User {
    /// The home directory, whether or not it is written down.
    pub fn home(&self) -> String {
        match &self.home {
            Some(home) => home.to_string(),
            None => format!("/home/{}", self.name),
        }
    }
}

impl Default for User {
    fn default() -> Self {
        Self { name: UserName::known("agent"), uid: 1000, gid: 1000, home: None }
    }
}

/// The root's writable layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(transform = rules(&[
    (
        "self.type == oldSelf.type",
        "storage.type can't be changed: make a new workspace and copy the files",
    ),
    (
        "quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0",
        "storage.size can grow but never shrink: write the size that it had, or make a new workspace and copy the files",
    ),
]))]
pub struct Storage {
    /// Persistent: files survive sleep and restarts. Ephemeral: every boot begins with an empty layer. It can't be changed
    /// later. Default: Persistent.
    #[serde(rename = "type")]
    pub kind: StorageType,
    /// How much the layer may hold; beyond it writing fails with ENOSPC. From 16Mi to 16Ti; it can grow but never shrink.
    /// Default: 10Gi.
    #[schemars(transform = quantity_between("16Mi", "16Ti"))]
    pub size: Quantity,
}

impl Default for Storage {
    fn default() -> Self {
        Self { kind: StorageType::default(), size: Quantity::from_bytes(10 << 30) }
    }
}

/// How long files last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StorageType {
    /// They survive sleep and restarts.
    #[default]
    Persistent,
    /// Every boot begins with an empty layer.
    Ephemeral,
}

/// The pod of a dedicated runner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(transform = rules(&[(
    "has(self.storageClassName) == has(oldSelf.storageClassName) && \
     (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
    "runner.storageClassName can't be changed, because the volume exists: make a new workspace and copy the files",
)]))]
pub struct DedicatedRunner {
    /// Requests and limits of the pod. Default: those that the installation gives to runners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ComputeResources>,
    /// Labels that the pod's node must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(transform = map(32, 63))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that the pod tolerates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_atomic(32))]
    pub tolerations: Vec<Toleration>,
    /// The RuntimeClass of the pod, such as gvisor or kata. Default: the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<ObjectName>,
    /// The StorageClass of the runner's volume. It can't be changed later. Default: the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<ObjectName>,
}

/// Requests and limits of a pod, as in Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ComputeResources {
    /// What is set aside for the pod, by name: cpu, memory, ephemeral-storage, ….
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(transform = map(16, 32))]
    pub requests: BTreeMap<String, Quantity>,
    /// What the pod may use at most, by name: cpu, memory, ephemeral-storage, ….
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(transform = map(16, 32))]
    pub limits: BTreeMap<String, Quantity>,
}

impl From<&ComputeResources> for core::ResourceRequirements {
    fn from(resources: &ComputeResources) -> Self {
        let ComputeResources { requests, limits } = resources;
        let convert = |map: &BTreeMap<String, Quantity>| {
            (!map.is_empty())
                .then(|| map.iter().map(|(name, amount)| (name.clone(), amount.into())).collect())
        };
        Self { claims: None, requests: convert(requests), limits: convert(limits) }
    }
}

/// Taints of nodes that a pod tolerates, as in Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules(&[(
    "!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
    "tolerations: the operator Exists matches any value: remove value, or use the operator Equal",
)]))]
pub struct Toleration {
    /// Key of the taint. Default: any, which needs the operator Exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = max_length(316))]
    pub key: Option<String>,
    /// How value is compared: Equal or Exists. Default: Equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<TolerationOperator>,
    /// Value of the taint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = max_length(63))]
    pub value: Option<String>,
    /// Which effect is tolerated: NoSchedule, PreferNoSchedule or NoExecute. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
    /// For how many seconds NoExecute is tolerated. Default: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = range(0, 31_536_000))]
    pub toleration_seconds: Option<i64>,
}

impl From<&Toleration> for core::Toleration {
    fn from(toleration: &Toleration) -> Self {
        let Toleration { key, operator, value, effect, toleration_seconds } = toleration;
        Self {
            key: key.clone(),
            operator: operator.map(|operator| format!("{operator:?}")),
            value: value.clone(),
            effect: effect.map(|effect| format!("{effect:?}")),
            toleration_seconds: *toleration_seconds,
        }
    }
}

/// How the value of a taint is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    /// With the toleration's value.
    #[default]
    Equal,
    /// Not at all.
    Exists,
}

/// What a taint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// Pods aren't scheduled.
    NoSchedule,
    /// Pods are scheduled elsewhere if possible.
    PreferNoSchedule,
    /// Pods are evicted.
    NoExecute,
}

/// What was last seen of a Workspace. Coarse: what changes with every request is in the runner's API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkspaceStatus {
    /// The metadata.generation that the operator has acted upon.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = range(0, i64::MAX))]
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
    #[schemars(transform = range(0, i64::MAX))]
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
    /// Ready, Reconciling, Stalled, Sleeping, RestartRequired, StoragePersistent, SandboxReady.
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
    #[schemars(transform = range(0, i64::MAX))]
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
    #[schemars(transform = range(0, i64::MAX))]
    pub storage_bytes: Option<u64>,
    /// Files and directories in the root's writable layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = range(0, i64::MAX))]
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
    #[schemars(transform = range(0, i64::MAX))]
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
