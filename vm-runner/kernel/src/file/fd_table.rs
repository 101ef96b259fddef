//! Which fds a process has.

use bitflags::bitflags;
use std::sync::Arc;
use vm_abi::Errno;

use super::description::FileDescription;

/// The number a process knows an open file by. At least 0, below [`Fd::END`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fd(u32);

impl Fd {
    /// No fd reaches this number, whatever the limits say.
    pub const END: u32 = 1 << 20;
    /// Standard input.
    pub const STDIN: Self = Self(0);
    /// Standard output.
    pub const STDOUT: Self = Self(1);
    /// Standard error.
    pub const STDERR: Self = Self(2);

    /// The number.
    #[must_use]
    pub const fn raw(self) -> u32 {
        self.0
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

impl TryFrom<u32> for Fd {
    type Error = Errno;

    /// The fd of this number; `EBADF` if no fd can have it.
    fn try_from(raw: u32) -> Result<Self, Errno> {
        if raw < Self::END { Ok(Self(raw)) } else { Err(Errno::EBADF) }
    }
}

impl TryFrom<i32> for Fd {
    type Error = Errno;

    /// The fd of this number; `EBADF` if no fd can have it.
    fn try_from(raw: i32) -> Result<Self, Errno> {
        u32::try_from(raw).map_err(|_| Errno::EBADF)?.try_into()
    }
}

bitflags! {
    /// Flags of an fd, not shared with its duplicates.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct FdFlags: u32 {
        /// Closed when the process executes another program.
        const CLOEXEC = 1;
    }
}

/// An fd's reference to a file description. Files are told how many fds lead to them, so that a pipe knows whose its
/// ends are.
#[derive(Debug)]
pub(crate) struct Slot {
    description: Arc<FileDescription>,
}

impl Slot {
    /// A reference for an fd.
    pub(crate) fn new(description: Arc<FileDescription>) -> Self {
        description.file().fd_added();
        Self { description }
    }

    /// What it leads to.
    pub(crate) fn description(&self) -> &Arc<FileDescription> {
        &self.description
    }
}

impl Clone for Slot {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.description))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.description.file().fd_removed();
    }
}

/// An open fd.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) slot: Slot,
    pub(crate) flags: FdFlags,
}

/// The fds of one process. Entries that a method takes out are given back, for the caller to drop after unlocking.
#[derive(Clone, Debug, Default)]
pub(crate) struct FdTable {
    entries: Vec<Option<Entry>>,
    /// All fds below are open.
    first_free: usize,
}

impl FdTable {
    /// The description of an open fd.
    pub(crate) fn get(&self, fd: Fd) -> Result<&Arc<FileDescription>, Errno> {
        Ok(self.entry(fd)?.slot.description())
    }

    /// An open fd.
    pub(crate) fn entry(&self, fd: Fd) -> Result<&Entry, Errno> {
        self.entries.get(fd.index()).and_then(Option::as_ref).ok_or(Errno::EBADF)
    }

    /// An open fd, to change its flags.
    pub(crate) fn entry_mut(&mut self, fd: Fd) -> Result<&mut Entry, Errno> {
        self.entries.get_mut(fd.index()).and_then(Option::as_mut).ok_or(Errno::EBADF)
    }

    /// Opens the lowest free fd not below `min`. `EMFILE` if that is at or above the limit.
    pub(crate) fn insert(
        &mut self,
        description: Arc<FileDescription>,
        flags: FdFlags,
        min: u32,
        limit: u32,
    ) -> Result<Fd, Errno> {
        let fd = self.lowest_free(min);
        if fd >= limit.min(Fd::END) {
            return Err(Errno::EMFILE);
        }
        let fd = Fd(fd);
        self.put(fd, Entry { slot: Slot::new(description), flags });
        Ok(fd)
    }

    /// Opens exactly this fd; gives back what it was. `EBADF` if it is at or above the limit.
    pub(crate) fn insert_at(
        &mut self,
        fd: Fd,
        description: Arc<FileDescription>,
        flags: FdFlags,
        limit: u32,
    ) -> Result<Option<Entry>, Errno> {
        if fd.0 >= limit {
            return Err(Errno::EBADF);
        }
        Ok(self.put(fd, Entry { slot: Slot::new(description), flags }))
    }

    /// Closes an fd; gives back what it was.
    pub(crate) fn remove(&mut self, fd: Fd) -> Result<Entry, Errno> {
        let entry = self.entries.get_mut(fd.index()).and_then(Option::take).ok_or(Errno::EBADF)?;
        self.first_free = self.first_free.min(fd.index());
        Ok(entry)
    }

    /// Closes all fds from one on; gives back what they were.
    pub(crate) fn remove_from(&mut self, low: Fd) -> Vec<Entry> {
        let at = low.index().min(self.entries.len());
        self.first_free = self.first_free.min(at);
        self.entries.split_off(at).into_iter().flatten().collect()
    }

    /// Closes the fds that do not survive an exec; gives back what they were.
    pub(crate) fn remove_on_exec(&mut self) -> Vec<Entry> {
        let mut removed = Vec::new();
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if entry.as_ref().is_some_and(|entry| entry.flags.contains(FdFlags::CLOEXEC)) {
                removed.extend(entry.take());
                self.first_free = self.first_free.min(index);
            }
        }
        removed
    }

    /// The open fds, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Fd, &Entry)> {
        let numbered = self.entries.iter().zip(0..);
        numbered.filter_map(|(entry, number)| entry.as_ref().map(|entry| (Fd(number), entry)))
    }

    fn put(&mut self, fd: Fd, entry: Entry) -> Option<Entry> {
        if self.entries.len() <= fd.index() {
            self.entries.resize_with(fd.index() + 1, || None);
        }
        self.entries[fd.index()].replace(entry)
    }

    fn lowest_free(&mut self, min: u32) -> u32 {
        let is_open = |index: &usize| self.entries.get(*index).is_some_and(Option::is_some);
        let first_free = (self.first_free..).find(|index| !is_open(index)).unwrap_or(self.first_free);
        let lowest = (first_free.max(min as usize)..).find(|index| !is_open(index)).unwrap_or(first_free);
        self.first_free = first_free;
        u32::try_from(lowest).unwrap_or(Fd::END)
    }
}
