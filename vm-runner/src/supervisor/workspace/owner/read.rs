//! Reads of a workspace that sleeps: who asks for them, and the VM that answers them (`reader`).

use std::sync::Arc;

use vm_api::Problem;

use super::Owner;
use crate::boot_request::Access;
use crate::supervisor::client::VmClient;
use crate::supervisor::workspace::boot::{Boot, Booted};
use crate::supervisor::workspace::machine::Stage;
use crate::supervisor::workspace::reader::{Happening, Reader};
use crate::supervisor::workspace::{Awake, WakeTiming};
use crate::task;

impl Owner {
    /// Gives those who want to read a VM, if there is one, or sees to it that there will be.
    pub(super) fn serve_readers(&mut self) {
        if self.readers.is_empty() {
            return;
        }
        if self.machine.is_deleting() {
            let problem = self.deleting();
            return self.refuse_readers(&problem);
        }
        match self.machine.stage() {
            Stage::Awake => {
                let vm = self.vm.as_ref().map(|running| Arc::clone(running.process.client()));
                self.admit_readers(vm.as_ref(), None);
            }
            Stage::Asleep(_) if self.reader.is_none() => {
                self.reader = Some(Reader::Starting(Boot::start(self.order(Access::Files), None)));
            }
            Stage::Asleep(_) => {
                let vm = self.reader.as_ref().and_then(|reader| reader.vm().cloned());
                self.admit_readers(vm.as_ref(), None);
            }
            // What comes next serves them.
            Stage::Waking | Stage::Stopping | Stage::Gone => {}
        }
    }

    pub(super) async fn reader_happened(&mut self, happening: Happening) {
        match happening {
            Happening::Booted(result) => self.reader_booted(*result),
            Happening::Exited(how) => {
                tracing::warn!(workspace = %self.uid, "a VM that read its files ended: {how}");
                if let Some(Reader::Running(reading)) = self.reader.take() {
                    reading.booted.process.release().await;
                }
            }
            Happening::Due => self.end_reader_if_unused(),
            Happening::Ended => self.reader = None,
        }
    }

    fn reader_booted(&mut self, result: Result<Booted, Problem>) {
        self.reader = None;
        match result {
            Ok(booted) => {
                self.fleet.metrics.count_reader();
                let wake = WakeTiming { queued: booted.queued, booted: booted.duration };
                let vm = Arc::clone(booted.process.client());
                self.reader = Some(Reader::running(booted));
                // Before those who wait go on, so that the next read needs no question.
                self.publish_reader();
                self.admit_readers(Some(&vm), Some(wake));
            }
            Err(problem) => self.refuse_readers(&problem),
        }
    }

    fn end_reader_if_unused(&mut self) {
        // First nobody gets it any more, then it counts who has it.
        self.withdraw();
        if self.traffic.is_empty() {
            self.end_reader();
        } else {
            if let Some(reader) = &mut self.reader {
                reader.linger();
            }
            self.publish_reader();
        }
    }

    /// Ends the VM that reads, if there is one.
    pub(super) fn end_reader(&mut self) {
        let Some(reader) = self.reader.take() else { return };
        let grace = self.fleet.stop_grace;
        self.reader = Some(Reader::Ending(task::spawn(reader.end(grace))));
        self.publish_reader();
    }

    fn admit_readers(&mut self, vm: Option<&Arc<VmClient>>, wake: Option<WakeTiming>) {
        let Some(vm) = vm else { return };
        for reader in self.readers.drain(..) {
            let wake = wake.map(|wake| WakeTiming {
                queued: reader.asked.elapsed().saturating_sub(wake.booted),
                booted: wake.booted,
            });
            let _ = reader.reply.send(Ok(Awake { vm: Arc::clone(vm), wake }));
        }
    }

    fn refuse_readers(&mut self, problem: &Problem) {
        for reader in self.readers.drain(..) {
            let _ = reader.reply.send(Err(problem.clone()));
        }
    }
}
