//! Where workspaces are: the gateway's own copy of what it routes by, fed by its watches.
//!
//! Holds UIDs, bindings and addresses, never a spec. Reading is one read lock for as long as two hash look-ups take;
//! nothing is awaited and nothing is asked of the API server. While the watches are down the copy stays as it was: data
//! keeps flowing when the API server does not answer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// A workspace, as far as routing goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkspaceEntry {
    pub(crate) uid: Arc<str>,
    /// Name of the runner's pod, in the workspace's namespace.
    pub(crate) runner: Option<Arc<str>>,
    pub(crate) is_deleting: bool,
    /// What the operator says about why it is not ready.
    pub(crate) trouble: Option<Arc<str>>,
}

/// A runner's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunnerEntry {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    /// The headless Service that names the pod.
    pub(crate) service: Arc<str>,
    pub(crate) pod_uid: Arc<str>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) is_ready: bool,
}

/// What is known about a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// Nothing.
    Unknown,
    /// It is going away.
    Deleting,
    /// It has no runner yet, or its runner has no address yet; why, in words.
    NotThere(String),
    /// It is there.
    There {
        /// UID of the workspace.
        uid: Arc<str>,
        /// Where it is.
        runner: Arc<RunnerEntry>,
    },
}

type ByName<T> = HashMap<Box<str>, HashMap<Box<str>, Arc<T>>>;

/// Workspaces and runners by namespace and name.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    workspaces: Table<WorkspaceEntry>,
    runners: Table<RunnerEntry>,
}

impl Directory {
    pub(crate) fn workspaces(&self) -> &Table<WorkspaceEntry> {
        &self.workspaces
    }

    pub(crate) fn runners(&self) -> &Table<RunnerEntry> {
        &self.runners
    }

    /// Whether both lists were complete once.
    pub(crate) fn is_synced(&self) -> bool {
        self.workspaces.is_synced() && self.runners.is_synced()
    }

    /// Where a workspace is.
    pub(crate) fn look_up(&self, namespace: &str, name: &str) -> Lookup {
        let Some(workspace) = self.workspaces.get(namespace, name) else {
            return if self.workspaces.is_synced() {
                Lookup::Unknown
            } else {
                Lookup::NotThere("the gateway has not read the list of workspaces yet".to_owned())
            };
        };
        if workspace.is_deleting {
            return Lookup::Deleting;
        }
        let trouble = |what: String| match &workspace.trouble {
            Some(trouble) => Lookup::NotThere(format!("{what} ({trouble})")),
            None => Lookup::NotThere(what),
        };
        let Some(runner_name) = &workspace.runner else {
            return trouble("it has no runner yet".to_owned());
        };
        match self.runners.get(namespace, runner_name) {
            None => trouble(format!("its runner's pod {runner_name} does not exist")),
            Some(runner) if runner.address.is_none() => {
                trouble(format!("its runner's pod {runner_name} does not run yet"))
            }
            Some(runner) => Lookup::There { uid: workspace.uid.clone(), runner },
        }
    }
}

/// Entries by namespace and name.
#[derive(Debug)]
pub(crate) struct Table<T> {
    entries: RwLock<ByName<T>>,
    synced: AtomicBool,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { entries: RwLock::default(), synced: AtomicBool::new(false) }
    }
}

