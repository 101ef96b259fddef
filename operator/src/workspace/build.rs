//! What a runner is told about a Workspace. Pure, and it cannot fail.

use super::{bind::Binding, validate::ValidatedWorkspace};
use crate::roster::Digest;
use sha2::{Digest as _, Sha256};
use vm_api::WorkspaceConfig;

/// A configuration and its digest.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The configuration.
    pub config: WorkspaceConfig,
    /// Tells it apart from others without keeping its secrets.
    pub digest: Digest,
}

/// Makes the configuration of a bound Workspace.
pub fn build(validated: &ValidatedWorkspace, binding: &Binding) -> Prepared {
    let ValidatedWorkspace {
        uid: _,
        namespace,
        name,
        generation,
        power,
        software,
        env,
        user,
        storage,
        mounts,
        limits,
        idle,
        notes: _,
    } = validated.clone();
    let config = WorkspaceConfig {
        namespace,
        name: name.into(),
        generation,
        epoch: binding.epoch,
        power,
        software,
        env,
        user,
        storage,
        mounts,
        limits,
        idle,
    };
    // Only maps with keys that aren't text could fail, and there are none.
    let digest = Sha256::digest(serde_json::to_vec(&config).unwrap_or_default()).into();
    Prepared { config, digest }
}
