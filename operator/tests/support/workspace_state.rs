//! What a runner says about a workspace that was never used.

use vm_api::{Power, SleepReason, StorageState, WorkspaceConfig, WorkspaceState};

/// The state of the workspace `uid` of this configuration.
pub(crate) fn never_used(uid: &str, config: &WorkspaceConfig) -> WorkspaceState {
    WorkspaceState {
        uid: uid.to_owned(),
        namespace: config.namespace.clone(),
        name: config.name.clone(),
        generation: config.generation,
        epoch: config.epoch,
        power: Power::Asleep,
        sleep: Some(SleepReason::NotStarted),
        message: None,
        restart_required: Vec::new(),
        storage: StorageState { persistent: false, reason: None },
        last_wake: None,
        usage: None,
    }
}
