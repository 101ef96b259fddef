//! When batches are written, and who waits for that.
//!
//! Changes happen in memory, each while holding the *gate* shared. A batch is what has changed while the gate is held
//! exclusively, for an instant; so a batch never has half a change. Batches are written one after the other, by
//! whoever gets to it: the flusher thread a while after the first change, or somebody who wants something durable. All
//! who want that while a batch is being written share the next one.
//!
//! A batch that could not be written is kept and tried again before anything else; until that succeeds changes are
//! refused, so nothing is lost silently. `ENOSPC` passes when the host has space again. Removing is possible meanwhile,
//! but has to be written as well: it alone does not free the host's disk. After any other error the database cannot be trusted to know what it has: the file system stays
//! read-only (`EROFS`) until it is opened again, and `sync` tells the error.

#[cfg(test)]
mod probe;
mod thread;
mod work;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLockReadGuard, Weak};
use std::time::Duration;

use vm_abi::Errno;

use self::work::Work;
use super::Shared;
use super::batch::Batch;
use super::database::Counters;
use super::node::Node;
use crate::error::VfsResult;

/// How long a writer waits for room before it looks again whether there is some.
const ROOM_TIMEOUT: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(super) struct Flush {
    state: Mutex<State>,
    /// For those who wait for a batch or for room.
    written: Condvar,
    /// For the flusher thread.
    wake: Condvar,
    /// Nodes that the next batch looks at.
    queue: Mutex<Vec<(u64, Weak<Node>)>>,
    work: Work,
    /// Whether the flusher was told not to wait.
    is_hurried: AtomicBool,
    /// Whether changes are refused.
    is_refusing: AtomicBool,
    /// The last batch that is durable.
    durable: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Whether a batch is being made or written.
    is_running: bool,
    /// The last batch that was begun.
    begun: u64,
    /// The last batch that was committed.
    committed: u64,
    /// The batch that could not be written.
    failed: Option<Batch>,
    failure: Option<Failure>,
    /// How often writing failed.
    failures: u64,
    /// How much was written since SQLite's log was last emptied.
    log_bytes: u64,
    /// Whether SQLite's log has little room for what will have to be durable.
    is_log_short: bool,
    is_urgent: bool,
    is_stopping: bool,
}

/// Why changes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// The host's disk is full.
    NoSpace,
    /// Something is wrong with the disk or the database.
    Broken(Errno),
    /// The file system was closed.
    Closed,
}

impl Failure {
    const fn errno(self) -> Errno {
        match self {
            Self::NoSpace => Errno::ENOSPC,
            Self::Broken(errno) => errno,
            Self::Closed => Errno::EIO,
        }
    }
}

/// What a change is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    Add,
    Remove,
}

/// How far a flush goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// A crash of the host may lose it, a crash of the process does not.
    Committed,
    /// It is on the disk.
    Durable,
}

/// Proof that no batch is made meanwhile.
pub(super) struct Changing<'a>(#[expect(dead_code, reason = "held")] RwLockReadGuard<'a, ()>);

