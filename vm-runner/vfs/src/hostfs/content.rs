//! Bytes of host files: opening, reading, writing, extents, durability.

use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};

use rustix::fs::{FallocateFlags, OFlags, SeekFrom};
use rustix::io::Errno as HostErrno;
use vm_abi::{Errno, FileType, OpenFlags};

use super::errno::errno;
use super::host::{self, SAFE};
use super::node::{Handle, Node, Place, Reach};
use crate::error::VfsResult;
use crate::inode::{Allocation, Appended, Extent, Inode, SyncScope};
use crate::path::Name;

/// The largest size of a file: offsets are signed.
const MAX_SIZE: u64 = i64::MAX as u64;

/// What a descriptor is wanted for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Read,
    Write,
    Both,
}

impl Node {
    pub(super) fn open_content(&self, flags: OpenFlags) -> VfsResult<()> {
        let need = match (flags.contains(OpenFlags::READ), flags.is_writable()) {
            (true, true) => Need::Both,
            (_, true) => Need::Write,
            (_, false) if flags.contains(OpenFlags::TRUNC) => Need::Both,
            (_, false) => Need::Read,
        };
        self.content(need).map(drop)
    }

    pub(super) fn read_content(&self, offset: u64, buffer: &mut [u8]) -> VfsResult<usize> {
        let handle = self.content(Need::Read)?;
        if offset > MAX_SIZE {
            return Ok(0);
        }
        let mut done = 0;
        while done < buffer.len() {
            match rustix::io::pread(&handle.fd, &mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(len) => done += len,
                Err(HostErrno::INTR) => {}
                Err(_) if done > 0 => break,
                Err(error) => return Err(errno(error).into()),
            }
        }
        Ok(done)
    }

    pub(super) fn write_content(&self, offset: u64, bytes: &[u8]) -> VfsResult<usize> {
        let handle = self.content(Need::Write)?;
        self.shared.begin_change()?;
        write(&handle, offset, bytes)
    }

    pub(super) fn append_content(&self, bytes: &[u8]) -> VfsResult<Appended> {
        let handle = self.content(Need::Write)?;
        self.shared.begin_change()?;
        let _appending = self.appending.lock().unwrap_or_else(PoisonError::into_inner);
        let end = size(&handle)?;
        let written = write(&handle, end, bytes)?;
        Ok(Appended { written, end: end + written as u64 })
    }

    pub(super) fn allocate_content(&self, offset: u64, len: u64, how: Allocation) -> VfsResult<()> {
        let handle = self.content(Need::Write)?;
        self.shared.begin_change()?;
        if offset.checked_add(len).is_none_or(|end| end > MAX_SIZE) {
            return Err(Errno::EFBIG.into());
        }
        let flags = match how {
            Allocation::Extend => FallocateFlags::empty(),
            Allocation::KeepSize => FallocateFlags::KEEP_SIZE,
            Allocation::PunchHole => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            Allocation::Zero => FallocateFlags::ZERO_RANGE,
        };
        Ok(rustix::fs::fallocate(&handle.fd, flags, offset, len).map_err(errno)?)
    }

    pub(super) fn seek_content(&self, offset: u64, extent: Extent) -> VfsResult<u64> {
        let handle = self.content(Need::Read)?;
        if offset > MAX_SIZE {
            return Err(Errno::ENXIO.into());
        }
        let from = match extent {
            Extent::Data => SeekFrom::Data(offset),
            Extent::Hole => SeekFrom::Hole(offset),
        };
        Ok(rustix::fs::seek(&handle.fd, from).map_err(errno)?)
    }

    /// Cuts, or grows by a hole.
    pub(super) fn resize(&self, size: u64) -> VfsResult<()> {
        let handle = self.content(Need::Write)?;
        if size > MAX_SIZE {
            return Err(Errno::EFBIG.into());
        }
        Ok(rustix::fs::ftruncate(&handle.fd, size).map_err(errno)?)
    }

    pub(super) fn sync_content(&self, scope: SyncScope) -> VfsResult<()> {
        let is_stored = self.file_type().is_regular() || self.file_type().is_directory();
        if !is_stored || self.shared.read_only {
            return Ok(());
        }
        let handle = self.any()?;
        let result = match scope {
            SyncScope::DataOnly => rustix::fs::fdatasync(&handle.fd),
            SyncScope::Everything => rustix::fs::fsync(&handle.fd),
        };
        Ok(result.map_err(errno)?)
    }

    /// A descriptor of a file or directory that reads.
    pub(super) fn readable(&self) -> VfsResult<Arc<Handle>> {
        match self.file_type() {
            FileType::Directory => Ok(Arc::new(Handle { fd: self.listable()?, reach: Reach::Read })),
            FileType::Regular => self.content(Need::Read),
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharDevice
            | FileType::BlockDevice => Err(Errno::ENOTSUP.into()),
        }
    }

    /// A descriptor of a directory that lists.
    pub(super) fn listable(&self) -> VfsResult<OwnedFd> {
        match host::listable(&self.handle().fd) {
            // Nobody may search it; that is no reason not to open it by its name.
            Err(HostErrno::ACCESS) => self.listable_by_name(),
            result => Ok(result.map_err(errno)?),
        }
    }

