//! The register: what this operator knows of each CronJob beyond what its watch shows. Nothing in it outlives the process.
//!
//! - the CronJob as it was last written, ahead of the watch, so that no reconcile acts on an older status;
//! - the runs it waits for, and what runners told about them: a run is expected before it is begun, so that its end can't be
//!   missed;
//! - whether the runner was asked for runs that an earlier leader began and didn't note down any more;
//! - who has to look again when a run, a Workspace or a runner changes.
//!
//! Bounded by the CronJobs there are, and the runs that each of them waits for.
//!
//! Lock order: the register's lock is a leaf.

use super::run_name;
use crate::{ledger::version, runner_client::RunnerConnection, store::WatchedCronJob};
use kube::{ResourceExt, runtime::reflector::ObjectRef};
use lodge_crds::CronJob;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::time::Instant;
use vm_api::Run;

/// How often a run that goes on is asked for, in case its end was not told.
pub const RECHECK: Duration = Duration::from_secs(60);

/// What is known of each CronJob.
#[derive(Debug, Default)]
pub struct Register(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// By what stands for the CronJob in the names of its runs.
    entries: HashMap<String, Entry>,
    /// By namespace and name of the Workspace.
    by_workspace: HashMap<(String, String), HashSet<String>>,
}

#[derive(Debug)]
struct Entry {
    object: ObjectRef<WatchedCronJob>,
    workspace: (String, String),
    written: Option<Arc<CronJob>>,
    failures: u32,
    is_adopted: bool,
    runs: HashMap<String, Expected>,
    wake: Option<Instant>,
}

/// A run that goes on, or is about to begin.
#[derive(Debug, Default)]
struct Expected {
    /// What it came to, once that was told.
    ended: Option<Run>,
    /// On which connection it was last asked for, and when.
    asked: Option<(Weak<dyn RunnerConnection>, Instant)>,
    is_stopping: bool,
}

impl Register {
    /// Notes that a CronJob is there. Returns it as it was last written, if that is newer.
    pub fn note(&self, id: &str, cron_job: Arc<CronJob>) -> Arc<CronJob> {
        let namespace = cron_job.namespace().unwrap_or_default();
        let object = ObjectRef::new(&cron_job.name_any()).within(&namespace);
        let workspace = (namespace, cron_job.spec.workspace_ref.name.to_string());
        let mut inner = self.lock();
        let entry = inner.entries.entry(id.to_owned()).or_insert_with(|| Entry {
            object,
            workspace: workspace.clone(),
            written: None,
            failures: 0,
            is_adopted: false,
            runs: HashMap::new(),
            wake: None,
        });
        let former = std::mem::replace(&mut entry.workspace, workspace.clone());
        let newest = match &entry.written {
            Some(written) if version(&written.metadata) >= version(&cron_job.metadata) => Arc::clone(written),
            Some(_) | None => {
                entry.written = None;
                cron_job
            }
        };
        if former != workspace {
            inner.leave(&former, id);
        }
        inner.by_workspace.entry(workspace).or_default().insert(id.to_owned());
        newest
    }

    /// Notes the answer of the API server to a write.
    pub fn wrote(&self, id: &str, cron_job: Arc<CronJob>) {
        self.with(id, |entry| entry.written = Some(cron_job));
    }

    /// Notes a failure, and tells how many there were in a row before it.
    pub fn failed(&self, id: &str) -> u32 {
        let count = self.with(id, |entry| {
            entry.failures = entry.failures.saturating_add(1);
            entry.failures - 1
        });
        count.unwrap_or_default()
    }

    /// Notes that a reconcile came to its end.
    pub fn succeeded(&self, id: &str) {
        self.with(id, |entry| entry.failures = 0);
    }

    /// Notes when the schedule wants to be looked at again.
    pub fn set_wake(&self, id: &str, wake: Option<Instant>) {
        self.with(id, |entry| entry.wake = wake);
    }

    /// How long to wait before looking again: for the schedule, or for a run whose end may not have been told.
    pub fn wait(&self, id: &str) -> Option<Duration> {
        self.with(id, |entry| {
            let by_schedule = entry.wake.map(|wake| wake.saturating_duration_since(Instant::now()));
            by_schedule.into_iter().chain((!entry.runs.is_empty()).then_some(RECHECK)).min()
        })
        .flatten()
    }

    /// Whether everything that the runner knows of this CronJob is in its status.
    pub fn is_adopted(&self, id: &str) -> bool {
        self.with(id, |entry| entry.is_adopted).unwrap_or_default()
    }

    /// Notes whether everything that the runner knows of this CronJob is in its status.
    pub fn set_adopted(&self, id: &str, is_adopted: bool) {
        self.with(id, |entry| entry.is_adopted = is_adopted);
    }

    /// Expects the end of a run.
    pub fn expect(&self, id: &str, run: &str) {
        self.with(id, |entry| {
            entry.runs.entry(run.to_owned()).or_default();
        });
    }

    /// Expects the ends of these runs, and of no others.
    pub fn expect_only(&self, id: &str, runs: &[String]) {
        self.with(id, |entry| {
            entry.runs.retain(|name, _| runs.contains(name));
            for run in runs {
                entry.runs.entry(run.clone()).or_default();
            }
        });
    }

