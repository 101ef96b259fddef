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

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Duration, EnvVar, Limits, Mount, Network, Permissions, Quantity, Sandbox, SoftwareRef, Toolkit,
    mount::GuestPath,
    name::UserName,
    schema::{duration_between, list_map, quantity_between, range, rules},
    software::default_software,
};

mod runner;
mod status;

pub use runner::*;
pub use status::*;

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
    (
        "has(self.runner) && has(self.runner.storageClassName) ? \
         has(oldSelf.runner) && has(oldSelf.runner.storageClassName) && \
         self.runner.storageClassName == oldSelf.runner.storageClassName : \
         !(has(oldSelf.runner) && has(oldSelf.runner.storageClassName))",
        "runner.storageClassName can't be changed, because the volume exists: make a new workspace and copy the files",
    ),
]))]
pub struct WorkspaceSpec {
    /// Software that the guest finds in its path; where two items offer the same command, the first wins. Default: the
    /// package common.
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