    fn listable_by_name(&self) -> VfsResult<OwnedFd> {
        let _finding = self.shared.lock_finding();
        let Place::In { directory, name } = self.place() else { return Err(Errno::EACCES.into()) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | SAFE;
        let fd = self.shared.opener.entry_quietly(&directory.handle().fd, name.as_name(), flags);
        let fd = fd.map_err(errno)?;
        let stat = rustix::fs::fstat(&fd).map_err(errno)?;
        if host::key(&stat) == self.key { Ok(fd) } else { Err(Errno::ESTALE.into()) }
    }

    /// A descriptor of a file that writes.
    pub(super) fn writable(&self) -> VfsResult<Arc<Handle>> {
        self.content(Need::Write)
    }

    /// A descriptor of a file or directory that does more than identify it, for its attributes.
    pub(super) fn any(&self) -> VfsResult<Arc<Handle>> {
        let handle = self.handle();
        if handle.reach != Reach::Path {
            return Ok(handle);
        }
        match self.readable() {
            Err(error) if error == Errno::EACCES && self.file_type().is_regular() => self.writable(),
            result => result,
        }
    }

    /// Opens the content while it still has this name, because it is about to lose it. Without content nobody misses it.
    pub(super) fn keep_content(&self, parent: &Self, name: Name<'_>) {
        if self.file_type().is_regular()
            && self.handle().reach == Reach::Path
            && self.place().is(parent, name)
        {
            let write_first = if self.shared.read_only { Need::Read } else { Need::Both };
            // A file that may not be opened cannot be read after it lost its name either.
            let _ = self.reopen(write_first).or_else(|_| self.reopen(Need::Read));
        }
    }

    fn content(&self, need: Need) -> VfsResult<Arc<Handle>> {
        if !self.file_type().is_regular() {
            return Err(self.file_error());
        }
        if need != Need::Read && self.shared.read_only {
            return Err(Errno::EROFS.into());
        }
        let handle = self.handle();
        if need.is_met(handle.reach) {
            return Ok(handle);
        }
        let _finding = self.shared.lock_finding();
        self.reopen(need)
    }

    /// Opens the file where it was found last; the caller holds `Shared::changes`. A file without a name keeps the
    /// descriptor it has.
    fn reopen(&self, need: Need) -> VfsResult<Arc<Handle>> {
        let Place::In { directory, name } = self.place() else {
            return Err(if self.handle().reach == Reach::Path { Errno::ESTALE } else { Errno::EACCES }.into());
        };
        let directory = directory.handle();
        let mut result = Err(HostErrno::ACCESS);
        for reach in need.attempts(self.handle().reach) {
            let flags = match reach {
                Reach::Path | Reach::Read => OFlags::RDONLY,
                Reach::Write => OFlags::WRONLY,
                Reach::ReadWrite => OFlags::RDWR,
            };
            result = self
                .shared
                .opener
                .entry_quietly(&directory.fd, name.as_name(), flags | SAFE)
                .map(|fd| Handle { fd, reach: *reach });
            if !matches!(result, Err(HostErrno::ACCESS)) {
                break;
            }
        }
        let handle = match result {
            // What is there now is no file: a link, a directory, a fifo that nobody reads, a mount.
            Err(
                HostErrno::NOENT | HostErrno::LOOP | HostErrno::ISDIR | HostErrno::NXIO | HostErrno::XDEV,
            ) => {
                return Err(Errno::ESTALE.into());
            }
            result => result.map_err(errno)?,
        };
        let stat = rustix::fs::fstat(&handle.fd).map_err(errno)?;
        if host::key(&stat) != self.key {
            return Err(Errno::ESTALE.into());
        }
        Ok(self.replace_handle(handle))
    }
}

impl Need {
    const fn is_met(self, reach: Reach) -> bool {
        match self {
            Self::Read => reach.reads(),
            Self::Write => reach.writes(),
            Self::Both => reach.reads() && reach.writes(),
        }
    }

    /// What to open, best first; what the present descriptor is good for is not given up easily.
    const fn attempts(self, present: Reach) -> &'static [Reach] {
        match self {
            Self::Read if present.writes() => &[Reach::ReadWrite, Reach::Read],
            Self::Read => &[Reach::Read],
            Self::Write => &[Reach::ReadWrite, Reach::Write],
            Self::Both => &[Reach::ReadWrite],
        }
    }
}

fn size(handle: &Handle) -> VfsResult<u64> {
    let stat = rustix::fs::fstat(&handle.fd).map_err(errno)?;
    Ok(u64::try_from(stat.st_size).unwrap_or(0))
}

/// Writes as much as there is room for; at least one byte, or an error.
fn write(handle: &Handle, offset: u64, bytes: &[u8]) -> VfsResult<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    let room = usize::try_from(MAX_SIZE.saturating_sub(offset)).unwrap_or(usize::MAX);
    if room == 0 {
        return Err(Errno::EFBIG.into());
    }
    let bytes = &bytes[..bytes.len().min(room)];
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::pwrite(&handle.fd, &bytes[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(len) => done += len,
            Err(HostErrno::INTR) => {}
            Err(_) if done > 0 => break,
            Err(error) => return Err(errno(error).into()),
        }
    }
    Ok(done)
}
