//! What all workspaces of a supervisor share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::metrics::Metrics;
use super::spare::Spares;
use super::state_dir::StateDir;
use super::watch::Changes;
use crate::software::Catalog;

/// Shared by all workspaces. Holds no state of any.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) state_dir: StateDir,
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