impl<T: PartialEq> Table<T> {
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(namespace)?.get(name).cloned()
    }

    /// Some entry that is like that.
    pub(crate) fn find(&self, is_like_that: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.values().flat_map(HashMap::values).find(|entry| is_like_that(entry)).cloned()
    }

    /// Adds or replaces an entry. Says whether anything changed.
    pub(crate) fn insert(&self, namespace: &str, name: &str, entry: T) -> bool {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let names = entries.entry(namespace.into()).or_default();
        if names.get(name).is_some_and(|known| **known == entry) {
            return false;
        }
        names.insert(name.into(), Arc::new(entry));
        true
    }

    /// Removes an entry. Says whether there was one.
    pub(crate) fn remove(&self, namespace: &str, name: &str) -> bool {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let Some(names) = entries.get_mut(namespace) else { return false };
        let was_there = names.remove(name).is_some();
        if names.is_empty() {
            entries.remove(namespace);
        }
        was_there
    }

    /// Replaces everything by a complete list.
    pub(crate) fn replace(&self, list: Vec<(String, String, T)>) {
        let mut fresh: ByName<T> = HashMap::new();
        for (namespace, name, entry) in list {
            fresh.entry(namespace.into()).or_default().insert(name.into(), Arc::new(entry));
        }
        *self.entries.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        self.synced.store(true, Ordering::Release);
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    pub(crate) fn len(&self) -> usize {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.values().map(HashMap::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(uid: &str, runner: Option<&str>) -> WorkspaceEntry {
        WorkspaceEntry { uid: uid.into(), runner: runner.map(Into::into), is_deleting: false, trouble: None }
    }

    fn runner(address: Option<&str>) -> RunnerEntry {
        RunnerEntry {
            namespace: "team-a".into(),
            name: "lodge-runner-0".into(),
            service: "lodge-runner".into(),
            pod_uid: "p".into(),
            address: address.map(|address| address.parse().unwrap()),
            is_ready: false,
        }
    }

    fn reason(lookup: Lookup) -> String {
        match lookup {
            Lookup::NotThere(reason) => reason,
            Lookup::Unknown | Lookup::Deleting | Lookup::There { .. } => panic!("{lookup:?}"),
        }
    }

    #[test]
    fn a_workspace_is_there_once_it_is_bound_and_its_runner_has_an_address() {
        let directory = Directory::default();
        assert!(reason(directory.look_up("team-a", "ada")).contains("has not read the list"));
        directory.workspaces.replace(Vec::new());
        assert_eq!(directory.look_up("team-a", "ada"), Lookup::Unknown);
        directory.workspaces.insert("team-a", "ada", workspace("u", None));
        assert!(reason(directory.look_up("team-a", "ada")).contains("no runner yet"));
        directory.workspaces.insert("team-a", "ada", workspace("u", Some("lodge-runner-0")));
        assert!(reason(directory.look_up("team-a", "ada")).contains("lodge-runner-0 does not exist"));
        directory.runners.insert("team-a", "lodge-runner-0", runner(None));
        assert!(reason(directory.look_up("team-a", "ada")).contains("does not run yet"));
        directory.runners.insert("team-a", "lodge-runner-0", runner(Some("10.0.0.7")));
        let Lookup::There { uid, runner } = directory.look_up("team-a", "ada") else { panic!() };
        assert_eq!((&*uid, runner.address.unwrap().to_string().as_str()), ("u", "10.0.0.7"));
    }

    #[test]
    fn a_runner_of_another_namespace_is_never_used() {
        let directory = Directory::default();
        directory.workspaces.insert("team-b", "ada", workspace("u", Some("lodge-runner-0")));
        directory.runners.insert("team-a", "lodge-runner-0", runner(Some("10.0.0.7")));
        assert!(reason(directory.look_up("team-b", "ada")).contains("does not exist"));
    }

    #[test]
    fn what_the_operator_says_is_passed_on() {
        let directory = Directory::default();
        let entry = WorkspaceEntry { trouble: Some("quota exceeded".into()), ..workspace("u", None) };
        directory.workspaces.insert("team-a", "ada", entry);
        assert!(reason(directory.look_up("team-a", "ada")).ends_with("(quota exceeded)"));
    }

    #[test]
    fn a_complete_list_replaces_what_was_there() {
        let table = Table::default();
        assert!(!table.is_synced());
        table.insert("a", "old", 1);
        table.replace(vec![("b".to_owned(), "new".to_owned(), 2)]);
        assert!(table.is_synced());
        assert_eq!((table.get("a", "old"), table.get("b", "new"), table.len()), (None, Some(Arc::new(2)), 1));
        assert!(table.remove("b", "new"));
        assert!(!table.remove("b", "new"));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn an_entry_that_did_not_change_wakes_nobody() {
        let table = Table::default();
        assert!(table.insert("a", "x", 1));
        assert!(!table.insert("a", "x", 1));
        assert!(table.insert("a", "x", 2));
    }
}
