//! What is mounted into the VM beside its root: where, and from what.
//!
//! Invariants: one mount per path, exactly one source per mount. Whether a source exists is not known here; that a
//! sandbox mount names a declared sandbox is a rule of [`crate::WorkspaceSpec`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Quantity,
    env::SecretRef,
    name::{DataKey, HttpUrl, ItemName, ObjectName},
    schema::{list_map, max_length, range, rules},
    text::text,
};

text! {
    /// An absolute path inside the VM, in its normal form: no `.`, `..`, empty part or slash at the end.
    GuestPath: "path", max 4096,
    rule "self == '/' || self.matches(r'^(/([^/.\\x00][^/\\x00]*|[.][^/.\\x00][^/\\x00]*|[.][.][^/\\x00]+))+$')",
    else "write an absolute path such as /data/in, without '.', '..', '//' or a slash at the end",
    if is_normal_path
}

/// A file system mounted at a path of the VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules(&[
    (
        "[has(self.tmpfs), has(self.s3), has(self.configMap), has(self.secret), has(self.sandbox), has(self.volume)]\
         .filter(set, set).size() == 1",
        "exactly one of tmpfs, s3, configMap, secret, sandbox and volume must be set: remove the others, or add a mount for each",
    ),
    (
        "self.path != '/'",
        "nothing can be mounted at /: choose a directory below it, or set storage for the root itself",
    ),
    (
        "self.path != '/dev' && !self.path.startsWith('/dev/') && self.path != '/proc' && !self.path.startsWith('/proc/')",
        "/dev and /proc belong to the kernel of the VM: choose another path",
    ),
]))]
pub struct Mount {
    /// Where it is mounted: an absolute path, unique in the list.
    pub path: GuestPath,
    /// Whether the guest may only read. Mounts of ConfigMaps and Secrets can always only be read. Default: false.
    #[serde(default)]
    pub read_only: bool,
    /// An empty file system in memory, gone when the workspace sleeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tmpfs: Option<TmpfsSource>,
    /// A bucket, or a part of one, of an object store that speaks S3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Source>,
    /// The keys of a ConfigMap as files. They follow the ConfigMap while the workspace runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapSource>,
    /// The keys of a Secret as files. They follow the Secret while the workspace runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretSource>,
    /// The files of one of the sandboxes of this workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxSource>,
    /// A PersistentVolumeClaim of the namespace. Needs isolation: Dedicated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeSource>,
}

