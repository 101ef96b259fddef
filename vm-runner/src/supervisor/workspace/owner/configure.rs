//! What the operator says: configurations, epochs, deletion.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use vm_api::{Problem, ProblemCode, WorkspaceConfig};

use super::Owner;
use crate::supervisor::uid::Uid;
use crate::supervisor::workspace::boot;
use crate::supervisor::workspace::machine::Input;

/// How long a running VM may take to accept a new configuration.
const RECONFIGURE_TIMEOUT: Duration = Duration::from_secs(2);

impl Owner {
    pub(super) async fn configure(&mut self, config: WorkspaceConfig) -> Result<(), Problem> {
        if self.machine.is_deleting() {
            return Err(self.deleting());
        }
        self.check_epoch(config.epoch)?;
        if config.epoch == self.epoch && config.generation < self.config.generation {
            // An older write that was overtaken: what is known already is the newer truth.
            return Ok(());
        }
        self.latest_epoch = config.epoch;
        if config.epoch > self.epoch {
            // Until the new epoch is on disk nothing is booted: at the old one it would write what is not its own.
            let saved = self.save_epoch(config.epoch).await;
            self.unbound = saved.as_ref().err().cloned();
            saved?;
        }
        self.unbound = None;
        let power = config.power;
        let has_changed = *self.config != config;
        self.config = Arc::new(config);
        self.tell_vm().await;
        if has_changed {
            self.end_reader();
        }
        self.step(Input::Configured(power)).await;
        Ok(())
    }

    /// Gives the VM, if there is one, what can change while it runs.
    pub(super) async fn tell_vm(&mut self) {
        let Some(running) = &self.vm else { return };
        let update = boot::reconfigure(running.process.client(), &self.config);
        match tokio::time::timeout(RECONFIGURE_TIMEOUT, update).await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => {
                self.message = Some(format!("the VM did not take the new settings: {problem}"));
            }
            Err(_) => self.message = Some("the VM did not take the new settings in time".to_owned()),
        }
        running.collector.set_epoch(self.epoch);
        self.attend_anew();
    }

    fn check_epoch(&self, epoch: u64) -> Result<(), Problem> {
        if epoch >= self.latest_epoch {
            return Ok(());
        }
        Err(stale_epoch(&self.uid, epoch, self.latest_epoch))
    }

    async fn save_epoch(&mut self, epoch: u64) -> Result<(), Problem> {
        let (fleet, uid) = (Arc::clone(&self.fleet), self.uid.clone());
        let saved = tokio::task::spawn_blocking(move || fleet.state_dir.save_epoch(&uid, epoch)).await;
        let reason = match saved {
            Ok(Ok(())) => {
                self.epoch = epoch;
                return Ok(());
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        let detail = format!("the runner cannot keep the epoch, so the workspace is not booted: {reason}");
        Err(Problem::new(ProblemCode::StorageUnavailable, detail))
    }

    pub(super) async fn delete(&mut self, epoch: Option<u64>, reply: oneshot::Sender<Result<(), Problem>>) {
        match self.check_epoch(epoch.unwrap_or(u64::MAX)) {
            Err(problem) => drop(reply.send(Err(problem))),
            Ok(()) => {
                self.deleters.push(reply);
                self.step(Input::Delete).await;
            }
        }
    }

    /// Removes what is on disk; the VM has ended. Who asked is told when the owner ends, or now if it fails.
    pub(super) async fn remove(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.end(self.fleet.stop_grace).await;
        }
        let Err(problem) = self.fleet.remove(&self.uid, self.latest_epoch).await else { return };
        self.message = Some(problem.detail.clone());
        for reply in self.deleters.drain(..) {
            let _ = reply.send(Err(problem.clone()));
        }
        // Has no effects.
        let _none = self.machine.step(Input::RemoveFailed);
    }

    pub(super) fn deleting(&self) -> Problem {
        Problem::new(ProblemCode::WorkspaceDeleting, format!("the workspace {} is being deleted", self.uid))
    }
}

/// The problem of a request by somebody whose binding is over.
pub(crate) fn stale_epoch(uid: &Uid, epoch: u64, known: u64) -> Problem {
    let detail = format!(
        "epoch {epoch} of workspace {uid} is over: this runner knows epoch {known}; read the Workspace's status again"
    );
    Problem::new(ProblemCode::StaleEpoch, detail)
}
