//! What a runner tells about its workspaces.

use serde::{Deserialize, Serialize};

use crate::Run;

/// One workspace as its runner sees it. Answer of `PUT` and `GET /v1/workspaces/{uid}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceState {
    /// UID of the Workspace resource.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Generation of the configuration that the runner holds.
    pub generation: i64,
    /// Epoch of the binding.
    pub epoch: u64,
    /// Whether the VM runs.
    pub power: Power,
    /// Why it sleeps; present while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sleep: Option<SleepReason>,
    /// In words, where there is more to say: how a VM ended, why a boot failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Spec paths whose new value takes effect at the next boot only; empty when the VM runs what was asked for.
    #[serde(default)]
    pub restart_required: Vec<String>,
    /// Whether files are kept.
    pub storage: StorageState,
    /// The last boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_wake: Option<Wake>,
    /// What it uses; absent while asleep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// Whether a VM runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Power {
    /// No VM.
    Asleep,
    /// A VM is booting.
    Waking,
    /// A VM runs.
    Awake,
    /// A VM is being stopped.
    Stopping,
}

/// Why a workspace sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum SleepReason {
    /// It has not been used since it was bound.
    NotStarted,
    /// `spec.power` says so.
    Requested,
    /// It was idle for `spec.idle.sleepAfter`.
    Idle,
    /// Somebody asked for it with `POST sleep`; the next action boots it again.
    OnDemand,
    /// The runner was short of memory, and this workspace had been idle longest; the next action boots it again.
    MemoryPressure,
    /// Its VM used more memory than `spec.limits.memory` allows and was ended; the next action boots it again.
    MemoryLimit,
    /// The VM ended by itself; the next action boots it again.
    VmDied,
    /// The VM could not be booted; the next action tries again.
    BootFailed,
}

/// Whether the files of a workspace outlive its VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StorageState {
    /// Whether files are kept when the VM stops.
    pub persistent: bool,
    /// Why not, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The last boot of a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Wake {
    /// When it was asked for, RFC 3339.
    pub at: String,
    /// What asked for it.
    pub cause: WakeCause,
    /// From the request to the start of the boot.
    pub queued_ms: u64,
    /// From the start of the boot until the VM could serve.
    pub booted_ms: u64,
    /// From the request to the first byte of its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<u64>,
}

/// What woke a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum WakeCause {
    /// An exec.
    Exec,
    /// A file action.
    File,
    /// A preview request.
    Preview,
    /// A cron run.
    Cron,
    /// A Session.
    Session,
    /// `POST wake`.
    OnDemand,
    /// `spec.power: Awake`.
    Spec,
}

/// What a workspace uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Usage {
    /// Bytes in the writable layer.
    pub storage_bytes: u64,
    /// Inodes in the writable layer.
    pub files: u64,
    /// Running processes.
    pub processes: u64,
    /// Memory of the guests' programs.
    pub memory_bytes: u64,
}

/// Answer of `GET /v1/workspaces`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceList {
    /// Every workspace that the runner was told about.
    pub items: Vec<WorkspaceState>,
}

/// One message of `GET /v1/watch`, the `data` of a server-sent event. The stream starts with a `State` for each
/// workspace, then `Synced`, then changes as they happen. A stream that lags behind is ended: connect again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum WorkspaceChange {
    /// A workspace is new or has changed.
    State {
        /// All of it.
        state: Box<WorkspaceState>,
    },
    /// The list is complete; what follows are changes.
    Synced,
    /// A run has begun or ended. Those that go on come after the states, before `Synced`, when the stream begins.
    Run {
        /// UID of its workspace.
        uid: String,
        /// All of it.
        run: Box<Run>,
    },
    /// A workspace was deleted.
    Deleted {
        /// Which.
        uid: String,
    },
}

/// Answer of `GET /v1/workspaces/{uid}/health`, `/healthz` and `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// `ok`, or what is wrong.
    pub status: String,
    /// Version of the server.
    pub version: String,
    /// What the VM uses; only at a workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What holds the vm processes besides the system call filter; only at a runner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::WorkspaceChange;

    #[test]
    fn changes_are_told_apart_by_their_type() {
        let json = serde_json::to_string(&WorkspaceChange::Deleted { uid: "u".to_owned() }).unwrap();
        assert_eq!(json, r#"{"type":"deleted","uid":"u"}"#);
        assert_eq!(serde_json::to_string(&WorkspaceChange::Synced).unwrap(), r#"{"type":"synced"}"#);
    }
}
