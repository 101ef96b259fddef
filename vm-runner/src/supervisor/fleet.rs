//! What all workspaces of a supervisor share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

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
    /// Removes everything that a workspace left on disk. Blocks.
    pub(crate) fn remove(&self, uid: &Uid) -> Result<(), state_dir::Error> {
        let elsewhere = self.slots.forget(uid);
        self.state_dir.remove(uid, elsewhere.as_deref())
    }
}
