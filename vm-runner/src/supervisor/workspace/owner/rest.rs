//! Giving up the task of a workspace that sleeps and is left alone, so that it costs little more than its configuration.
//! The registry starts another owner when somebody comes.

use std::sync::Arc;
use std::time::Duration;

use vm_api::{PowerIntent, WorkspaceConfig, WorkspaceState};

use super::Owner;
use crate::supervisor::workspace::machine::Stage;

/// How long nothing has to happen.
pub(super) const REST_AFTER: Duration = Duration::from_secs(20);

/// What is left of a workspace without an owner: what the next one needs, and all that is told about it meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Resting {
    pub(crate) config: Arc<WorkspaceConfig>,
    pub(crate) state: Arc<WorkspaceState>,
}

impl Owner {
    /// Hands the workspace back to the registry, unless something goes on or somebody holds a handle. Says whether it
    /// did; then this owner must end.
    pub(super) fn rest(&mut self) -> bool {
        let is_still = matches!(self.machine.stage(), Stage::Asleep(_))
            && !self.machine.is_deleting()
            && self.config.power != PowerIntent::Awake
            && self.unbound.is_none()
            && self.boot.is_none()
            && self.reader.is_none()
            && self.stopping.is_none()
            && self.retry.is_none();
        let registry = if is_still { self.registry.upgrade() } else { None };
        let resting =
            Resting { config: Arc::clone(&self.config), state: Arc::clone(&self.view.borrow().state) };
        let inbox = &self.inbox;
        let rests = registry.is_some_and(|registry| {
            // Only the registry's own handle is left, and nobody can get another while it looks.
            registry.rest(&self.uid, resting, || inbox.sender_strong_count() == 1 && inbox.is_empty())
        });
        if !rests {
            self.quiet.as_mut().reset(tokio::time::Instant::now() + REST_AFTER);
        }
        rests
    }
}
