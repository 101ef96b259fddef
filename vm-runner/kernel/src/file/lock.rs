//! Advisory file locks: of whole files by open files (`flock`), and of ranges by processes (`fcntl`).
//!
//! The two kinds do not see each other, as on Linux. A [`flock`](LockTable::flock) goes when the last duplicate of its
//! file description is closed, a record lock when its process closes any fd of the file, or ends. Processes that would
//! wait for each other's record locks see `EDEADLK`.

mod record;

use std::collections::HashMap;
use std::sync::Arc;

use vm_abi::{Errno, PollEvents};
use vm_vfs::FileId;

use super::description::FileDescription;
use crate::context::ProcessContext;
use crate::mutex::Mutex;
use crate::poll::{Interest, Readiness, Waiter, wait_ready};
use crate::process::Pid;
use crate::usage::{Charge, Meter};
use record::RecordLocks;

pub use record::{HeldLock, LockKind, LockRange};

/// What `flock` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flock {
    /// Others may share it.
    Shared,
    /// Nobody else has it.
    Exclusive,
    /// Gives it up.
    Unlock,
}

/// Whether a call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    /// It waits.
    Wait,
    /// It answers `EAGAIN` instead.
    Try,
}

/// All advisory locks of a VM.
pub(crate) struct LockTable {
    inner: Mutex<Inner>,
    readiness: Readiness,
    meter: Arc<Meter>,
}

#[derive(Default)]
struct Inner {
    flocks: HashMap<FileId, Vec<HeldFlock>>,
    records: HashMap<FileId, RecordLocks>,
    /// Who waits for whose record locks.
    waits: HashMap<Pid, Vec<Pid>>,
}

struct HeldFlock {
    description: u64,
    kind: LockKind,
    _charge: Charge,
}

/// A file description's lock, given up with it.
pub(crate) struct FlockHold {
    table: Arc<LockTable>,
    file: FileId,
    description: u64,
}

