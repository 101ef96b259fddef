//! A file or directory of the host that something in the VM holds.

use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use rustix::fs::{FileType as HostType, OFlags};
use vm_abi::{Errno, FileType, Mode, OpenFlags, Stat};

use super::errno::errno;
use super::host::{self, Key};
use super::{HostOwner, Shared};
use crate::error::VfsResult;
use crate::inode::{
    Allocation, Appended, Caller, DirEntry, Extent, Inode, NodeKind, NodeOpen, Owner, Parent, RenameFlags,
    SetAttr, SyncScope, XattrSet,
};
use crate::path::{Name, NameBuf};

pub(super) struct Node {
    /// Itself, to hand out.
    pub(super) this: Weak<Self>,
    pub(super) shared: Arc<Shared>,
    pub(super) key: Key,
    file_type: FileType,
    /// Replaced by one of further reach when that is needed.
    handle: RwLock<Arc<Handle>>,
    /// Written under `Shared::live` only.
    pub(super) place: Mutex<Place>,
    /// Held by who writes at the end.
    pub(super) appending: Mutex<()>,
}

/// An open descriptor. It keeps the host's inode, and thereby its number, from being given to another file.
pub(super) struct Handle {
    pub(super) fd: OwnedFd,
    pub(super) reach: Reach,
}

/// What a descriptor is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// To identify the file, and if it is a directory to find entries.
    Path,
    Read,
    Write,
    ReadWrite,
}

/// The name under which a file was found last. A file with several names has one place.
#[derive(Clone)]
pub(super) enum Place {
    Root,
    In {
        directory: Arc<Node>,
        name: NameBuf,
    },
    /// Its name was removed.
    Gone,
}

impl Reach {
    pub(super) const fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    pub(super) const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }
}

impl Place {
    pub(super) fn is(&self, parent: &Node, entry: Name<'_>) -> bool {
        match self {
            Self::In { directory, name } => {
                std::ptr::eq(Arc::as_ptr(directory), parent) && name.as_name() == entry
            }
            Self::Root | Self::Gone => false,
        }
    }
}

impl Node {
    /// The topmost node.
    pub(super) fn root(shared: &Arc<Shared>, handle: Handle) -> VfsResult<Arc<Self>> {
        let stat = rustix::fs::fstat(&handle.fd).map_err(errno)?;
        let node = Self::build(shared, handle, &stat, Place::Root)?;
        shared.live.lock().unwrap_or_else(PoisonError::into_inner).insert(node.key, Arc::downgrade(&node));
        Ok(node)
    }

    /// A node that is not in `Shared::live` yet.
    pub(super) fn build(
        shared: &Arc<Shared>,
        handle: Handle,
        stat: &rustix::fs::Stat,
        place: Place,
    ) -> VfsResult<Arc<Self>> {
        let file_type = FileType::from_mode_bits(stat.st_mode).ok_or(Errno::EIO)?;
        shared.take_descriptor()?;
        Ok(Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            shared: Arc::clone(shared),
            key: host::key(stat),
            file_type,
            handle: RwLock::new(Arc::new(handle)),
            place: Mutex::new(place),
            appending: Mutex::default(),
        }))
    }

    pub(super) fn handle(&self) -> Arc<Handle> {
        Arc::clone(&self.handle.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn replace_handle(&self, handle: Handle) -> Arc<Handle> {
        let handle = Arc::new(handle);
        let mut slot = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *slot, Arc::clone(&handle));
        drop(slot);
        drop(old);
        handle
    }

    pub(super) fn place(&self) -> Place {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A descriptor of its own for the root of another file system.
    pub(super) fn duplicate(&self) -> VfsResult<Handle> {
        match self.file_type {
            FileType::Directory => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(&self.handle().fd, ".", flags, rustix::fs::Mode::empty());
                Ok(Handle { fd: fd.map_err(errno)?, reach: Reach::Path })
            }
            FileType::Regular => {
                // A file that is a root has no directory from which it could be opened again.
                let handle = if self.shared.read_only {
                    self.readable()
                } else {
                    self.writable().or_else(|_| self.readable())
                };
                let handle = handle?;
                let fd = rustix::io::fcntl_dupfd_cloexec(&handle.fd, 0).map_err(errno)?;
                Ok(Handle { fd, reach: handle.reach })
            }
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharDevice
            | FileType::BlockDevice => Err(Errno::ENOTSUP.into()),
        }
    }

    /// A node of the same file system; `EXDEV` for any other inode.
    pub(super) fn sibling(&self, inode: &Arc<dyn Inode>) -> VfsResult<Arc<Self>> {
        let any: Arc<dyn Any + Send + Sync> = Arc::clone(inode) as Arc<dyn Any + Send + Sync>;
        let node = any.downcast::<Self>().map_err(|_| Errno::EXDEV)?;
        if Arc::ptr_eq(&self.shared, &node.shared) { Ok(node) } else { Err(Errno::EXDEV.into()) }
    }

    pub(super) fn itself(&self) -> VfsResult<Arc<Self>> {
        self.this.upgrade().ok_or_else(|| Errno::EIO.into())
    }
}

impl Inode for Node {
    fn ino(&self) -> u64 {
        self.key.1
    }