impl Flush {
    /// Notes a node for the next batch.
    pub(super) fn queue(&self, ino: u64, node: Weak<Node>) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push((ino, node));
        self.note_work();
    }

    /// Wakes the flusher if it would not look in time.
    pub(super) fn note_work(&self) {
        if self.work.note() {
            drop(self.lock());
            self.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.written.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Waits for room if too much is unwritten, then begins a change. The caller holds no lock.
    pub(super) fn begin(&self, intent: Intent) -> VfsResult<Changing<'_>> {
        let pressure = self.memory.pressure();
        if pressure > self.tuning.dirty_bytes / 4 && !self.flush.is_hurried.swap(true, Ordering::Relaxed) {
            self.flush.lock().is_urgent = true;
            self.flush.wake.notify_one();
        }
        if pressure > self.tuning.dirty_bytes {
            self.wait_for_room();
        }
        if self.flush.is_refusing.load(Ordering::Relaxed) {
            match self.flush.lock().failure {
                None => {}
                Some(Failure::NoSpace) if intent == Intent::Remove => {}
                Some(Failure::NoSpace) => return Err(Errno::ENOSPC.into()),
                Some(Failure::Broken(_)) => return Err(Errno::EROFS.into()),
                Some(Failure::Closed) => return Err(Errno::EIO.into()),
            }
        }
        Ok(Changing(self.gate.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Makes everything that changed so far durable.
    pub(super) fn sync(&self) -> VfsResult<()> {
        self.flush_until(None)
    }

    /// Makes what changed of a node so far durable.
    pub(super) fn sync_node(&self, node: &Node) -> VfsResult<()> {
        match node.settled_in() {
            Some(batch) if batch <= self.flush.durable.load(Ordering::Acquire) => Ok(()),
            settled_in => self.flush_until(settled_in),
        }
    }

    /// Makes a batch durable; if none is given, one that has everything so far.
    fn flush_until(&self, batch: Option<u64>) -> VfsResult<()> {
        let flush = &self.flush;
        let mut state = flush.lock();
        let target = match batch {
            Some(batch) => batch,
            None if self.is_clean(&state) => return Ok(()),
            None => state.begun + 1,
        };
        let failures = state.failures;
        while flush.durable.load(Ordering::Acquire) < target {
            if state.failures != failures {
                return Err(state.failure.map_or(Errno::EIO, Failure::errno).into());
            }
            if state.is_running {
                state = flush.wait(state);
            } else {
                drop(self.run(state, Durability::Durable));
                state = flush.lock();
            }
        }
        Ok(())
    }

    /// Writes a batch of what there is.
    pub(super) fn flush(&self, durability: Durability) {
        let mut state = self.flush.lock();
        while state.is_running {
            state = self.flush.wait(state);
        }
        drop(self.run(state, durability));
    }

    /// Does something to the database while no batch is being written.
    pub(super) fn exclusively<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut state = self.flush.lock();
        while state.is_running {
            state = self.flush.wait(state);
        }
        state.is_running = true;
        drop(state);
        let result = work();
        self.flush.lock().is_running = false;
        self.flush.written.notify_all();
        result
    }

    /// From now on everything is refused.
    pub(super) fn refuse_all(&self) {
        let mut state = self.flush.lock();
        state.failure = Some(Failure::Closed);
        state.failed = None;
        state.failures += 1;
        self.flush.is_refusing.store(true, Ordering::Relaxed);
        self.flush.written.notify_all();
    }

    /// Whether nothing is waiting to be written, except what could not be.
    pub(super) fn has_work(&self) -> bool {
        self.flush.work.is_waiting()
    }

    fn is_clean(&self, state: &State) -> bool {
        !state.is_running
            && state.failed.is_none()
            && !self.has_work()
            && state.committed == self.flush.durable.load(Ordering::Acquire)
    }

    fn wait_for_room(&self) {
        let flush = &self.flush;
        let mut state = flush.lock();
        while self.memory.pressure() > self.tuning.dirty_bytes
            && state.failure.is_none()
            && !state.is_stopping
        {
            state.is_urgent = true;
            flush.wake.notify_one();
            let waited = flush.written.wait_timeout(state, ROOM_TIMEOUT);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes the batch that failed, if there is one, and then a new one.
    fn run<'a>(&'a self, mut state: MutexGuard<'a, State>, durability: Durability) -> MutexGuard<'a, State> {
        if let Some(Failure::Broken(_) | Failure::Closed) = state.failure {
            state.failures += 1;
            return state;
        }
        state.is_running = true;
        state.is_urgent = false;
        let retried = state.failed.take();
        drop(state);
        let mut result = Ok(());
        if let Some(batch) = retried {
            result = self.write(batch, durability);
        }
        if result.is_ok() {
            let batch = self.collect();
            result = self.write(batch, durability);
        }
        let room_bytes = self.tuning.log_room_bytes;
        let is_log_short = result.is_ok()
            && durability == Durability::Durable
            && room_bytes > 0
            && self.database.is_log_short(room_bytes);
        let mut state = self.flush.lock();
        state.is_running = false;
        state.is_log_short |= is_log_short;
        if let Err(Failed { batch, failure }) = result {
            state.failed = batch;
            state.failure = Some(failure);
            state.failures += 1;
        } else {
            state.failure = None;
        }
        self.flush.is_refusing.store(state.failure.is_some(), Ordering::Relaxed);
        self.flush.written.notify_all();
        if state.log_bytes >= self.tuning.log_bytes || state.is_log_short {
            self.flush.wake.notify_one();
        }
        state
    }

    /// What changed up to now.
    fn collect(&self) -> Batch {
        let number = {
            let mut state = self.flush.lock();
            state.begun += 1;
            state.begun
        };
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.flush.is_hurried.store(false, Ordering::Relaxed);
        self.flush.work.take();
        let queue = std::mem::take(&mut *self.flush.queue.lock().unwrap_or_else(PoisonError::into_inner));
        let queued = queue.len() as u64;
        let mut changes = Vec::with_capacity(queue.len());
        let mut dying = Vec::new();
        for (ino, weak) in queue {
            match weak.upgrade() {
                Some(node) => changes.push((weak, node.collect(number))),
                None => dying.push(ino),
            }
        }
        let mut unnamed = self.lock_unnamed_without(&dying);
        let mut removals = Vec::new();
        let mut later = Vec::new();
        for gone in std::mem::take(&mut unnamed.gone) {
            let (removal, left) = gone.step();
            removals.push(removal);
            later.extend(left);
        }
        if !later.is_empty() {
            unnamed.gone = later;
            self.flush.note_work();
        }
        let charges: u64 = unnamed.charges.values().map(|charge| charge.load(Ordering::Relaxed)).sum();
        let counters = Counters {
            used_bytes: self.bytes.used().saturating_sub(charges),
            used_inodes: self.inodes.used().saturating_sub(unnamed.charges.len() as u64),
        };
        drop(unnamed);
        // Those that were queued and have gone wait no longer.
        self.memory.subtract_dirty_nodes(queued - changes.len() as u64);
        changes.sort_unstable_by_key(|(_, change)| change.ino());
        Batch { number, changes, removals, counters }
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), Failed> {
        let mut written = 0;
        if !batch.is_empty() {
            let mut result = batch.write(&self.database);
            if result.as_ref().is_err_and(|error| self.database.errno(error) == Errno::ENOSPC) {
                // The log's own place may be all that is missing.
                self.give_back_log();
                result = batch.write(&self.database);
            }
            match result {
                Ok(bytes) => written = bytes,
                Err(error) => {
                    let failure = match self.database.errno(&error) {
                        Errno::ENOSPC => Failure::NoSpace,
                        errno => Failure::Broken(errno),
                    };
                    return Err(Failed { batch: Some(batch), failure });
                }
            }
        }
        self.memory.subtract_dirty_nodes(batch.changes.len() as u64);
        for (node, change) in &batch.changes {
            if let Some(node) = node.upgrade() {
                node.committed(change);
            }
        }
        for removal in batch.removals.iter().filter(|removal| removal.is_last) {
            self.table.remove(removal.ino);
        }
        let is_log_in_the_way = written > 0 && self.database.is_log_in_the_way();
        {
            let mut state = self.flush.lock();
            state.committed = batch.number;
            state.log_bytes += written;
        }
        if durability == Durability::Durable {
            self.make_durable(batch.number)?;
        }
        if is_log_in_the_way {
            self.give_back_log(); // Not left to the flusher: the disk may be full before it gets to it.
        }
        self.trim_all();
        Ok(())
    }

    /// Moves SQLite's log into the database, and its place back to the disk. The caller is who writes.
    fn give_back_log(&self) {
        self.checkpoint("TRUNCATE");
        self.flush.lock().log_bytes = 0;
    }

    /// Makes durable what was committed some time ago, while others go on.
    fn settle(&self) {
        let committed = self.flush.lock().committed;
        if self.flush.durable.load(Ordering::Acquire) < committed {
            self.sync_committed(committed);
        }
    }

    /// Makes a batch durable that nobody waits for.
    fn sync_committed(&self, committed: u64) {
        if let Err(Failed { failure, .. }) = self.make_durable(committed) {
            let mut state = self.flush.lock();
            state.failure = Some(failure);
            state.failures += 1;
            self.flush.is_refusing.store(true, Ordering::Relaxed);
        }
    }

    fn make_durable(&self, number: u64) -> Result<(), Failed> {
        match self.database.sync_log() {
            Ok(()) => {
                self.flush.durable.fetch_max(number, Ordering::AcqRel);
                Ok(())
            }
            // What a failed fsync left on the disk nobody knows, and a second one would not tell.
            Err(_) => Err(Failed { batch: None, failure: Failure::Broken(Errno::EIO) }),
        }
    }
}

struct Failed {
    /// What was not written.
    batch: Option<Batch>,
    failure: Failure,
}

/// What is known of files without a name.
#[derive(Default)]
pub(super) struct Unnamed {
    /// What those that somebody holds were charged, by inode number. The database does not count them.
    charges: std::collections::HashMap<u64, Arc<AtomicU64>>,
    /// Those that nobody holds, but that are in the database.
    gone: Vec<super::batch::Gone>,
}

impl Shared {
    /// Notes that a node has no name (any more): it lives as long as somebody holds it.
    pub(super) fn lose(&self, node: &Arc<Node>) {
        self.lock_unnamed().charges.insert(node.ino(), Arc::clone(node.charge()));
        self.table.add_unnamed(node);
    }

    /// Notes that a node without a name got one.
    pub(super) fn name(&self, node: &Arc<Node>) {
        self.lock_unnamed().charges.remove(&node.ino());
        self.table.add(node);
    }

    /// Notes that a node without a name has gone.
    pub(super) fn bury(&self, gone: super::batch::Gone, is_stored: bool, charge: u64) {
        if is_stored {
            self.table.add_gone(gone.ino);
        } else {
            self.table.remove(gone.ino);
        }
        {
            let mut unnamed = self.lock_unnamed();
            unnamed.charges.remove(&gone.ino);
            if is_stored {
                unnamed.gone.push(gone);
            }
            // Under the lock, so that a batch counts either both or none.
            self.bytes.give(charge);
            self.inodes.give(1);
        }
        if is_stored {
            self.flush.note_work();
        }
    }

    /// Removes files that a crash left without a name.
    pub(super) fn bury_orphans(&self, orphans: Vec<super::batch::Gone>) {
        if orphans.is_empty() {
            return;
        }
        for gone in &orphans {
            self.table.add_gone(gone.ino);
        }
        self.lock_unnamed().gone.extend(orphans);
        self.flush.note_work();
    }

    /// The registry, when none of these is in it any more. They are being dropped right now: what changed of them cannot
    /// be written, so their removal has to be.
    fn lock_unnamed_without(&self, dying: &[u64]) -> MutexGuard<'_, Unnamed> {
        loop {
            let unnamed = self.lock_unnamed();
            if !dying.iter().any(|ino| unnamed.charges.contains_key(ino)) {
                return unnamed;
            }
            drop(unnamed);
            std::thread::yield_now();
        }
    }

    fn lock_unnamed(&self) -> MutexGuard<'_, Unnamed> {
        self.unnamed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
