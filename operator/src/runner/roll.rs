//! Replacing runners whose image or form has changed: a few namespaces at a time, and one pod after the other in each.
//!
//! Within a set the StatefulSet does it: it stops a pod, which puts its workspaces to sleep in order (`vm-runner serve` ends every
//! VM, flushed, before it ends itself), waits until the new one is ready, and takes the next. Over all namespaces it is done
//! here: a set gets its new form when fewer than `--runner-max-rolling` are being replaced. If the new form doesn't work, the
//! first ones get stuck, and for ten minutes all others go on as they were.
//!
//! Lock order: the lock is a leaf.

use crate::{apply::is_as_wanted, context::Context};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::runtime::reflector::ObjectRef;
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// For how long a set that got its new form is taken to be in replacement, whatever the watch shows: it may lag behind.
const LAG: Duration = Duration::from_secs(10);
/// For how long one that doesn't get done counts: one that can't, such as a dedicated runner with a RuntimeClass that doesn't
/// exist, must not keep all others from being replaced.
const PATIENCE: Duration = Duration::from_secs(600);
/// When to try again.
pub(super) const AGAIN: Duration = Duration::from_secs(5);

/// The sets that are being replaced, and since when.
#[derive(Debug, Default)]
pub struct Rolling(Mutex<HashMap<ObjectRef<StatefulSet>, Since>>);

#[derive(Clone, Copy, Debug)]
enum Since {
    /// It got its new form then.
    Granted(Instant),
    /// It was seen to be replaced then, on behalf of an earlier operator.
    Seen(Instant),
}

impl Since {
    fn elapsed(self) -> Duration {
        match self {
            Self::Granted(since) | Self::Seen(since) => since.elapsed(),
        }
    }
}

impl Rolling {
    /// Whether this set may get its new form now. `rolling` are those of which the watch shows that they are being replaced.
    fn admit(
        &self,
        set: &ObjectRef<StatefulSet>,
        rolling: HashSet<ObjectRef<StatefulSet>>,
        most: u32,
    ) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |since: &Since| matches!(since, Since::Granted(since) if since.elapsed() < LAG);
        known.retain(|set, since| is_fresh(since) || rolling.contains(set));
        for set in rolling {
            known.entry(set).or_insert_with(|| Since::Seen(Instant::now()));
        }
        let count = known.values().filter(|since| since.elapsed() < PATIENCE).count();
        let is_admitted = known.contains_key(set) || u32::try_from(count).is_ok_and(|count| count < most);
        if is_admitted {
            known.insert(set.clone(), Since::Granted(Instant::now()));
        }
        is_admitted
    }
}

/// Leaves a set in its present form if too many are being replaced. Returns whether it was.
pub(super) fn hold_back(wanted: &mut StatefulSet, live: Option<&StatefulSet>, context: &Context) -> bool {
    let (Some(live), Some(spec)) = (live.and_then(|live| live.spec.as_ref()), wanted.spec.as_mut()) else {
        return false;
    };
    if is_as_wanted(&spec.template, &live.template) {
        return false;
    }
    let set = ObjectRef::new(wanted.metadata.name.as_deref().unwrap_or_default())
        .within(wanted.metadata.namespace.as_deref().unwrap_or_default());
    let sets = context.stores.stateful_sets.state_filter(|set| progress(set).is_some());
    let rolling = sets.iter().map(|set| ObjectRef::from_obj(&**set)).collect();
    if context.rolling.admit(&set, rolling, context.config.runner.packing.max_rolling) {
        tracing::info!(%set, "replacing the runners of a set, one after the other");
        return false;
    }
    spec.template = live.template.clone();
    true
}

/// How many pods of a set are replaced, of how many, while it is under way.
pub(crate) fn progress(set: &StatefulSet) -> Option<(i32, i32)> {
    let status = set.status.as_ref()?;
    let is_seen = status.observed_generation >= set.metadata.generation;
    let is_done = is_seen && status.update_revision == status.current_revision;
    (!is_done && status.update_revision.is_some())
        .then(|| (status.updated_replicas.unwrap_or_default(), status.replicas))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::StatefulSetStatus;

    fn set(namespace: &str) -> ObjectRef<StatefulSet> {
        ObjectRef::new("lodge-runner").within(namespace)
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_sets_than_allowed_are_replaced_at_once() {
        let rolling = Rolling::default();
        assert!(rolling.admit(&set("a"), HashSet::new(), 2));
        assert!(rolling.admit(&set("b"), HashSet::from([set("a")]), 2));
        assert!(!rolling.admit(&set("c"), HashSet::from([set("a")]), 2), "b is not in the watch yet");
        assert!(
            rolling.admit(&set("a"), HashSet::from([set("a")]), 2),
            "one that got stuck gets the next form"
        );
        tokio::time::advance(LAG).await;
        assert!(rolling.admit(&set("c"), HashSet::from([set("a")]), 2), "b is done");
        tokio::time::advance(PATIENCE).await;
        assert!(rolling.admit(&set("d"), HashSet::from([set("a"), set("c")]), 2), "they get nowhere");
    }

    #[test]
    fn a_set_is_being_replaced_until_all_pods_are_of_its_newest_revision() {
        let revisions = |current: &str, update: &str| {
            let mut set = StatefulSet::default();
            set.metadata.generation = Some(2);
            set.status = Some(StatefulSetStatus {
                observed_generation: Some(2),
                current_revision: Some(current.to_owned()),
                update_revision: Some(update.to_owned()),
                updated_replicas: Some(1),
                replicas: 3,
                ..StatefulSetStatus::default()
            });
            set
        };
        assert_eq!(progress(&revisions("a", "b")), Some((1, 3)));
        assert_eq!(progress(&revisions("b", "b")), None);
        assert_eq!(progress(&StatefulSet::default()), None);
    }
}
