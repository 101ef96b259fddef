//! What all workspaces of a supervisor share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use vm_api::{MountSource, Problem, ProblemCode, WorkspaceConfig};

use super::memory::Residents;
use super::metrics::Metrics;
use super::slot::Slots;
use super::spare::Spares;
use super::state_dir::{self, StateDir};
use super::uid::Uid;
use super::watch::Changes;
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

    /// Removes everything that a workspace left on disk. Blocks.
    pub(crate) fn remove(&self, uid: &Uid) -> Result<(), state_dir::Error> {
        let elsewhere = self.slots.forget(uid);
        self.state_dir.remove(uid, elsewhere.as_deref())
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
            boots: Semaphore::new(1),
            boot_timeout: Duration::from_secs(1),
            stop_grace: Duration::ZERO,
            max_requests_per_workspace: 4,
        })
    }
}
