//! The record locks of one file: ranges that processes hold.

use std::sync::Arc;

use vm_abi::Errno;

use crate::process::Pid;
use crate::usage::{Charge, Meter};

/// What a record lock allows others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// To read-lock, too.
    Read,
    /// Nothing.
    Write,
}

/// A range of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRange {
    start: u64,
    /// The first byte after it.
    end: u64,
}

/// A record lock that somebody holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldLock {
    /// What it allows others.
    pub kind: LockKind,
    /// What it covers.
    pub range: LockRange,
    /// Who holds it.
    pub pid: Pid,
}

impl LockRange {
    /// The range from an offset with a length; a length of 0 means to the end, a negative one before the offset.
    ///
    /// # Errors
    /// `EINVAL` if it begins before the file, `EOVERFLOW` if it ends beyond what an offset can say.
    pub fn new(start: i64, len: i64) -> Result<Self, Errno> {
        let from = |offset: i64| u64::try_from(offset).map_err(|_| Errno::EINVAL);
        if len == 0 {
            return Ok(Self { start: from(start)?, end: u64::MAX });
        }
        let other = start.checked_add(len).ok_or(Errno::EOVERFLOW)?;
        Ok(Self { start: from(start.min(other))?, end: from(start.max(other))? })
    }

    /// The first byte.
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// The length; 0 if it goes to the end.
    #[must_use]
    pub const fn len(&self) -> u64 {
        if self.end == u64::MAX { 0 } else { self.end - self.start }
    }

    /// Whether it covers no byte: never, a range to the end included.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    const fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// All record locks of a file. The ranges of one process do not overlap.
#[derive(Debug, Default)]
pub(super) struct RecordLocks {
    held: Vec<Record>,
}

#[derive(Debug)]
struct Record {
    pid: Pid,
    kind: LockKind,
    range: LockRange,
    _charge: Charge,
}

impl RecordLocks {
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// A lock that keeps a process from locking a range so: the first one in the file.
    pub(super) fn conflict(&self, pid: Pid, kind: LockKind, range: LockRange) -> Option<HeldLock> {
        let first = self.conflicts(pid, kind, range).min_by_key(|record| record.range.start)?;
        Some(HeldLock { kind: first.kind, range: first.range, pid: first.pid })
    }

    /// Who keeps a process from locking a range so.
    pub(super) fn blockers(&self, pid: Pid, kind: LockKind, range: LockRange) -> Vec<Pid> {
        self.conflicts(pid, kind, range).map(|record| record.pid).collect()
    }

    fn conflicts(&self, pid: Pid, kind: LockKind, range: LockRange) -> impl Iterator<Item = &Record> {
        self.held.iter().filter(move |record| {
            let excludes = kind == LockKind::Write || record.kind == LockKind::Write;
            record.pid != pid && excludes && record.range.overlaps(&range)
        })
    }

    /// Locks (or, without a kind, unlocks) a range for a process, replacing what it held there.
    pub(super) fn set(
        &mut self,
        pid: Pid,
        kind: Option<LockKind>,
        range: LockRange,
        meter: &Arc<Meter>,
    ) -> Result<(), Errno> {
        let is_cut = |record: &Record| record.pid == pid && record.range.overlaps(&range);
        // At most both neighbours survive in part, and the new one comes: take the room before changing anything.
        let mut charges = Vec::new();
        let kept = self.held.iter().filter(|record| is_cut(record)).flat_map(|record| record.outside(range));
        for _ in kept.chain(kind.map(|_| range)) {
            charges.push(meter.take_one()?);
        }
        let mut rest = Vec::new();
        for record in self.held.extract_if(.., |record| is_cut(record)) {
            rest.extend(record.outside(range).map(|range| (record.kind, range)));
        }
        rest.extend(kind.map(|kind| (kind, range)));
        for ((kind, range), charge) in rest.into_iter().zip(charges) {
            self.held.push(Record { pid, kind, range, _charge: charge });
        }
        Ok(())
    }

    /// Unlocks everything of a process.
    pub(super) fn release(&mut self, pid: Pid) {
        self.held.retain(|record| record.pid != pid);
    }
}

impl Record {
    /// The parts that a range does not cover.
    fn outside(&self, range: LockRange) -> impl Iterator<Item = LockRange> + use<> {
        let before = LockRange { start: self.range.start, end: self.range.end.min(range.start) };
        let after = LockRange { start: self.range.start.max(range.end), end: self.range.end };
        [before, after].into_iter().filter(|part| part.start < part.end)
    }
}

#[cfg(test)]
mod tests {
    use super::{LockKind, LockRange, RecordLocks};
    use crate::limit::Limit;
    use crate::process::Pid;
    use crate::usage::Meter;
    use vm_abi::Errno;

    fn range(start: i64, len: i64) -> LockRange {
        LockRange::new(start, len).unwrap()
    }

    fn pid(number: i32) -> Pid {
        Pid::new(number).unwrap()
    }

    #[test]
    fn unlocking_the_middle_leaves_both_sides() {
        let meter = Meter::new(Limit::Locks, 10, &Default::default());
        let mut locks = RecordLocks::default();
        locks.set(pid(1), Some(LockKind::Write), range(0, 100), &meter).unwrap();
        locks.set(pid(1), None, range(40, 20), &meter).unwrap();
        assert_eq!(meter.used(), 2);
        let conflict = |start, len| locks.conflict(pid(2), LockKind::Read, range(start, len));
        assert_eq!(conflict(40, 20), None);
        assert_eq!(conflict(39, 1).unwrap().range, range(0, 40));
        assert_eq!(conflict(60, 0).unwrap().range, range(60, 40));
    }

    #[test]
    fn readers_share_and_writers_do_not() {
        let meter = Meter::new(Limit::Locks, 10, &Default::default());
        let mut locks = RecordLocks::default();
        locks.set(pid(1), Some(LockKind::Read), range(0, 0), &meter).unwrap();
        assert!(locks.conflict(pid(2), LockKind::Read, range(5, 1)).is_none());
        assert!(locks.conflict(pid(2), LockKind::Write, range(5, 1)).is_some());
        assert!(locks.conflict(pid(1), LockKind::Write, range(5, 1)).is_none());
        locks.release(pid(1));
        assert!(locks.is_empty());
        assert_eq!(meter.used(), 0);
    }

    #[test]
    fn a_lock_without_room_changes_nothing() {
        let meter = Meter::new(Limit::Locks, 1, &Default::default());
        let mut locks = RecordLocks::default();
        locks.set(pid(1), Some(LockKind::Write), range(0, 10), &meter).unwrap();
        assert_eq!(locks.set(pid(1), Some(LockKind::Write), range(20, 10), &meter), Err(Errno::ENOLCK));
        assert_eq!(meter.used(), 1);
    }

    #[test]
    fn ranges_are_read_as_fcntl_does() {
        assert_eq!(range(10, -5), range(5, 5));
        assert_eq!(LockRange::new(3, -5), Err(Errno::EINVAL));
        assert_eq!(LockRange::new(i64::MAX, 2), Err(Errno::EOVERFLOW));
        assert_eq!(range(7, 0).len(), 0);
        assert!(!range(7, 0).is_empty());
    }
}
