//! The processes that the API has started on their own: those that run, and the last of those that have ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_kernel::Pid;

use super::started::StartedProcess;
use crate::task::Task;
use crate::vm::buffers::Buffers;

/// Most ended processes that are kept; the ones that ended first go first.
const MAX_ENDED: usize = 128;

/// Processes by their number.
#[derive(Debug)]
pub(crate) struct ProcessTable {
    /// Guarded by itself; a leaf in the lock order.
    inner: Mutex<Inner>,
    kept_output: Arc<Buffers>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeMap<Pid, Entry>,
    /// Those that have ended, in that order.
    ended: VecDeque<Pid>,
}

#[derive(Debug)]
struct Entry {
    process: Arc<StartedProcess>,
    /// Who copies its output and waits for its end.
    _pump: Option<Task<()>>,
}

/// What keeps a VM awake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessActivity {
    /// Processes that run.
    pub(crate) running: usize,
    /// Streams of output that somebody reads.
    pub(crate) streams: usize,
}

impl ProcessTable {
    /// An empty table. Output that is kept counts towards `kept_output`.
    pub(crate) fn new(kept_output: Arc<Buffers>) -> Self {
        Self { inner: Mutex::default(), kept_output }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where kept output counts.
    pub(crate) fn kept_output(&self) -> &Arc<Buffers> {
        &self.kept_output
    }

    /// Adds a process.
    pub(crate) fn insert(&self, process: Arc<StartedProcess>) {
        let mut inner = self.inner();
        let pid = process.pid;
        // Numbers come again after four million processes.
        inner.ended.retain(|ended| *ended != pid);
        let replaced = inner.entries.insert(pid, Entry { process, _pump: None });
        drop(inner);
        drop(replaced);
    }

    /// Notes who copies a process's output.
    pub(crate) fn set_pump(&self, process: &Arc<StartedProcess>, pump: Task<()>) {
        let mut inner = self.inner();
        if let Some(entry) = inner.entries.get_mut(&process.pid)
            && Arc::ptr_eq(&entry.process, process)
        {
            entry._pump = Some(pump);
        }
    }

    /// A process that runs, or that is still known.
    pub(crate) fn get(&self, pid: Pid) -> Option<Arc<StartedProcess>> {
        self.inner().entries.get(&pid).map(|entry| Arc::clone(&entry.process))
    }

    /// All of them, ascending.
    pub(crate) fn all(&self) -> Vec<Arc<StartedProcess>> {
        self.inner().entries.values().map(|entry| Arc::clone(&entry.process)).collect()
    }

    /// Notes that a process has ended.
    pub(crate) fn note_ended(&self, pid: Pid) {
        let mut inner = self.inner();
        inner.ended.push_back(pid);
        let is_over = inner.ended.len() > MAX_ENDED;
        drop(inner);
        if is_over {
            self.forget_oldest();
        }
    }

    /// Forgets the process that ended first; false if there is none.
    pub(crate) fn forget_oldest(&self) -> bool {
        let mut inner = self.inner();
        let oldest = inner.ended.pop_front();
        let forgotten = oldest.and_then(|pid| inner.entries.remove(&pid));
        drop(inner);
        forgotten.is_some()
    }

    /// What keeps the VM awake.
    pub(crate) fn activity(&self) -> ProcessActivity {
        let processes = self.all();
        ProcessActivity {
            running: processes.iter().filter(|process| process.log.exit().is_none()).count(),
            streams: processes.iter().map(|process| process.log.reader_count()).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vm_api::ProcessExit;

    use super::super::log::Log;
    use super::*;

    fn process(table: &ProcessTable, pid: i32) -> Arc<StartedProcess> {
        let log = Arc::new(Log::new(1, table.kept_output().hold()));
        let process = StartedProcess::new(Pid::new(pid).unwrap(), Vec::new(), log, None, None);
        let process = Arc::new(process);
        table.insert(Arc::clone(&process));
        process
    }

    #[test]
    fn the_last_that_ended_are_kept_and_those_that_run() {
        let table = ProcessTable::new(Buffers::new(1 << 20));
        process(&table, 2);
        for pid in 3..3 + MAX_ENDED as i32 + 5 {
            process(&table, pid).end(ProcessExit::default(), Duration::ZERO);
            table.note_ended(Pid::new(pid).unwrap());
        }
        let pids: Vec<_> = table.all().iter().map(|process| process.pid.raw()).collect();
        assert_eq!((pids[0], pids[1], pids.len()), (2, 8, MAX_ENDED + 1));
        assert!(table.forget_oldest());
        assert!(table.get(Pid::new(8).unwrap()).is_none());
    }

    #[test]
    fn a_number_that_comes_again_is_another_process() {
        let table = ProcessTable::new(Buffers::new(1 << 20));
        process(&table, 2).end(ProcessExit::default(), Duration::ZERO);
        table.note_ended(Pid::new(2).unwrap());
        let again = process(&table, 2);
        assert!(!table.forget_oldest());
        assert!(Arc::ptr_eq(&table.get(again.pid).unwrap(), &again));
    }
}
