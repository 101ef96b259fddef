//! The ledger: what this operator wrote last about each Workspace, ahead of what its watch has brought back.
//!
//! A reconcile may run before the watch shows the status that the previous one wrote. Without the ledger it would see the
//! same transition twice, and write and announce it twice. It also remembers when power was last written and how often a
//! reconcile failed in a row.
//!
//! Lock order: the ledger's lock is a leaf.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::ResourceExt;
use lodge_crds::Workspace;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// What was written last about each Workspace.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<HashMap<String, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    written: Option<Arc<Workspace>>,
    power: PowerTimes,
    failures: u32,
    /// Since when it has a runner, but not the finalizer.
    unheld: Option<Instant>,
    /// The epoch that the runner refused last, and how far above it the next one shall be.
    refused: Option<(u64, u64)>,
    /// Whether the runner has nothing of what it had, which no status tells yet.
    has_lost_files: bool,
    /// Since when this operator has seen its VM asleep.
    asleep_since: Option<Time>,
    /// Since when something else has been true about when it last woke.
    trace: Option<Instant>,
}

/// When power was last written, and since when something else has been true.
#[derive(Clone, Copy, Debug, Default)]
struct PowerTimes {
    written: Option<Instant>,
    changed: Option<Instant>,
}

impl Ledger {
    /// The newer of what was watched and what was written.
    pub fn newest(&self, watched: Arc<Workspace>) -> Arc<Workspace> {
        let Some(uid) = watched.uid() else { return watched };
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(&uid) else { return watched };
        match &entry.written {
            Some(written) if version(&written.metadata) >= version(&watched.metadata) => Arc::clone(written),
            _ => {
                entry.written = None;
                watched
            }
        }
    }

    /// Notes what the watch shows: what was written before need not be kept any longer.
    pub fn caught_up(&self, watched: &ObjectMeta) {
        let Some(uid) = &watched.uid else { return };
        if let Some(entry) = self.lock().get_mut(uid) {
            entry.written.take_if(|written| version(&written.metadata) <= version(watched));
        }
    }

    /// Notes an answer of the API server to a write.
    pub fn wrote(&self, workspace: Arc<Workspace>) {
        if let Some(uid) = workspace.uid() {
            self.lock().entry(uid).or_default().written = Some(workspace);
        }
    }

    /// Notes a write of the status. If it told of nothing but power, the next such write has to wait.
    pub fn wrote_power(&self, uid: &str, is_only_power: bool) {
        let mut entries = self.lock();
        let entry = entries.entry(uid.to_owned()).or_default();
        (entry.power.changed, entry.trace) = (None, None);
        if is_only_power {
            entry.power.written = Some(Instant::now());
        }
    }

    /// Notes that power is another than what was written. Returns for how long that has been so, and how long ago it was
    /// last written on its own.
    pub fn power_changed(&self, uid: &str) -> (Duration, Option<Duration>) {
        let mut entries = self.lock();
        let power = &mut entries.entry(uid.to_owned()).or_default().power;
        let changed = power.changed.get_or_insert_with(Instant::now).elapsed();
        (changed, power.written.map(|written| written.elapsed()))
    }

    /// Notes that power is what was written.
    pub fn power_settled(&self, uid: &str) {
        if let Some(entry) = self.lock().get_mut(uid) {
            entry.power.changed = None;
        }
    }

    /// Notes that it is asleep now, and when it last woke. Returns since when this operator has seen it asleep; a moment awake in
    /// between may have gone unseen.
    pub fn asleep(&self, uid: &str, now: &Time, woke: Option<&Time>) -> Time {
        let mut entries = self.lock();
        let since = &mut entries.entry(uid.to_owned()).or_default().asleep_since;
        since.take_if(|since| woke.is_some_and(|woke| woke > since));
        since.get_or_insert_with(|| now.clone()).clone()
    }

    /// Notes that it isn't asleep.
    pub fn not_asleep(&self, uid: &str) {
        if let Some(entry) = self.lock().get_mut(uid) {
            entry.asleep_since = None;
        }
    }

    /// Notes that when it last woke is not what was written. Returns for how long that has been so.
    pub fn trace_changed(&self, uid: &str) -> Duration {
        let mut entries = self.lock();
        entries.entry(uid.to_owned()).or_default().trace.get_or_insert_with(Instant::now).elapsed()
    }

