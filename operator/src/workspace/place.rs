//! Which runner a Workspace belongs to.
//!
//! The status is the record, and a Workspace that is on record stays where it is: its files are there. One that isn't goes
//! where a runner already has it (its status was lost, or a crash came before it was written), or where there is room
//! ([`crate::runner::occupancy`]).

use super::Error;
use crate::{
    context::Context,
    runner::{
        name::{RUNNER, RunnerId, RunnerSetName},
        occupancy::{Capacity, Choice, NoRoom, Occupant},
        validate::volume_of,
    },
};
use kube::{ResourceExt, runtime::reflector::ObjectRef};
use lodge_crds::{Isolation, Quantity, StorageType, Workspace};
use vm_api::WorkspaceState;

/// The runner that a Workspace is on or will be on, as far as that is decided.
pub fn expected(workspace: &Workspace, context: &Context) -> Option<RunnerId> {
    if let Some(recorded) = RunnerId::recorded(workspace) {
        return Some(recorded);
    }
    let (namespace, set) = (workspace.namespace().unwrap_or_default(), RunnerSetName::of(workspace));
    match workspace.spec.isolation {
        Isolation::Dedicated => Some(RunnerId::of_set(&namespace, &set, 0)),
        Isolation::Shared => {
            let ordinal = context.occupancy.seat(&namespace, workspace.metadata.uid.as_deref()?)?;
            Some(RunnerId::of_set(&namespace, &set, ordinal))
        }
    }
}

/// Notes where a Workspace is, as its status says.
pub fn note(workspace: &Workspace, context: &Context) {
    if workspace.spec.isolation == Isolation::Shared
        && let Some(recorded) = RunnerId::recorded(workspace)
        && let Some(ordinal) = RunnerSetName::shared().ordinal(&recorded.pod)
    {
        context.occupancy.note(&occupant(workspace), ordinal);
    }
}

/// Notes the workspaces that a runner has, though no status says so: they were told to it just before a crash.
pub fn adopt(runner: &RunnerId, states: &[WorkspaceState], context: &Context) {
    let Some(ordinal) = RunnerSetName::shared().ordinal(&runner.pod) else { return };
    for state in states {
        let object = ObjectRef::new(&state.name).within(&runner.namespace);
        if let Some(watched) = context.stores.workspaces.get(&object)
            && let Ok(workspace) = &watched.0
            && workspace.metadata.uid.as_deref() == Some(state.uid.as_str())
            && workspace.spec.isolation == Isolation::Shared
            && RunnerId::recorded(workspace).is_none()
        {
            context.occupancy.note(&occupant(workspace), ordinal);
        }
    }
}

/// Decides which runner a Workspace is on.
pub(super) fn place(workspace: &Workspace, context: &Context) -> Result<RunnerId, Error> {
    let (set, occupant) = (RunnerSetName::of(workspace), occupant(workspace));
    if workspace.spec.isolation == Isolation::Dedicated {
        return Ok(RunnerId::of_set(&occupant.namespace, &set, 0));
    }
    if let Some(recorded) = RunnerId::recorded(workspace) {
        note(workspace, context);
        return Ok(recorded);
    }
    if let Some(holder) = context.roster.holder(&occupant.namespace, &occupant.uid)
        && let Some(ordinal) = set.ordinal(&holder.pod)
    {
        context.occupancy.note(&occupant, ordinal);
        return Ok(holder);
    }
    let live = context.stores.stateful_sets.get(&ObjectRef::new(RUNNER).within(&occupant.namespace));
    let packing = context.config.runner.packing;
    let volume = live.as_deref().and_then(volume_of).and_then(|volume| volume.size.0.parse().ok());
    let volume: Quantity = volume.unwrap_or_else(|| context.config.runner.storage_size.clone());
    let capacity = Capacity {
        max_workspaces: packing.max_workspaces,
        max_bytes: volume.bytes().saturating_mul(packing.storage_overcommit.into()),
        max_replicas: packing.max_replicas,
    };
    let Choice { ordinal, has_moved } =
        context.occupancy.choose(&occupant, capacity).map_err(|why| match why {
            NoRoom::Full => Error::RunnersFull { runners: packing.max_replicas },
            NoRoom::Closing => Error::RunnersClosing,
        })?;
    let replicas = live.and_then(|live| live.spec.as_ref()?.replicas).unwrap_or_default();
    if has_moved || i64::from(ordinal) >= i64::from(replicas) {
        context.namespaces_due.push(ObjectRef::new(&occupant.namespace));
    }
    Ok(RunnerId::of_set(&occupant.namespace, &set, ordinal))
}

/// What to say about the volume of a dedicated runner, which keeps the size that it was made with.
pub(super) fn volume_note(workspace: &Workspace, context: &Context) -> Option<String> {
    if workspace.spec.isolation != Isolation::Dedicated {
        return None;
    }
    let (namespace, set) = (workspace.namespace()?, RunnerSetName::of(workspace));
    let live = context.stores.stateful_sets.get(&ObjectRef::new(set.as_str()).within(&namespace))?;
    let size = volume_of(&live)?.size.0;
    let has: Quantity = size.parse().ok()?;
    let claim = set.claim(0);
    (has.bytes() < workspace.spec.storage.size.bytes()).then(|| {
        format!("the runner's volume was made with {size}, less than spec.storage.size: enlarge its claim {claim}, unless that was done")
    })
}

fn occupant(workspace: &Workspace) -> Occupant {
    let storage = &workspace.spec.storage;
    Occupant {
        namespace: workspace.namespace().unwrap_or_default(),
        uid: workspace.uid().unwrap_or_default(),
        bytes: match storage.kind {
            StorageType::Persistent => storage.size.bytes(),
            // In the memory of the VM.
            StorageType::Ephemeral => 0,
        },
    }
}