    fn file_type(&self) -> FileType {
        self.file_type
    }

    fn stat(&self) -> VfsResult<Stat> {
        self.facts()
    }

    fn set_attr(&self, change: &SetAttr) -> VfsResult<()> {
        self.change_attributes(change)
    }

    fn lookup(&self, name: Name<'_>) -> VfsResult<Arc<dyn Inode>> {
        Ok(self.find(name)?)
    }

    fn parent(&self) -> Parent {
        if !self.file_type.is_directory() {
            return Parent::Detached;
        }
        match self.place() {
            Place::Root => Parent::Root,
            Place::Gone => Parent::Detached,
            Place::In { directory, name } => {
                // The host may have removed it.
                let is_there = rustix::fs::fstat(&self.handle().fd).is_ok_and(|stat| stat.st_nlink > 0);
                if is_there { Parent::In { directory, name } } else { Parent::Detached }
            }
        }
    }

    fn create(
        &self,
        name: Name<'_>,
        kind: NodeKind<'_>,
        mode: Mode,
        owner: Owner,
    ) -> VfsResult<Arc<dyn Inode>> {
        Ok(self.make_entry(name, kind, mode, owner)?)
    }

    fn link(&self, name: Name<'_>, target: &Arc<dyn Inode>) -> VfsResult<()> {
        self.link_entry(name, &self.sibling(target)?)
    }

    fn unlink(&self, name: Name<'_>) -> VfsResult<()> {
        self.unlink_entry(name)
    }

    fn rmdir(&self, name: Name<'_>) -> VfsResult<()> {
        self.rmdir_entry(name)
    }

    fn rename(
        &self,
        name: Name<'_>,
        new_parent: &Arc<dyn Inode>,
        new_name: Name<'_>,
        flags: RenameFlags,
    ) -> VfsResult<()> {
        self.rename_entry(name, &self.sibling(new_parent)?, new_name, flags)
    }

    fn read_dir(&self) -> VfsResult<Vec<DirEntry>> {
        self.list_entries()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> VfsResult<usize> {
        self.read_content(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> VfsResult<usize> {
        self.write_content(offset, bytes)
    }

    fn append(&self, bytes: &[u8]) -> VfsResult<Appended> {
        self.append_content(bytes)
    }

    fn allocate(&self, offset: u64, len: u64, how: Allocation) -> VfsResult<()> {
        self.allocate_content(offset, len, how)
    }

    fn seek_extent(&self, offset: u64, extent: Extent) -> VfsResult<u64> {
        self.seek_content(offset, extent)
    }

    fn sync(&self, scope: SyncScope) -> VfsResult<()> {
        self.sync_content(scope)
    }

    fn read_link(&self) -> VfsResult<Vec<u8>> {
        if !self.file_type.is_symlink() {
            return Err(Errno::EINVAL.into());
        }
        Ok(rustix::fs::readlinkat(&self.handle().fd, "", Vec::new()).map_err(errno)?.into_bytes())
    }

    fn open(&self, _caller: Caller, flags: OpenFlags) -> VfsResult<NodeOpen> {
        match self.file_type {
            FileType::Regular => self.open_content(flags).map(|()| NodeOpen::Plain),
            FileType::Directory => Ok(NodeOpen::Plain),
            FileType::Fifo => Ok(NodeOpen::Fifo),
            FileType::CharDevice | FileType::BlockDevice => Err(Errno::EACCES.into()),
            FileType::Socket => Err(Errno::ENXIO.into()),
            FileType::Symlink => Err(Errno::ELOOP.into()),
        }
    }

    fn get_xattr(&self, name: &[u8]) -> VfsResult<Vec<u8>> {
        self.xattr(name)
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], how: XattrSet) -> VfsResult<()> {
        self.change_xattr(name, value, how)
    }

    fn list_xattr(&self) -> VfsResult<Vec<Vec<u8>>> {
        self.xattr_names()
    }

    fn remove_xattr(&self, name: &[u8]) -> VfsResult<()> {
        self.forget_xattr(name)
    }
}

/// Gives the descriptor back. The directories above go with their last entry.
impl Drop for Node {
    fn drop(&mut self) {
        self.shared.give_descriptor();
        let mut live = self.shared.live.lock().unwrap_or_else(PoisonError::into_inner);
        if live.get(&self.key).is_some_and(|node| std::ptr::eq(node.as_ptr(), self)) {
            live.remove(&self.key);
        }
    }
}

/// The type in a host's mode.
pub(super) fn host_type(stat: &rustix::fs::Stat) -> HostType {
    HostType::from_raw_mode(stat.st_mode)
}

/// The permission bits that may be stored, and are shown, for a file of this type.
pub(super) fn harmless(mode: Mode, file_type: FileType) -> Mode {
    let mode = mode.without(Mode::SET_UID);
    if file_type.is_directory() { mode } else { mode.without(Mode::SET_GID) }
}

/// Owner and group as the guest sees them.
pub(super) fn shown_owner(owner: HostOwner, stat: &rustix::fs::Stat) -> Owner {
    match owner {
        HostOwner::Shown(owner) => owner,
        HostOwner::Real => Owner { uid: vm_abi::Uid(stat.st_uid), gid: vm_abi::Gid(stat.st_gid) },
    }
}
