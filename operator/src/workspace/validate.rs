//! From the spec and what it refers to, to what a runner can be told. Pure.
//!
//! Everything is parsed and resolved here, once; what comes out can only be right, so [`super::build`] cannot fail. What
//! this version can't do yet is refused by name rather than left out.

pub(crate) mod environment;
mod mounts;

use super::{Error, dereference::References};
use kube::ResourceExt;
use lodge_crds::{EgressPolicy, Power, SoftwareRef, StorageType, Workspace, WorkspaceName};
use std::time::Duration;
use vm_api::{EnvVar, IdleConfig, LimitsConfig, MountConfig, PowerIntent, StorageConfig, UserConfig};

/// A Workspace that a runner can be told about.
#[derive(Clone, Debug)]
pub struct ValidatedWorkspace {
    /// Its UID, by which runners know it.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: WorkspaceName,
    /// The generation of the spec.
    pub generation: i64,
    /// Whether the VM shall run.
    pub power: PowerIntent,
    /// Its packages.
    pub software: Vec<vm_api::SoftwareRef>,
    /// Its environment, resolved.
    pub env: Vec<EnvVar>,
    /// Its user.
    pub user: UserConfig,
    /// Its writable layer.
    pub storage: StorageConfig,
    /// Its mounts, resolved.
    pub mounts: Vec<MountConfig>,
    /// What it may use.
    pub limits: LimitsConfig,
    /// When it sleeps.
    pub idle: IdleConfig,
    /// Parts of the spec that have no effect yet, and do no harm either.
    pub notes: Vec<String>,
}

/// Resolves and checks a Workspace.
///
/// # Errors
/// Names the part of the spec that is wrong, and the way out.
pub fn validate(workspace: &Workspace, references: &References) -> Result<ValidatedWorkspace, Error> {
    let spec = &workspace.spec;
    refuse_what_is_not_implemented(workspace)?;
    let name = WorkspaceName::new(workspace.name_any()).map_err(|error| Error::InvalidSpec {
        path: "metadata.name".to_owned(),
        detail: error.to_string(),
    })?;
    Ok(ValidatedWorkspace {
        uid: workspace.uid().unwrap_or_default(),
        namespace: workspace.namespace().unwrap_or_default(),
        name,
        generation: workspace.metadata.generation.unwrap_or(1),
        power: match spec.power {
            Power::Auto => PowerIntent::Auto,
            Power::Awake => PowerIntent::Awake,
            Power::Asleep => PowerIntent::Asleep,
        },
        software: spec.software.iter().map(software).collect(),
        env: environment::resolve("spec.env", &spec.env, references)?,
        user: UserConfig {
            name: spec.user.name.to_string(),
            uid: spec.user.uid,
            gid: spec.user.gid,
            home: spec.user.home(),
        },
        storage: StorageConfig {
            kind: match spec.storage.kind {
                StorageType::Persistent => vm_api::StorageType::Persistent,
                StorageType::Ephemeral => vm_api::StorageType::Ephemeral,
            },
            size_bytes: spec.storage.size.bytes(),
        },
        mounts: mounts::resolve(&spec.mounts, spec.isolation, references)?,
        limits: limits(&spec.limits),
        idle: IdleConfig { sleep_after_ms: Some(milliseconds(spec.idle.sleep_after.get())) },
        notes: notes(workspace),
    })
}

fn software(package: &SoftwareRef) -> vm_api::SoftwareRef {
    vm_api::SoftwareRef { name: package.name.to_string(), version: None }
}

fn limits(limits: &lodge_crds::Limits) -> LimitsConfig {
    let lodge_crds::Limits { memory, cpu, processes, open_files, sockets, storage_inodes, command_timeout } =
        limits;
    LimitsConfig {
        memory_bytes: memory.bytes(),
        cpu_millis: cpu.millis(),
        processes: *processes,
        open_files: *open_files,
        sockets: *sockets,
        inodes: *storage_inodes,
        command_timeout_ms: milliseconds(command_timeout.get()),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn refuse_what_is_not_implemented(workspace: &Workspace) -> Result<(), Error> {
    let refuse = |path: String, what| Err(Error::NotImplemented { path, what });
    if let Some(index) = workspace.spec.software.iter().position(|package| package.npm.is_some()) {
        return refuse(format!("spec.software[{index}].npm"), "packages of an npm registry");
    }
    if !workspace.spec.sandboxes.is_empty() {
        return refuse("spec.sandboxes".to_owned(), "sandboxes");
    }
    if !workspace.spec.tools.is_empty() {
        return refuse("spec.tools".to_owned(), "host tools");
    }
    Ok(())
}

/// What the spec asks for and doesn't get yet, where going without it is safe.
fn notes(workspace: &Workspace) -> Vec<String> {
    let spec = &workspace.spec;
    let egress = &spec.network.egress;
    let mut notes = Vec::new();
    if !egress.allow.is_empty() || egress.policy != EgressPolicy::default() {
        notes.push("spec.network.egress has no effect yet, the VM reaches nothing outside".to_owned());
    }
    notes
}