impl LockTable {
    /// No locks yet.
    pub(crate) fn new(meter: Arc<Meter>) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), readiness: Readiness::new(), meter })
    }

    /// Locks or unlocks a whole file.
    pub(crate) async fn flock(
        self: &Arc<Self>,
        ctx: &ProcessContext,
        description: &FileDescription,
        operation: Flock,
        blocking: Blocking,
    ) -> Result<(), Errno> {
        let kind = match operation {
            Flock::Unlock => {
                description.drop_flock();
                return Ok(());
            }
            Flock::Shared => LockKind::Read,
            Flock::Exclusive => LockKind::Write,
        };
        let file = description.location().file_id();
        let try_op = || self.try_flock(file, description.id(), kind);
        match blocking {
            Blocking::Try => try_op()?,
            Blocking::Wait => wait_ready(Waiter::Process(ctx), &[self.interest()], None, try_op).await?,
        }
        let id = description.id();
        description.keep_flock(|| FlockHold { table: Arc::clone(self), file, description: id });
        Ok(())
    }

    /// The lock that keeps a process from locking a range.
    pub(crate) fn conflict(
        &self,
        file: FileId,
        pid: Pid,
        kind: LockKind,
        range: LockRange,
    ) -> Option<HeldLock> {
        self.inner.lock().records.get(&file)?.conflict(pid, kind, range)
    }

    /// Gives up a process's locks on a range.
    pub(crate) fn unlock_record(&self, file: FileId, pid: Pid, range: LockRange) -> Result<(), Errno> {
        let mut inner = self.inner.lock();
        if let Some(records) = inner.records.get_mut(&file) {
            records.set(pid, None, range, &self.meter)?;
        }
        inner.forget_unlocked(file);
        drop(inner);
        self.readiness.notify(PollEvents::IN);
        Ok(())
    }

    /// Locks a range for a process.
    pub(crate) async fn lock_record(
        &self,
        ctx: &ProcessContext,
        file: FileId,
        kind: LockKind,
        range: LockRange,
        blocking: Blocking,
    ) -> Result<(), Errno> {
        let pid = ctx.pid();
        if blocking == Blocking::Try {
            return self.try_lock_record(file, pid, kind, range);
        }
        let _waits = WaitsGuard { table: self, pid };
        let try_op = || match self.try_lock_record(file, pid, kind, range) {
            Err(Errno::EAGAIN) => self.note_wait(file, pid, kind, range),
            done => done,
        };
        wait_ready(Waiter::Process(ctx), &[self.interest()], None, try_op).await
    }

    /// A process has closed an fd of a file.
    pub(crate) fn release_file(&self, file: FileId, pid: Pid) {
        let mut inner = self.inner.lock();
        let Some(records) = inner.records.get_mut(&file) else {
            return;
        };
        records.release(pid);
        inner.forget_unlocked(file);
        drop(inner);
        self.readiness.notify(PollEvents::IN);
    }

    /// A process has ended.
    pub(crate) fn release_process(&self, pid: Pid) {
        let mut inner = self.inner.lock();
        if inner.records.is_empty() {
            return;
        }
        inner.records.values_mut().for_each(|records| records.release(pid));
        inner.records.retain(|_, records| !records.is_empty());
        drop(inner);
        self.readiness.notify(PollEvents::IN);
    }

    fn interest(&self) -> Interest<'_> {
        Interest { readiness: &self.readiness, events: PollEvents::IN }
    }

    fn try_flock(&self, file: FileId, description: u64, kind: LockKind) -> Result<(), Errno> {
        let mut inner = self.inner.lock();
        let held = inner.flocks.get_mut(&file).map_or(&mut [] as &mut [HeldFlock], Vec::as_mut_slice);
        let conflicts = |other: &HeldFlock| {
            other.description != description && (kind == LockKind::Write || other.kind == LockKind::Write)
        };
        if held.iter().any(conflicts) {
            return Err(Errno::EAGAIN);
        }
        let Some(own) = held.iter_mut().find(|held| held.description == description) else {
            let charge = self.meter.take_one()?;
            inner.flocks.entry(file).or_default().push(HeldFlock { description, kind, _charge: charge });
            return Ok(());
        };
        let is_weaker = own.kind == LockKind::Write && kind == LockKind::Read;
        own.kind = kind;
        drop(inner);
        if is_weaker {
            self.readiness.notify(PollEvents::IN);
        }
        Ok(())
    }

    fn release_flock(&self, file: FileId, description: u64) {
        let mut inner = self.inner.lock();
        if let Some(held) = inner.flocks.get_mut(&file) {
            held.retain(|held| held.description != description);
            if held.is_empty() {
                inner.flocks.remove(&file);
            }
        }
        drop(inner);
        self.readiness.notify(PollEvents::IN);
    }

    fn try_lock_record(&self, file: FileId, pid: Pid, kind: LockKind, range: LockRange) -> Result<(), Errno> {
        let mut inner = self.inner.lock();
        let records = inner.records.entry(file).or_default();
        if records.conflict(pid, kind, range).is_some() {
            return Err(Errno::EAGAIN);
        }
        let result = records.set(pid, Some(kind), range, &self.meter);
        inner.forget_unlocked(file);
        drop(inner);
        // A write lock may have become a read lock.
        self.readiness.notify(PollEvents::IN);
        result
    }

    /// A process is about to wait. `EDEADLK` if somebody it waits for waits for it.
    fn note_wait(&self, file: FileId, pid: Pid, kind: LockKind, range: LockRange) -> Result<(), Errno> {
        let mut inner = self.inner.lock();
        let blockers =
            inner.records.get(&file).map(|records| records.blockers(pid, kind, range)).unwrap_or_default();
        if blockers.is_empty() {
            return Err(Errno::EAGAIN);
        }
        let mut seen: Vec<Pid> = Vec::new();
        let mut next = blockers.clone();
        while let Some(other) = next.pop() {
            if other == pid {
                return Err(Errno::EDEADLK);
            }
            if !seen.contains(&other) {
                seen.push(other);
                next.extend(inner.waits.get(&other).into_iter().flatten());
            }
        }
        inner.waits.insert(pid, blockers);
        Err(Errno::EAGAIN)
    }
}

impl Inner {
    fn forget_unlocked(&mut self, file: FileId) {
        if self.records.get(&file).is_some_and(RecordLocks::is_empty) {
            self.records.remove(&file);
        }
    }
}

impl Drop for FlockHold {
    fn drop(&mut self) {
        self.table.release_flock(self.file, self.description);
    }
}

/// A process that waits no longer.
struct WaitsGuard<'a> {
    table: &'a LockTable,
    pid: Pid,
}

impl Drop for WaitsGuard<'_> {
    fn drop(&mut self) {
        self.table.inner.lock().waits.remove(&self.pid);
    }
}
