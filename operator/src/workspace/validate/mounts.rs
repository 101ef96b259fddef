//! The mounts, with their references resolved.

use super::super::{
    Error,
    dereference::{Data, References},
    error::Missing,
};
use super::environment::refuse_own_secret;
use crate::runner::{name::is_claim_of_runner, validate::claim_volume};
use lodge_crds::{Isolation, KeyToPath, Mount, MountSource, ObjectName, VolumeSource};
use std::collections::BTreeMap;
use vm_api::{Base64, FileEntry, FilesMount, MountConfig, TmpfsMount, VolumeMount};

/// Permission bits of a file that says nothing about them.
const DEFAULT_MODE: u32 = 0o444;

pub(super) fn resolve(
    mounts: &[Mount],
    isolation: Isolation,
    references: &References,
) -> Result<Vec<MountConfig>, Error> {
    mounts
        .iter()
        .enumerate()
        .map(|(index, mount)| resolve_one(mount, isolation, &format!("spec.mounts[{index}]"), references))
        .collect()
}

fn resolve_one(
    mount: &Mount,
    isolation: Isolation,
    path: &str,
    references: &References,
) -> Result<MountConfig, Error> {
    let refuse = |field: &str, what| Err(Error::NotImplemented { path: format!("{path}.{field}"), what });
    let (read_only, source) = match mount.source() {
        Some(MountSource::Tmpfs(tmpfs)) => {
            (mount.read_only, vm_api::MountSource::Tmpfs(TmpfsMount { size_bytes: tmpfs.size.bytes() }))
        }
        Some(MountSource::ConfigMap(source)) => {
            let wanted = Wanted { name: &source.name, items: &source.items, optional: source.optional };
            let path = format!("{path}.configMap");
            let files = wanted.files(&references.config_maps, "ConfigMap", &path, Error::ConfigMapMissing)?;
            (true, vm_api::MountSource::Files(files))
        }
        Some(MountSource::Secret(source)) => {
            let wanted = Wanted { name: &source.name, items: &source.items, optional: source.optional };
            let path = format!("{path}.secret");
            refuse_own_secret(&path, &source.name)?;
            let files = wanted.files(&references.secrets, "Secret", &path, Error::SecretMissing)?;
            (true, vm_api::MountSource::Files(files))
        }
        Some(MountSource::S3(_)) => return refuse("s3", "mounts of buckets"),
        Some(MountSource::Sandbox(_)) => return refuse("sandbox", "mounts of sandboxes"),
        Some(MountSource::Volume(source)) => {
            (mount.read_only, vm_api::MountSource::Volume(volume(source, isolation, path, references)?))
        }
        None => {
            let detail = "set exactly one of tmpfs, s3, configMap, secret, sandbox and volume".to_owned();
            return Err(Error::InvalidSpec { path: path.to_owned(), detail });
        }
    };
    Ok(MountConfig { path: mount.path.to_string(), read_only, source })
}

/// A claim of the namespace, which the runner's pod mounts under a name of its own.
fn volume(
    source: &VolumeSource,
    isolation: Isolation,
    path: &str,
    references: &References,
) -> Result<VolumeMount, Error> {
    if isolation != Isolation::Dedicated {
        let detail =
            "a volume can only be mounted into a runner of its own: set isolation: Dedicated, or remove it";
        return Err(Error::InvalidSpec { path: format!("{path}.volume"), detail: detail.to_owned() });
    }
    if is_claim_of_runner(&source.claim_name) {
        let detail = format!(
            "PersistentVolumeClaim {:?} is that of a runner, with the files of all of its workspaces: name another one",
            &*source.claim_name
        );
        return Err(Error::InvalidSpec { path: format!("{path}.volume.claimName"), detail });
    }
    if references.claims.get(&source.claim_name) == Some(&false) {
        let path = format!("{path}.volume.claimName");
        return Err(Error::ClaimMissing { path, name: source.claim_name.to_string() });
    }
    let folder = source.path.as_str().trim_start_matches('/');
    Ok(VolumeMount {
        name: claim_volume(&source.claim_name),
        sub_path: (!folder.is_empty()).then(|| folder.to_owned()),
    })
}

/// Keys of a Secret or ConfigMap that shall become files.
struct Wanted<'a> {
    name: &'a ObjectName,
    items: &'a [KeyToPath],
    optional: bool,
}

impl Wanted<'_> {
    fn files(
        &self,
        objects: &BTreeMap<ObjectName, Option<Data>>,
        kind: &'static str,
        path: &str,
        missing: fn(Missing) -> Error,
    ) -> Result<FilesMount, Error> {
        let gone = |path: String, key| missing(Missing { path, kind, name: self.name.to_string(), key });
        let Some(data) = objects.get(self.name).and_then(Option::as_ref) else {
            return if self.optional {
                Ok(FilesMount::default())
            } else {
                Err(gone(format!("{path}.name"), None))
            };
        };
        let file = |path: &str, mode, value: &[u8]| FileEntry {
            path: path.to_owned(),
            mode,
            content_base64: Base64::from(value),
        };
        if self.items.is_empty() {
            let all = data.iter().map(|(key, value)| file(key, DEFAULT_MODE, value));
            return Ok(FilesMount { entries: all.collect() });
        }
        let mut entries = Vec::with_capacity(self.items.len());
        for (index, KeyToPath { key, file: name, mode }) in self.items.iter().enumerate() {
            match data.get(key.as_str()) {
                Some(value) => entries.push(file(name.as_ref().unwrap_or(key), *mode, value)),
                None if self.optional => {}
                None => return Err(gone(format!("{path}.items[{index}].key"), Some(key.to_string()))),
            }
        }
        Ok(FilesMount { entries })
    }
}
