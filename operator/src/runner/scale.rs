//! How many shared runners a namespace has: as many as its bindings need. One that is needed no more goes after the linger,
//! with its volume; only the last ones can, because pods of a set are numbered.
//!
//! Nothing is written here; but from the moment that runners shall go nobody is bound to them any more.

use super::{
    name::{RUNNER, RunnerId, RunnerSetName},
    teardown,
};
use crate::context::Context;
use kube::runtime::reflector::ObjectRef;
use lodge_crds::{Isolation, Workspace};
use std::time::Duration;

/// How many runners there shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    /// So many.
    pub(super) replicas: u32,
    /// Whether those beyond shall go now.
    pub(super) removes: bool,
    /// When to look again.
    pub(super) again: Option<Duration>,
}

/// Decides how many shared runners a namespace shall have. A Workspace that this version can't read may be on any of them, so
/// that none goes while `has_unreadable`.
pub(super) fn decide(
    namespace: &str,
    workspaces: &[&Workspace],
    has_unreadable: bool,
    context: &Context,
) -> Scale {
    let needed = needed(namespace, workspaces, context);
    let live = context.stores.stateful_sets.get(&ObjectRef::new(RUNNER).within(namespace));
    let present = live.as_deref().map_or(0, teardown::replicas);
    let surplus = context.occupancy.surplus(namespace, present > needed && !has_unreadable);
    let linger = context.config.timing.runner_linger;
    if present <= needed {
        return Scale { replicas: needed, removes: false, again: None };
    }
    if has_unreadable || surplus < linger {
        let again = (!has_unreadable).then(|| linger.saturating_sub(surplus));
        return Scale { replicas: present, removes: false, again };
    }
    if context.occupancy.close(namespace, needed) {
        return Scale { replicas: needed, removes: true, again: None };
    }
    // Somebody was bound there this very moment.
    context.occupancy.open(namespace);
    Scale { replicas: present, removes: false, again: Some(linger) }
}

/// As many as reach to the last one with a binding, on record or about to be.
fn needed(namespace: &str, workspaces: &[&Workspace], context: &Context) -> u32 {
    let set = RunnerSetName::shared();
    let shared = workspaces.iter().filter(|workspace| workspace.spec.isolation == Isolation::Shared);
    let recorded = shared.filter_map(|workspace| set.ordinal(&RunnerId::recorded(workspace)?.pod));
    let recorded = recorded.max().map_or(0, |ordinal| ordinal.saturating_add(1));
    recorded.max(context.occupancy.needed(namespace)).max(1)
}
