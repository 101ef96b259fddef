//! What the operator tells a runner about one workspace: the resolved specification, without references to anything
//! in the cluster. Sent with `PUT /v1/workspaces/{uid}`, forwarded as it is to the vm process at boot.
//!
//! Values may be secret (env, mounted files): the `Debug` output of these types shows none of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Base64;

/// Everything that a runner needs to know to host a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkspaceConfig {
    /// Namespace of the Workspace resource.
    pub namespace: String,
    /// Name of the Workspace resource.
    pub name: String,
    /// `metadata.generation` that this configuration was made from.
    pub generation: i64,
    /// Fencing number handed out by the operator at each bind; a lower one than the runner knows is refused.
    pub epoch: u64,
    /// Whether the VM runs on demand, always or never.
    #[serde(default)]
    pub power: PowerIntent,
    /// Software packages, first wins where two offer the same command.
    #[serde(default)]
    pub software: Vec<SoftwareRef>,
    /// Environment of every new process.
    #[serde(default)]
    pub env: Vec<EnvVar>,
    /// The account that commands and file actions run as.
    #[serde(default)]
    pub user: UserConfig,
    /// The writable layer of the root.
    #[serde(default)]
    pub storage: StorageConfig,
    /// Further file systems.
    #[serde(default)]
    pub mounts: Vec<MountConfig>,
    /// What the workspace may use.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// When an idle workspace goes to sleep.
    #[serde(default)]
    pub idle: IdleConfig,
}

impl WorkspaceConfig {
    /// A configuration with every default, for `namespace`/`name`.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            generation: 1,
            epoch: 1,
            power: PowerIntent::default(),
            software: vec![SoftwareRef { name: "common".to_owned(), version: None }],
            env: Vec::new(),
            user: UserConfig::default(),
            storage: StorageConfig::default(),
            mounts: Vec::new(),
            limits: LimitsConfig::default(),
            idle: IdleConfig::default(),
        }
    }
}

/// `spec.power`: intent only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum PowerIntent {
    /// Boots on the first action, sleeps when idle.
    #[default]
    Auto,
    /// Boots at once and stays.
    Awake,
    /// Stops, and refuses actions.
    Asleep,
}

/// A software package by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SoftwareRef {
    /// Name in the runner's software manifest.
    pub name: String,
    /// Version; absent means the one that the runner has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// One environment variable. The value may be secret and is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvVar {
    /// Name: not empty, without `=` and NUL.
    pub name: String,
    /// Value: without NUL.
    #[serde(default)]
    pub value: String,
}

impl EnvVar {
    /// The variable `name` with `value`.
    #[must_use]
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

impl fmt::Debug for EnvVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnvVar({}=…)", self.name)
    }
}

/// `spec.user`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UserConfig {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Home directory, absolute.
    pub home: String,
}

impl Default for UserConfig {
    fn default() -> Self {
        Self { name: "agent".to_owned(), uid: 1000, gid: 1000, home: "/home/agent".to_owned() }
    }
}

/// `spec.storage`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StorageConfig {
    /// Whether files outlive the VM.
    #[serde(rename = "type")]
    pub kind: StorageType,
    /// `spec.storage.size`.
    pub size_bytes: u64,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self { kind: StorageType::Persistent, size_bytes: 10 << 30 }
    }
}

/// `spec.storage.type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum StorageType {
    /// Files outlive sleep and restart.
    #[default]
    Persistent,
    /// Files live as long as the VM.
    Ephemeral,
}

/// One entry of `spec.mounts`, with its references resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MountConfig {
    /// Mount point, absolute.
    pub path: String,
    /// Whether the guest may not write.
    #[serde(default)]
    pub read_only: bool,
    /// What is mounted; written as the field `tmpfs`, `files` or `volume`.
    #[serde(flatten)]
    pub source: MountSource,
}

