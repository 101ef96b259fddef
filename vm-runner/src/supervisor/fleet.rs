//! What all workspaces of a supervisor share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use vm_api::{MountSource, Problem, ProblemCode, WorkspaceConfig};

use super::event::Events;
use super::journal::Journal;
use super::memory::Residents;
use super::metrics::Metrics;
use super::slot::Slots;
use super::spare::Spares;
use super::state_dir::{self, StateDir};
use super::uid::Uid;
use super::watch::Changes;
use super::workspace::stale_epoch;
use crate::config::Volume;
use crate::software::Catalog;
use crate::vm::lockdown::Landlock;

/// Shared by all workspaces. Holds no state of any.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// What bounds the files of vm processes.
    pub(crate) landlock: Landlock,
    pub(crate) state_dir: StateDir,
    pub(crate) slots: Slots,
    /// What workspaces may mount by name.
    pub(crate) volumes: Vec<Volume>,
    /// The vm processes of awake workspaces.
    pub(crate) residents: Residents,
    /// Places for vm processes that only read.
    pub(crate) readers: Arc<Semaphore>,
    pub(crate) spares: Spares,
    pub(crate) catalog: Catalog,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) changes: Changes,
    pub(crate) events: Events,
    /// What is remembered of workspaces.
    pub(crate) journal: Journal,
    /// Boots in flight; more wait.
    pub(crate) boots: Semaphore,
    pub(crate) boot_timeout: Duration,
    pub(crate) stop_grace: Duration,
    pub(crate) max_requests_per_workspace: usize,
}

impl Fleet {
    /// The volume of this name.
    pub(crate) fn volume(&self, name: &str) -> Result<&Volume, Problem> {
        self.volumes.iter().find(|volume| volume.name == name).ok_or_else(|| {
            let names: Vec<_> = self.volumes.iter().map(|volume| volume.name.as_str()).collect();
            let there_are = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let detail =
                format!("this runner has no volume {name:?}; there are: {there_are} (--volume NAME=PATH)");
            Problem::new(ProblemCode::VolumeUnknown, detail)
        })
    }

    /// Checks that the runner has what the configuration mounts.
    pub(crate) fn check_volumes(&self, config: &WorkspaceConfig) -> Result<(), Problem> {
        for (index, mount) in config.mounts.iter().enumerate() {
            if let MountSource::Volume(volume) = &mount.source {
                self.volume(&volume.name)
                    .map_err(|problem| problem.with_field(format!("spec.mounts[{index}].volume.name")))?;
            }
        }
        Ok(())
    }

    /// Removes everything that a workspace left on disk, for the owner of this epoch.
    pub(crate) async fn remove(self: &Arc<Self>, uid: &Uid, epoch: u64) -> Result<(), Problem> {
        let (fleet, name) = (Arc::clone(self), uid.clone());
        let removed = tokio::task::spawn_blocking(move || {
            let elsewhere = fleet.slots.forget(&name);
            fleet.state_dir.remove(&name, epoch, elsewhere.as_deref())
        });
        let reason = match removed.await {
            Ok(Ok(())) => None,
            Ok(Err(state_dir::Error::Stale { theirs, ours })) => return Err(stale_epoch(uid, ours, theirs)),
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = reason {
            tracing::error!(workspace = %uid, reason, "removing the files of a deleted workspace failed");
            let detail = format!("removing the files of workspace {uid}: {reason}; delete it again");
            return Err(Problem::new(ProblemCode::StorageUnavailable, detail));
        }
        // After that nobody opens its database again.
        if let Err(error) = self.journal.forget(uid).await {
            tracing::warn!(workspace = %uid, %error, "its database is closed later");
        }
        self.events.end(uid);
        Ok(())
    }
}

#[cfg(test)]
impl Fleet {
    /// A fleet over a folder, with the package `common`, that cannot start any vm process.
    pub(crate) fn for_tests(data: &std::path::Path) -> Arc<Self> {
        use super::child::{ChildOptions, Spawner};

        let state_dir = StateDir::open(data).unwrap();
        let slots = Slots::open(data).unwrap();
        let metrics = Arc::new(Metrics::new());
        let journal = Journal::start(data).unwrap();
        let options = ChildOptions {
            software: "/nowhere".into(),
            isolation: crate::config::Isolation::BestEffort,
            guest_grace: Duration::ZERO,
            log_arguments: Vec::new(),
        };
        let spawner = Spawner::start(options, slots.clone()).unwrap();
        Arc::new(Self {
            landlock: crate::vm::lockdown::probe_landlock().unwrap(),
            state_dir,
            slots,
            volumes: Vec::new(),
            residents: Residents::default(),
            readers: Arc::new(Semaphore::new(1)),
            spares: Spares::new(spawner, 0, Arc::clone(&metrics)),
            catalog: Catalog::for_tests(vec![crate::software::tests::package("common", &[])]),
            metrics,
            changes: Changes::new(),
            events: Events::new(journal.clone()),
            journal,
            boots: Semaphore::new(1),
            boot_timeout: Duration::from_secs(1),
            stop_grace: Duration::ZERO,
            max_requests_per_workspace: 4,
        })
    }
}