/// The one source of a [`Mount`], for those who match on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountSource<'a> {
    /// An empty file system in memory.
    Tmpfs(&'a TmpfsSource),
    /// A bucket.
    S3(&'a S3Source),
    /// The keys of a ConfigMap.
    ConfigMap(&'a ConfigMapSource),
    /// The keys of a Secret.
    Secret(&'a SecretSource),
    /// The files of a sandbox.
    Sandbox(&'a SandboxSource),
    /// A claim of the namespace.
    Volume(&'a VolumeSource),
}

impl Mount {
    /// A mount at `path` that has no source yet.
    pub fn at(path: GuestPath) -> Self {
        Self {
            path,
            read_only: false,
            tmpfs: None,
            s3: None,
            config_map: None,
            secret: None,
            sandbox: None,
            volume: None,
        }
    }

    /// The source. `None` if there is not exactly one, which the API server doesn't let pass.
    pub fn source(&self) -> Option<MountSource<'_>> {
        let Self { path: _, read_only: _, tmpfs, s3, config_map, secret, sandbox, volume } = self;
        let sources = [
            tmpfs.as_ref().map(MountSource::Tmpfs),
            s3.as_ref().map(MountSource::S3),
            config_map.as_ref().map(MountSource::ConfigMap),
            secret.as_ref().map(MountSource::Secret),
            sandbox.as_ref().map(MountSource::Sandbox),
            volume.as_ref().map(MountSource::Volume),
        ];
        let mut set = sources.into_iter().flatten();
        let first = set.next()?;
        set.next().is_none().then_some(first)
    }
}

/// An empty file system in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TmpfsSource {
    /// The most that it may hold. It counts towards limits.memory. Default: 64Mi.
    pub size: Quantity,
}

impl Default for TmpfsSource {
    fn default() -> Self {
        Self { size: Quantity::from_bytes(64 << 20) }
    }
}

text! {
    /// The name of a bucket.
    BucketName: "bucket name", max 63,
    rule "self.matches(r'^[a-z0-9][-a-z0-9._]{1,61}[a-z0-9]$')",
    else "use 3 to 63 lower-case letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
    if |name| name.len() >= 3
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
}

/// A bucket, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct S3Source {
    /// URL of the object store. Default: that of AWS in the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<HttpUrl>,
    /// The region. Default: us-east-1.
    #[serde(default = "default_region")]
    #[schemars(transform = max_length(64))]
    pub region: String,
    /// Name of the bucket.
    pub bucket: BucketName,
    /// Shows only the objects whose keys begin with this, and leaves it out of their paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = max_length(1024))]
    pub prefix: Option<String>,
    /// A Secret with the keys accessKeyId and secretAccessKey, and sessionToken if need be. The guest never sees them.
    /// Default: the bucket is read without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

/// The keys of a ConfigMap as files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapSource {
    /// Name of the ConfigMap.
    pub name: ObjectName,
    /// Which keys, and as what files. Default: every key, as a file of its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_map("key", 64))]
    pub items: Vec<KeyToPath>,
    /// Whether the ConfigMap may be missing; the directory is then empty. Default: false.
    #[serde(default)]
    pub optional: bool,
}

/// The keys of a Secret as files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretSource {
    /// Name of the Secret.
    pub name: ObjectName,
    /// Which keys, and as what files. Default: every key, as a file of its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_map("key", 64))]
    pub items: Vec<KeyToPath>,
    /// Whether the Secret may be missing; the directory is then empty. Default: false.
    #[serde(default)]
    pub optional: bool,
}

/// A key of a ConfigMap or Secret and the file that it becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyToPath {
    /// The key.
    pub key: DataKey,
    /// The file's name in the mounted directory. Default: the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<DataKey>,
    /// The file's permission bits as a decimal number, from 0 to 511 (octal 777). Default: 292 (octal 444).
    #[serde(default = "default_mode")]
    #[schemars(transform = range(0, 0o777))]
    pub mode: u32,
}

fn default_mode() -> u32 {
    0o444
}

/// The files of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SandboxSource {
    /// Name of the sandbox in spec.sandboxes.
    pub name: ItemName,
    /// Which directory of the sandbox. Default: its root.
    #[serde(default = "root_path")]
    pub path: GuestPath,
}

fn root_path() -> GuestPath {
    GuestPath::known("/")
}

/// A PersistentVolumeClaim of the namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSource {
    /// Name of the PersistentVolumeClaim.
    pub claim_name: ObjectName,
    /// Which directory of the volume. Default: its root.
    #[serde(default = "root_path")]
    pub path: GuestPath,
}

fn is_normal_path(path: &str) -> bool {
    path == "/"
        || path.strip_prefix('/').is_some_and(|rest| {
            !rest.contains('\0') && rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_and_normal() {
        for right in ["/", "/data", "/a/.b/..c/...", "/with space", "/ä"] {
            assert!(GuestPath::new(right).is_ok(), "{right:?}");
        }
        for wrong in ["", "data", "/data/", "//", "/a//b", "/a/../b", "/.", "/..", "/a\0b"] {
            assert!(GuestPath::new(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_mount_has_a_source_only_if_it_is_the_only_one() {
        let mut mount = Mount::at(GuestPath::new("/scratch").unwrap());
        assert_eq!(mount.source(), None);
        let tmpfs = TmpfsSource::default();
        mount.tmpfs = Some(tmpfs.clone());
        assert_eq!(mount.source(), Some(MountSource::Tmpfs(&tmpfs)));
        mount.volume = Some(VolumeSource {
            claim_name: ObjectName::new("claim").unwrap(),
            path: GuestPath::new("/").unwrap(),
        });
        assert_eq!(mount.source(), None);
    }
}