/// What a mount holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum MountSource {
    /// An empty file system in memory.
    Tmpfs(TmpfsMount),
    /// The content of a ConfigMap or Secret.
    Files(FilesMount),
    /// A volume of the runner.
    Volume(VolumeMount),
}

/// A folder that the runner was given under a name (`vm-runner serve --volume NAME=PATH`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeMount {
    /// The name that the runner knows it by.
    pub name: String,
    /// A folder in it, relative and without `..`; absent means all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,
}

/// An empty file system in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TmpfsMount {
    /// Most bytes it may hold.
    pub size_bytes: u64,
}

/// Files given by value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FilesMount {
    /// The files.
    pub entries: Vec<FileEntry>,
}

/// One file of a [`FilesMount`]. The content is not shown by `Debug`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileEntry {
    /// Path relative to the mount point, without `..`.
    pub path: String,
    /// Permission bits, as a number (420 is 0644).
    #[serde(default = "default_mode")]
    pub mode: u32,
    /// The content.
    pub content_base64: Base64,
}

fn default_mode() -> u32 {
    0o644
}

/// `spec.limits`, with defaults as in the Workspace schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// `spec.limits.memory`.
    pub memory_bytes: u64,
    /// `spec.limits.cpu`, in thousandths of a core.
    pub cpu_millis: u64,
    /// `spec.limits.processes`.
    pub processes: u32,
    /// `spec.limits.openFiles`, per process.
    pub open_files: u32,
    /// `spec.limits.sockets`.
    pub sockets: u32,
    /// `spec.limits.storageInodes`.
    pub inodes: u64,
    /// `spec.limits.commandTimeout`.
    pub command_timeout_ms: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            memory_bytes: 512 << 20,
            cpu_millis: 1000,
            processes: 256,
            open_files: 1024,
            sockets: 256,
            inodes: 1_000_000,
            command_timeout_ms: 15 * 60 * 1000,
        }
    }
}

/// `spec.idle`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IdleConfig {
    /// `spec.idle.sleepAfter`; absent means never. Idle is: no request in flight, no process running, nobody attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sleep_after_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_with_only_a_name_has_the_defaults_of_the_schema() {
        let json = r#"{"namespace":"team-a","name":"ada","generation":1,"epoch":1}"#;
        let config: WorkspaceConfig = serde_json::from_str(json).unwrap();
        assert_eq!(config.user, UserConfig::default());
        assert_eq!(config.limits.processes, 256);
        assert_eq!(config.power, PowerIntent::Auto);
    }

    #[test]
    fn mounts_are_written_with_one_field_for_their_source() {
        let mount = MountConfig {
            path: "/config".to_owned(),
            read_only: true,
            source: MountSource::Files(FilesMount {
                entries: vec![FileEntry {
                    path: "a".to_owned(),
                    mode: 0o400,
                    content_base64: Base64(b"x".to_vec()),
                }],
            }),
        };
        let json = serde_json::to_value(&mount).unwrap();
        assert_eq!(json["files"]["entries"][0]["contentBase64"], "eA==");
        assert_eq!(serde_json::from_value::<MountConfig>(json).unwrap(), mount);
    }

    #[test]
    fn a_mount_has_exactly_one_source() {
        for json in [r#"{"path":"/a"}"#, r#"{"path":"/a","tmpfs":{"sizeBytes":1},"files":{"entries":[]}}"#] {
            assert!(serde_json::from_str::<MountConfig>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn an_unknown_field_is_refused_by_name() {
        let json = r#"{"namespace":"a","name":"b","generation":1,"epoch":1,"colour":"red"}"#;
        let error = serde_json::from_str::<WorkspaceConfig>(json).unwrap_err();
        assert!(error.to_string().contains("unknown field `colour`"), "{error}");
    }

    #[test]
    fn debug_output_never_shows_a_secret() {
        let mut config = WorkspaceConfig::new("a", "b");
        config.env.push(EnvVar::new("TOKEN", "hunter2"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
