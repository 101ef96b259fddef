//! The lines between traced processes and the one who reads them: bounded, and read in order.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use vm_abi::{Errno, PollEvents, Timespec};

use crate::kernel::{Kernel, KernelInner};
use crate::mutex::Mutex;
use crate::poll::{Interest, Readiness, Waiter, wait_ready};
use crate::process::{ExitStatus, Pid, Process};

/// How many lines may wait for their reader.
const MAX_LINES: usize = 8192;
/// How long they may be together.
const MAX_BYTES: usize = 1 << 20;
/// How many readers a process may have.
const MAX_READERS: usize = 8;

/// A line about a system call, or about the end of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StraceLine {
    /// Whose call it was.
    pub pid: Pid,
    /// When it ended.
    pub at: Timespec,
    /// The line, without its end.
    pub text: String,
    /// How many lines before it were lost, because the reader was too slow.
    pub lost: u64,
}

/// Reads what traced processes do. Dropping it ends the tracing.
pub struct StraceReader {
    log: Arc<Log>,
    kernel: Weak<KernelInner>,
}

/// Lines that wait for their reader.
pub(crate) struct Log {
    follows_children: bool,
    inner: Mutex<Inner>,
    readiness: Readiness,
}

#[derive(Default)]
struct Inner {
    lines: VecDeque<StraceLine>,
    bytes: usize,
    lost: u64,
    /// Processes that write to it.
    writers: usize,
}

/// Who traces a process.
#[derive(Default)]
pub(crate) struct Tracing {
    is_on: AtomicBool,
    logs: Mutex<Vec<Arc<Log>>>,
}

impl Kernel {
    /// Traces a process from now on; with its future children, if told so.
    ///
    /// # Errors
    /// `ESRCH` if there is no such process, or it has ended; `EBUSY` if eight others trace it.
    pub fn strace(&self, pid: Pid, follow_children: bool) -> Result<StraceReader, Errno> {
        let process = self.inner().table.get(pid)?;
        if process.exit_status().is_some() {
            return Err(Errno::ESRCH);
        }
        let log = Arc::new(Log {
            follows_children: follow_children,
            inner: Mutex::default(),
            readiness: Readiness::new(),
        });
        process.tracing.add(&log)?;
        if process.exit_status().is_some() {
            process.tracing.clear();
        }
        Ok(StraceReader { log, kernel: Arc::downgrade(self.inner()) })
    }
}

impl StraceReader {
    /// The next line; `None` when all that is traced has ended. Cancelling loses nothing.
    pub async fn read(&mut self) -> Option<StraceLine> {
        let interest = Interest { readiness: &self.log.readiness, events: PollEvents::IN };
        // The host is never interrupted, and there is no deadline: no error can come.
        wait_ready(Waiter::Host, &[interest], None, || self.log.try_read()).await.ok().flatten()
    }
}

impl Drop for StraceReader {
    fn drop(&mut self) {
        if let Some(kernel) = self.kernel.upgrade() {
            for (process, _) in kernel.table.all() {
                process.tracing.remove(&self.log);
            }
        }
    }
}

impl Log {
    pub(super) fn push(&self, line: StraceLine) {
        let mut inner = self.inner.lock();
        inner.bytes += line.text.len();
        inner.lines.push_back(line);
        while inner.lines.len() > MAX_LINES || inner.bytes > MAX_BYTES {
            let Some(lost) = inner.lines.pop_front() else { break };
            inner.bytes -= lost.text.len();
            inner.lost += lost.lost + 1;
        }
        drop(inner);
        self.readiness.notify(PollEvents::IN);
    }

    fn try_read(&self) -> Result<Option<StraceLine>, Errno> {
        let mut inner = self.inner.lock();
        match inner.lines.pop_front() {
            Some(line) => {
                inner.bytes -= line.text.len();
                let lost = std::mem::take(&mut inner.lost);
                Ok(Some(StraceLine { lost, ..line }))
            }
            None if inner.writers == 0 => Ok(None),
            None => Err(Errno::EAGAIN),
        }
    }

    fn change_writers(&self, change: isize) {
        let mut inner = self.inner.lock();
        inner.writers = inner.writers.saturating_add_signed(change);
        drop(inner);
        self.readiness.notify(PollEvents::HUP);
    }
}

impl Tracing {
    /// Whether nobody traces the process.
    #[inline]
    pub(crate) fn is_off(&self) -> bool {
        !self.is_on.load(Ordering::Relaxed)
    }

    /// Who traces it.
    pub(super) fn logs(&self) -> Vec<Arc<Log>> {
        self.logs.lock().clone()
    }

    /// Who traces a child of it.
    pub(crate) fn for_child(&self) -> Self {
        let child = Self::default();
        if !self.is_off() {
            for log in self.logs().iter().filter(|log| log.follows_children) {
                // A child has no more readers than its parent.
                let _ = child.add(log);
            }
        }
        child
    }

    /// The process has ended: says so, and writes no more.
    pub(crate) fn end(&self, process: &Process, status: ExitStatus, at: Timespec) {
        if self.is_off() {
            return;
        }
        let text = match status {
            ExitStatus::Exited(code) => format!("+++ exited with {code} +++"),
            ExitStatus::Signaled(signal) => format!("+++ killed by {signal} +++"),
        };
        super::write_line(process, at, &self.logs(), &text);
        self.clear();
    }

    /// Something happened to the process that is no call.
    pub(crate) fn note(&self, process: &Process, at: Timespec, text: impl FnOnce() -> String) {
        if !self.is_off() {
            super::write_line(process, at, &self.logs(), &text());
        }
    }

    fn add(&self, log: &Arc<Log>) -> Result<(), Errno> {
        let mut logs = self.logs.lock();
        if logs.len() >= MAX_READERS {
            return Err(Errno::EBUSY);
        }
        logs.push(Arc::clone(log));
        self.is_on.store(true, Ordering::Relaxed);
        drop(logs);
        log.change_writers(1);
        Ok(())
    }

    fn remove(&self, log: &Arc<Log>) {
        let mut logs = self.logs.lock();
        let before = logs.len();
        logs.retain(|other| !Arc::ptr_eq(other, log));
        let was_there = logs.len() < before;
        self.is_on.store(!logs.is_empty(), Ordering::Relaxed);
        drop(logs);
        if was_there {
            log.change_writers(-1);
        }
    }

    fn clear(&self) {
        for log in self.logs() {
            self.remove(&log);
        }
    }
}

impl Drop for Tracing {
    /// A process that never ran.
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use vm_abi::Timespec;

    use super::{Log, MAX_BYTES, Pid, StraceLine};
    use crate::mutex::Mutex;
    use crate::poll::Readiness;

    #[test]
    fn a_slow_reader_learns_how_many_lines_it_lost() {
        let log = Log { follows_children: false, inner: Mutex::default(), readiness: Readiness::new() };
        let text = "x".repeat(MAX_BYTES / 4);
        for _ in 0..7 {
            let pid = Pid::new(2).unwrap();
            log.push(StraceLine { pid, at: Timespec::EPOCH, text: text.clone(), lost: 0 });
        }
        assert_eq!(log.try_read().unwrap().unwrap().lost, 3);
        assert_eq!(log.try_read().unwrap().unwrap().lost, 0);
    }
}
