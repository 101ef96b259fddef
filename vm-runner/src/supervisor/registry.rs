//! The workspaces of this runner, by uid.
//!
//! A workspace that was bound here before the supervisor started is known by its epoch only, until the operator says
//! again what it is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;
use vm_api::{Problem, ProblemCode, WorkspaceConfig, WorkspaceState};

use super::fleet::Fleet;
use super::state_dir::KnownEpochs;
use super::uid::Uid;
use super::workspace::{Resting, Workspace, shutting_down, stale_epoch};
use crate::task::Task;

/// All workspaces.
#[derive(Debug)]
pub(crate) struct Registry {
    fleet: Arc<Fleet>,
    max_workspaces: usize,
    stop: CancellationToken,
    /// Guarded by itself; a leaf in the lock order.
    entries: Mutex<Entries>,
}

type Entries = HashMap<Uid, Entry>;

#[derive(Debug)]
enum Entry {
    /// Known from an earlier supervisor.
    Unbound { epoch: u64 },
    /// Told by the operator.
    Bound { workspace: Workspace, owner: Task<()> },
    /// Told by the operator, asleep, and left alone for a while: it has no owner until somebody comes.
    Resting(Resting),
}

impl Registry {
    /// A registry that knows these workspaces by their epoch.
    pub(crate) fn new(
        fleet: Arc<Fleet>,
        known: KnownEpochs,
        max_workspaces: usize,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let entries = known.into_iter().map(|(uid, epoch)| (uid, Entry::Unbound { epoch })).collect();
        Arc::new(Self { fleet, max_workspaces, stop, entries: Mutex::new(entries) })
    }

    /// A workspace that can take actions.
    pub(crate) fn get(self: &Arc<Self>, uid: &Uid) -> Result<Workspace, Problem> {
        self.check_stop()?;
        let mut entries = self.lock();
        match entries.get(uid) {
            Some(Entry::Resting(resting)) => {
                let resting = resting.clone();
                Ok(self.resume(&mut entries, uid, resting))
            }
            Some(Entry::Bound { workspace, .. }) if !workspace.is_gone() => Ok(workspace.clone()),
            Some(Entry::Unbound { .. }) => Err(unbound(uid)),
            Some(Entry::Bound { .. }) | None => Err(not_found(uid)),
        }
    }

    /// How a workspace is.
    pub(crate) fn state(&self, uid: &Uid) -> Result<Arc<WorkspaceState>, Problem> {
        self.check_stop()?;
        match self.lock().get(uid) {
            Some(Entry::Resting(resting)) => Ok(Arc::clone(&resting.state)),
            Some(Entry::Bound { workspace, .. }) if !workspace.is_gone() => Ok(workspace.state()),
            Some(Entry::Unbound { .. }) => Err(unbound(uid)),
            Some(Entry::Bound { .. }) | None => Err(not_found(uid)),
        }
    }

    /// Gives a workspace that has none an owner.
    fn resume(self: &Arc<Self>, entries: &mut Entries, uid: &Uid, resting: Resting) -> Workspace {
        let registry = Arc::downgrade(self);
        let (workspace, owner) =
            Workspace::resume(&self.fleet, registry, uid.clone(), resting, self.stop.clone());
        entries.insert(uid.clone(), Entry::Bound { workspace: workspace.clone(), owner });
        workspace
    }

    /// Takes a workspace back from its owner, which ends, if `is_unused` says so while nobody can get a handle.
    pub(crate) fn rest(&self, uid: &Uid, resting: Resting, is_unused: impl FnOnce() -> bool) -> bool {
        let old = {
            let mut entries = self.lock();
            match entries.get_mut(uid) {
                Some(entry @ Entry::Bound { .. }) if is_unused() => {
                    std::mem::replace(entry, Entry::Resting(resting))
                }
                _ => return false,
            }
        };
        if let Entry::Bound { owner, .. } = old {
            // The owner itself is calling: let it finish.
            let _finishing = owner.detach();
        }
        true
    }

    /// The states of all workspaces that are bound, by uid.
    pub(crate) fn list(&self) -> Vec<Arc<WorkspaceState>> {
        let mut states: Vec<_> = self
            .lock()
            .values()
            .filter_map(|entry| match entry {
                Entry::Bound { workspace, .. } if !workspace.is_gone() => Some(workspace.state()),
                Entry::Resting(resting) => Some(Arc::clone(&resting.state)),
                Entry::Bound { .. } | Entry::Unbound { .. } => None,
            })
            .collect();
        states.sort_by(|a, b| a.uid.cmp(&b.uid));
        states
    }

