//! What a workspace tells about itself.

use std::time::Duration;

use vm_api::{StorageState, StorageType, WorkspaceConfig, WorkspaceState};

use super::machine::Machine;
use crate::supervisor::uid::Uid;

/// The state without what only a running VM has.
pub(super) fn state(uid: &Uid, epoch: u64, config: &WorkspaceConfig, machine: &Machine) -> WorkspaceState {
    let stage = machine.stage();
    WorkspaceState {
        uid: uid.to_string(),
        namespace: config.namespace.clone(),
        name: config.name.clone(),
        generation: config.generation,
        epoch,
        power: stage.power(),
        sleep: stage.sleep_reason(),
        message: None,
        restart_required: Vec::new(),
        storage: storage_state(config.storage.kind),
        last_wake: None,
        usage: None,
    }
}

fn storage_state(kind: StorageType) -> StorageState {
    match kind {
        StorageType::Persistent => StorageState { persistent: true, reason: None },
        StorageType::Ephemeral => {
            let reason = "spec.storage.type is Ephemeral: files are lost when the VM stops";
            StorageState { persistent: false, reason: Some(reason.to_owned()) }
        }
    }
}

/// Milliseconds, rounded down.
pub(super) fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
