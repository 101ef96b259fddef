//! What others see of a workspace without asking its owner.

use std::sync::Arc;

use vm_api::{WorkspaceChange, WorkspaceState};

use super::Owner;
use crate::supervisor::workspace::View;
use crate::supervisor::workspace::machine::Stage;
use crate::supervisor::workspace::report::state;
use crate::supervisor::workspace::restart::restart_required;

impl Owner {
    /// Nobody who comes from now on gets the VM, or the one that reads, without asking.
    pub(super) fn withdraw(&mut self) {
        self.view.send_modify(|view| {
            view.vm = None;
            view.reader = None;
        });
    }

    pub(super) fn publish_vm(&self) {
        let vm = self.vm.as_ref().map(|running| Arc::clone(running.process.client()));
        self.view.send_modify(|view| view.vm = vm);
    }

    pub(super) fn publish_reader(&self) {
        let reader = self.reader.as_ref().and_then(|reader| reader.vm().cloned());
        self.view.send_modify(|view| view.reader = reader);
    }

    pub(super) fn publish(&mut self) {
        let mut new = state(&self.uid, self.epoch, &self.config, &self.machine);
        new.message.clone_from(&self.message);
        new.last_wake.clone_from(&self.last_wake);
        if let Some(running) = &self.vm {
            new.restart_required = restart_required(&running.config, &self.config);
            new.usage = running.usage;
        }
        let vm = match self.machine.stage() {
            Stage::Awake => self.vm.as_ref().map(|running| Arc::clone(running.process.client())),
            Stage::Asleep(_) | Stage::Waking | Stage::Stopping | Stage::Gone => None,
        };
        let reader = self.reader.as_ref().and_then(|reader| reader.vm().cloned());
        let old = Arc::clone(&self.view.borrow().state);
        let is_same = {
            let view = self.view.borrow();
            view.vm.is_some() == vm.is_some() && view.reader.is_some() == reader.is_some()
        };
        let has_changed = *old != new;
        if is_same && !has_changed {
            return;
        }
        self.fleet.metrics.moved(Some(old.power), Some(new.power));
        if let (None, Some(reason)) = (old.sleep, new.sleep) {
            self.fleet.metrics.count_sleep(reason);
        }
        let new = if has_changed { Arc::new(new) } else { old };
        self.view.send_replace(View { state: Arc::clone(&new), vm, reader });
        if has_changed {
            self.fleet
                .changes
                .announce(WorkspaceChange::State { state: Box::new(WorkspaceState::clone(&new)) });
        }
    }
}