    /// Notes that what was written about when it last woke is so.
    pub fn trace_settled(&self, uid: &str) {
        if let Some(entry) = self.lock().get_mut(uid) {
            entry.trace = None;
        }
    }

    /// Notes that it has a runner now, and will get the finalizer later.
    pub fn unheld(&self, uid: &str) {
        self.lock().entry(uid.to_owned()).or_default().unheld.get_or_insert_with(Instant::now);
    }

    /// For how long that has been so; nothing if this operator doesn't know of it.
    pub fn unheld_for(&self, uid: &str) -> Option<Duration> {
        Some(self.lock().get(uid)?.unheld?.elapsed())
    }

    /// Notes that it has the finalizer.
    pub fn held(&self, uid: &str) {
        if let Some(entry) = self.lock().get_mut(uid) {
            entry.unheld = None;
        }
    }

    /// Notes a failure, and tells how many there were in a row before it.
    pub fn failed(&self, uid: &str) -> u32 {
        let mut entries = self.lock();
        let entry = entries.entry(uid.to_owned()).or_default();
        entry.failures = entry.failures.saturating_add(1);
        entry.failures - 1
    }

    /// Notes that a reconcile came to its end.
    pub fn succeeded(&self, uid: &str) {
        if let Some(entry) = self.lock().get_mut(uid) {
            (entry.failures, entry.refused) = (0, None);
        }
    }

    /// Notes that a runner refused an epoch for being over. How far it is over isn't told, so each attempt goes twice as far.
    pub fn epoch_refused(&self, uid: &str, epoch: u64) {
        let mut entries = self.lock();
        let refused = &mut entries.entry(uid.to_owned()).or_default().refused;
        let step = refused.map_or(0, |(_, step)| step.saturating_mul(2).saturating_add(1));
        *refused = Some((epoch, step));
    }

    /// The epoch that the next one has to be above, if the runner refused one.
    pub fn refused_epoch(&self, uid: &str) -> Option<u64> {
        let (epoch, step) = self.lock().get(uid)?.refused?;
        Some(epoch.saturating_add(step))
    }

    /// Notes that a runner has nothing of what it had of a Workspace.
    pub fn lost_files(&self, uid: &str) {
        self.lock().entry(uid.to_owned()).or_default().has_lost_files = true;
    }

    /// Whether that is so, and was not written yet.
    pub fn has_lost_files(&self, uid: &str) -> bool {
        self.lock().get(uid).is_some_and(|entry| entry.has_lost_files)
    }

    /// Notes that the status tells of it.
    pub fn told_of_lost_files(&self, uid: &str) {
        if let Some(entry) = self.lock().get_mut(uid) {
            entry.has_lost_files = false;
        }
    }

    /// Forgets every Workspace that isn't among these.
    pub fn retain(&self, uids: &HashSet<String>) {
        self.lock().retain(|uid, _| uids.contains(uid));
    }

    /// Forgets a Workspace that is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        // Each operation leaves the map whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A resource version as a number. Kubernetes compares those of one kind as numbers, too (KEP-5504).
pub(crate) fn version(metadata: &ObjectMeta) -> Option<u64> {
    metadata.resource_version.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lodge_crds::WorkspaceSpec;

    fn workspace(version: &str) -> Arc<Workspace> {
        let mut workspace = Workspace::new("ada", WorkspaceSpec::default());
        workspace.metadata.uid = Some("u".to_owned());
        workspace.metadata.resource_version = Some(version.to_owned());
        Arc::new(workspace)
    }

    #[test]
    fn what_was_written_wins_until_the_watch_has_caught_up() {
        let ledger = Ledger::default();
        ledger.wrote(workspace("10"));
        assert_eq!(ledger.newest(workspace("9")).resource_version().as_deref(), Some("10"));
        assert_eq!(ledger.newest(workspace("11")).resource_version().as_deref(), Some("11"));
        assert_eq!(ledger.newest(workspace("10")).resource_version().as_deref(), Some("10"));
    }

    #[test]
    fn failures_are_counted_in_a_row() {
        let ledger = Ledger::default();
        assert_eq!([ledger.failed("u"), ledger.failed("u")], [0, 1]);
        ledger.succeeded("u");
        assert_eq!(ledger.failed("u"), 0);
    }
}