    /// Creates or changes a workspace.
    pub(crate) async fn put(
        self: &Arc<Self>,
        uid: &Uid,
        config: WorkspaceConfig,
    ) -> Result<Arc<WorkspaceState>, Problem> {
        crate::validate::validate(&config, &self.fleet.catalog)?;
        self.fleet.check_volumes(&config)?;
        let workspace = self.get_or_start(uid, &config)?;
        workspace.configure(config).await.map_err(|problem| {
            // Its owner ended between the two lines above.
            let is_gone = problem.is(ProblemCode::WorkspaceNotFound);
            if is_gone { Problem::new(ProblemCode::WorkspaceDeleting, problem.detail) } else { problem }
        })
    }

    fn get_or_start(self: &Arc<Self>, uid: &Uid, config: &WorkspaceConfig) -> Result<Workspace, Problem> {
        self.check_stop()?;
        let mut entries = self.lock();
        let known_epoch = match entries.get(uid) {
            Some(Entry::Bound { workspace, .. }) if !workspace.is_gone() => return Ok(workspace.clone()),
            Some(Entry::Resting(resting)) => {
                let resting = resting.clone();
                return Ok(self.resume(&mut entries, uid, resting));
            }
            Some(Entry::Unbound { epoch }) => *epoch,
            Some(Entry::Bound { .. }) => 0,
            None if entries.len() >= self.max_workspaces => {
                let detail =
                    format!("this runner has {} workspaces, its most (--max-workspaces)", entries.len());
                return Err(Problem::new(ProblemCode::LimitWorkspaces, detail).with_limit("--max-workspaces"));
            }
            None => 0,
        };
        if config.epoch < known_epoch {
            return Err(stale_epoch(uid, config.epoch, known_epoch));
        }
        let (workspace, owner) = Workspace::start(
            &self.fleet,
            Arc::downgrade(self),
            uid.clone(),
            known_epoch,
            Arc::new(config.clone()),
            self.stop.clone(),
        );
        entries.insert(uid.clone(), Entry::Bound { workspace: workspace.clone(), owner });
        Ok(workspace)
    }

    /// Deletes a workspace. One that is not here is deleted already.
    pub(crate) async fn delete(self: &Arc<Self>, uid: &Uid, epoch: Option<u64>) -> Result<(), Problem> {
        // One whose owner has ended because the supervisor stops is not deleted.
        self.check_stop()?;
        let known_epoch = {
            let mut entries = self.lock();
            match entries.get(uid) {
                None => return Ok(()),
                Some(Entry::Resting(resting)) => {
                    let resting = resting.clone();
                    Ok(self.resume(&mut entries, uid, resting))
                }
                Some(Entry::Unbound { epoch }) => Err(*epoch),
                Some(Entry::Bound { workspace, .. }) => Ok(workspace.clone()),
            }
        };
        match known_epoch {
            Ok(workspace) => match workspace.delete(epoch).await {
                Err(problem) if problem.is(ProblemCode::WorkspaceNotFound) => Ok(()),
                result => result,
            },
            Err(known) => self.delete_unbound(uid, epoch, known).await,
        }
    }

    async fn delete_unbound(&self, uid: &Uid, epoch: Option<u64>, known: u64) -> Result<(), Problem> {
        if let Some(epoch) = epoch
            && epoch < known
        {
            return Err(stale_epoch(uid, epoch, known));
        }
        {
            let mut entries = self.lock();
            match entries.get(uid) {
                Some(Entry::Unbound { epoch }) if *epoch == known => entries.remove(uid),
                None => return Ok(()),
                Some(Entry::Unbound { .. } | Entry::Bound { .. } | Entry::Resting(_)) => {
                    let detail =
                        format!("the workspace {uid} was bound anew while it was being deleted; try again");
                    return Err(Problem::new(ProblemCode::WorkspaceNotBound, detail));
                }
            };
        }
        self.fleet.remove(uid, known).await.inspect_err(|_| {
            // Known again, so that the next attempt does not take it for deleted.
            self.lock().entry(uid.clone()).or_insert(Entry::Unbound { epoch: known });
        })
    }

    /// Forgets a workspace whose owner has ended. Called by the owner.
    pub(crate) fn forget(&self, uid: &Uid) {
        if let Some(Entry::Bound { owner, .. }) = self.lock().remove(uid) {
            // The owner itself is calling: let it finish.
            let _finishing = owner.detach();
        }
    }

    /// Waits until every owner has stopped its VM. The stop token must be cancelled before.
    pub(crate) async fn stopped(&self) {
        let owners: Vec<_> = self
            .lock()
            .drain()
            .filter_map(|(_, entry)| match entry {
                Entry::Bound { owner, .. } => Some(owner),
                Entry::Unbound { .. } | Entry::Resting(_) => None,
            })
            .collect();
        for owner in owners {
            let _ = owner.await;
        }
    }