    /// A runner of that namespace told about a run. Returns the CronJob that has to look, if it waits for it. What runners of
    /// other namespaces tell of it counts for nothing.
    pub fn told(&self, namespace: &str, run: Run) -> Option<ObjectRef<WatchedCronJob>> {
        if !run.is_finished() {
            return None;
        }
        let id = run_name::id_of(&run.name)?.to_owned();
        let mut inner = self.lock();
        let entry = inner.entries.get_mut(&id).filter(|entry| entry.workspace.0 == namespace)?;
        let expected = entry.runs.get_mut(&run.name)?;
        expected.ended = Some(run);
        Some(entry.object.clone())
    }

    /// What a run came to, if that was told.
    pub fn ended(&self, id: &str, run: &str) -> Option<Run> {
        self.with(id, |entry| entry.runs.get(run)?.ended.clone()).flatten()
    }

    /// Whether a run has to be asked for on this connection. It is taken to be asked for then.
    pub fn has_to_ask(&self, id: &str, run: &str, connection: &Arc<dyn RunnerConnection>) -> bool {
        let now = Instant::now();
        let has_to_ask = self.with(id, |entry| {
            let expected = entry.runs.entry(run.to_owned()).or_default();
            let is_known = expected.asked.as_ref().is_some_and(|(asked, at)| {
                asked.ptr_eq(&Arc::downgrade(connection)) && now.duration_since(*at) < RECHECK
            });
            if !is_known {
                expected.asked = Some((Arc::downgrade(connection), now));
            }
            !is_known
        });
        has_to_ask.unwrap_or(true)
    }

    /// Notes that a run has to be asked for again: the answer didn't come.
    pub fn ask_again(&self, id: &str, run: &str) {
        self.with(id, |entry| entry.runs.get_mut(run).map(|expected| expected.asked = None));
    }

    /// Whether a run is being stopped already.
    pub fn is_stopping(&self, id: &str, run: &str) -> bool {
        self.with(id, |entry| entry.runs.get(run).is_some_and(|expected| expected.is_stopping))
            .unwrap_or_default()
    }

    /// Notes that a run was asked to stop.
    pub fn stopping(&self, id: &str, run: &str) {
        self.with(id, |entry| entry.runs.entry(run.to_owned()).or_default().is_stopping = true);
    }

    /// The CronJobs of a Workspace.
    pub fn of_workspace(&self, namespace: &str, name: &str) -> Vec<ObjectRef<WatchedCronJob>> {
        let inner = self.lock();
        let ids = inner.by_workspace.get(&(namespace.to_owned(), name.to_owned()));
        let entries = ids.into_iter().flatten().filter_map(|id| inner.entries.get(id));
        entries.map(|entry| entry.object.clone()).collect()
    }

    /// Every CronJob.
    pub fn all(&self) -> Vec<ObjectRef<WatchedCronJob>> {
        self.lock().entries.values().map(|entry| entry.object.clone()).collect()
    }

    /// Forgets a CronJob that is gone.
    pub fn forget(&self, id: &str) {
        let mut inner = self.lock();
        if let Some(entry) = inner.entries.remove(id) {
            inner.leave(&entry.workspace, id);
        }
    }

    /// Forgets every CronJob that isn't among these.
    pub fn retain(&self, ids: &HashSet<String>) {
        let gone: Vec<_> = self.lock().entries.keys().filter(|id| !ids.contains(*id)).cloned().collect();
        gone.iter().for_each(|id| self.forget(id));
    }

    fn with<T>(&self, id: &str, change_fn: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.lock().entries.get_mut(id).map(change_fn)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each operation leaves the maps whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn leave(&mut self, workspace: &(String, String), id: &str) {
        if let Some(ids) = self.by_workspace.get_mut(workspace) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_workspace.remove(workspace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use vm_api::RunEnd;

    #[test]
    fn a_runner_of_another_namespace_ends_no_run() {
        let cron_job: CronJob = serde_json::from_value(json!({
            "metadata": {"name": "nightly", "namespace": "team-a", "uid": "u"},
            "spec": {
                "workspaceRef": {"name": "ada"}, "schedule": "@daily", "action": {"exec": {"command": "true"}},
            },
        }))
        .unwrap();
        let (register, id) = (Register::default(), run_name::id("u"));
        register.note(&id, Arc::new(cron_job));
        let name = run_name::scheduled(&id, "2026-11-22T00:00:00Z".parse().unwrap());
        register.expect(&id, &name);
        let run: Run = serde_json::from_value(json!({
            "name": name, "startedAt": "2026-11-22T00:00:00Z", "finishedAt": "2026-11-22T00:00:01Z",
            "end": RunEnd::Exited, "exitCode": 0, "outputTail": "forged",
        }))
        .unwrap();
        assert_eq!(register.told("team-b", run.clone()), None);
        assert_eq!(register.ended(&id, &name), None);
        assert!(register.told("team-a", run).is_some());
        assert!(register.ended(&id, &name).is_some());
    }
}
