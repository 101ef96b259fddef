//! The end of a process.

use std::sync::Arc;

use vm_abi::{PollEvents, Signal};

use super::{ExitStatus, Process};
use crate::kernel::KernelInner;

impl KernelInner {
    /// A process has ended: closes what it had open, orphans its children, tells its parent.
    pub(crate) fn end_process(&self, process: &Arc<Process>, status: ExitStatus) {
        let fds = process.with_fds(std::mem::take);
        drop(fds);
        self.locks.release_process(process.pid);
        process.release_memory();
        self.leave_session(process.pid);
        let ended = self.table.end(process.pid, status);
        process.set_ended(status);
        process.tracing.end(process, status, self.clock.realtime());
        for orphan in ended.orphaned {
            self.post_signal(&orphan, Signal::SIGHUP);
            self.post_signal(&orphan, Signal::SIGCONT);
        }
        if let Some(parent) = ended.parent {
            self.post_signal(&parent, Signal::SIGCHLD);
            parent.child_change.notify(PollEvents::IN);
        }
    }
}