    /// What is not here any more when the supervisor stops was not deleted.
    fn check_stop(&self) -> Result<(), Problem> {
        if self.stop.is_cancelled() { Err(shutting_down()) } else { Ok(()) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unbound(uid: &Uid) -> Problem {
    let detail = format!(
        "the workspace {uid} is bound to this runner, which restarted and was not told its configuration yet"
    );
    Problem::new(ProblemCode::WorkspaceNotBound, detail)
}

fn not_found(uid: &Uid) -> Problem {
    Problem::new(ProblemCode::WorkspaceNotFound, format!("this runner has no workspace {uid}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vm_api::{Power, SleepReason};

    use super::*;

    fn uid(text: &str) -> Uid {
        text.parse().unwrap()
    }

    fn registry(data: &std::path::Path) -> Arc<Registry> {
        let fleet = Fleet::for_tests(data);
        let known = fleet.state_dir.scan().unwrap();
        Registry::new(fleet, known, 10, CancellationToken::new())
    }

    fn config(epoch: u64) -> WorkspaceConfig {
        WorkspaceConfig { epoch, ..WorkspaceConfig::new("test", "a") }
    }

    fn rests(registry: &Registry, uid: &Uid) -> bool {
        matches!(registry.lock().get(uid), Some(Entry::Resting(_)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_workspace_that_is_left_alone_has_no_owner_until_somebody_comes() {
        let data = tempfile::tempdir().unwrap();
        let registry = registry(data.path());
        let a = uid("a");
        let bound = registry.put(&a, config(3)).await.unwrap();
        assert!(!rests(&registry, &a));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(rests(&registry, &a));
        assert_eq!(*registry.state(&a).unwrap(), *bound);
        assert_eq!(registry.list().len(), 1);
        let problem = registry.put(&a, config(2)).await.unwrap_err();
        assert!(problem.is(ProblemCode::StaleEpoch), "it remembers its epoch: {problem}");
        assert!(!rests(&registry, &a));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let state = registry.state(&a).unwrap();
        assert_eq!((state.power, state.sleep), (Power::Asleep, Some(SleepReason::NotStarted)));
        registry.delete(&a, Some(3)).await.unwrap();
        assert!(registry.state(&a).is_err() && !data.path().join("a").exists());
    }

    #[tokio::test(start_paused = true)]
    async fn a_workspace_that_somebody_holds_keeps_its_owner() {
        let data = tempfile::tempdir().unwrap();
        let registry = registry(data.path());
        let a = uid("a");
        registry.put(&a, config(1)).await.unwrap();
        let held = registry.get(&a).unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!rests(&registry, &a));
        drop(held);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(rests(&registry, &a));
    }

    #[tokio::test]
    async fn a_workspace_that_is_bound_while_it_is_deleted_is_there_or_was_refused() {
        let data = tempfile::tempdir().unwrap();
        let registry = registry(data.path());
        for round in 0..50 {
            let a = uid(&format!("a{round}"));
            registry.put(&a, config(1)).await.unwrap();
            let (deleted, put) = tokio::join!(registry.delete(&a, None), registry.put(&a, config(2)));
            let folder = data.path().join(a.as_str()).join("epoch");
            assert!(deleted.is_ok(), "{deleted:?}");
            match put {
                Ok(_) if registry.state(&a).is_ok() => assert!(folder.exists(), "bound after it was deleted"),
                Ok(_) => assert!(!folder.exists(), "bound, and deleted then"),
                Err(problem) => assert!(problem.is(ProblemCode::WorkspaceDeleting), "{problem}"),
            }
        }
    }

    #[tokio::test]
    async fn a_runner_that_stops_denies_no_workspace() {
        let data = tempfile::tempdir().unwrap();
        let fleet = Fleet::for_tests(data.path());
        let stop = CancellationToken::new();
        let registry = Registry::new(fleet, Vec::new(), 10, stop.clone());
        let a = uid("a");
        registry.put(&a, config(1)).await.unwrap();
        let held = registry.get(&a).unwrap();
        stop.cancel();
        registry.stopped().await;
        let is_stopping = |problem: Problem| problem.is(ProblemCode::ShuttingDown);
        assert!(is_stopping(held.wake().await.unwrap_err()));
        assert!(is_stopping(registry.get(&a).unwrap_err()) && is_stopping(registry.state(&a).unwrap_err()));
        assert!(is_stopping(registry.put(&a, config(1)).await.unwrap_err()));
        assert!(is_stopping(registry.delete(&a, None).await.unwrap_err()));
        assert!(data.path().join("a/epoch").exists());
    }

    #[test]
    fn a_workspace_that_rests_costs_less_than_two_kibibytes() {
        // What is on the heap besides: the uid, the names, one package and the user's name and home.
        let heap = 256;
        let cost =
            size_of::<(Uid, Entry)>() + size_of::<WorkspaceConfig>() + size_of::<WorkspaceState>() + heap;
        assert!(cost <= 2048, "{cost}");
    }
}
