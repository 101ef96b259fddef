//! What reconciles share. Made once by [`crate::app`], and by tests.

use crate::{
    apply::Applier,
    args::Config,
    certificate::Authority,
    clock::Clock,
    cron_job::CronJobs,
    event::Announcer,
    follow::stray::Stray,
    ledger::Ledger,
    metrics::Metrics,
    roster::Roster,
    runner::{occupancy::Occupancy, outlook::Outlook, roll::Rolling},
    rush::Rush,
    store::{Stores, WatchedNamespace, WatchedWorkspace},
    trigger::Triggers,
};
use kube::{Client, runtime::reflector::ObjectRef};
use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

/// What reconciles share.
pub struct Context {
    /// The way to the API server.
    pub client: Client,
    /// Applies what the operator makes.
    pub applier: Applier,
    /// What the operator was told.
    pub config: Config,
    /// What is watched.
    pub stores: Stores,
    /// Which runners are connected.
    pub roster: Roster,
    /// What was written last.
    pub ledger: Ledger,
    /// Which workspaces are on which runner.
    pub occupancy: Occupancy,
    /// Which runners are being replaced.
    pub rolling: Rolling,
    /// Who is on the way to the first Ready.
    pub rush: Rush,
    /// What stands in the way of runners.
    pub outlook: Outlook,
    /// Workspaces to remove from runners, if they don't exist any more.
    pub strays: Triggers<Stray>,
    /// Workspaces to look at again.
    pub workspaces_due: Triggers<ObjectRef<WatchedWorkspace>>,
    /// What reconciles of CronJobs share.
    pub cron_jobs: CronJobs,
    /// Namespaces to look at again.
    pub namespaces_due: Triggers<ObjectRef<WatchedNamespace>>,
    /// Takes news to be published as Events.
    pub announcer: Announcer,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// The certificate authority, once it is there.
    pub authority: AuthorityCell,
    /// The time of day.
    pub clock: Clock,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context")
    }
}

impl Context {
    /// A context in which nothing has happened yet.
    pub fn new(
        client: Client,
        config: Config,
        stores: Stores,
        announcer: Announcer,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        Self {
            applier: Applier::new(client.clone(), Arc::clone(&metrics)),
            announcer,
            client,
            config,
            stores,
            roster: Roster::default(),
            ledger: Ledger::default(),
            occupancy: Occupancy::default(),
            rolling: Rolling::default(),
            rush: Rush::default(),
            outlook: Outlook::default(),
            strays: Triggers::default(),
            workspaces_due: Triggers::default(),
            cron_jobs: CronJobs::default(),
            namespaces_due: Triggers::default(),
            metrics,
            authority: AuthorityCell::default(),
            clock,
        }
    }
}

/// The certificate authority, once it is there.
#[derive(Debug, Default)]
pub struct AuthorityCell(RwLock<Option<Arc<Authority>>>);

impl AuthorityCell {
    /// The authority.
    pub fn get(&self) -> Option<Arc<Authority>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets it. Returns whether it is another one than before.
    pub fn set(&self, authority: Authority) -> bool {
        let mut cell = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let changed = cell.as_deref() != Some(&authority);
        *cell = Some(Arc::new(authority));
        changed
    }
}
